"""What is computed for a session: slice predictions, 3D results, plans, clearance; each by the worker it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PlanningError, StaleError
from medsam_planner.planning.clearance import Clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core.alternatives import Alternatives, Answers, can_have_alternatives
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.job import Task
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.options import MOST_LINES, Limits, SegmentOptions
from medsam_planner.service.core.packing import ExportChoice, Pack
from medsam_planner.service.core.requests import (
    Export,
    Known,
    Measure,
    Plan,
    Prepare,
    Preview,
    Request,
    Segment,
    WritePlan,
)
from medsam_planner.service.core.review_requests import Document, QuickPlan, ReadLine, ReviewedPlan
from medsam_planner.service.core.study_store import StudyStore
from medsam_planner.service.core.view_requests import DRAWN_NAME, DrawPicture, DrawSurface
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.core.worker import STOPPED_WITHIN_S, UNASKED_STOPPED_WITHIN_S, Workers
from medsam_planner.service.core.worker_memory import SessionKey, StudyKey
from medsam_planner.service.settings import Settings
from prompts import PromptLog
from prompts.shapes import locates

__all__ = ["Computations"]


class Computations:
    """The workers of one service. What they are asked changes no session.

    Parameters
    ----------
    studies : StudyStore
    limits : Limits
    settings : Settings
    """

    def __init__(self, studies: StudyStore, limits: Limits, settings: Settings) -> None:
        self._settings = settings
        self.workers = Workers(limits, settings.embeddings)
        self._studies = studies

    def prepare(self, model: str) -> None:
        """Begin the worker of a model; does not wait for it."""
        self.workers.worker(model).begin(Prepare(model, self._settings.engine_of(model)))

    def preview(
        self, work: Work, log: PromptLog, progress: Progress | None
    ) -> dict[int, dict[int, NDArray[np.float32]]]:
        """(H, W) probability on the prompted slices, by array axis and index; empty where nothing locates it."""
        if not any(locates(prompt) for prompt in log.prompts):
            return {}
        found = self.workers.worker(work.state.model).ask(Preview(self._session(work), log), progress)
        return {axis: {index: one.whole() for index, one in cut.items()} for axis, cut in found.items()}

    def alternatives(self, work: Work, log: PromptLog) -> Alternatives | None:
        """The model's answers to the last prompt; None where it can have no other one."""
        if not can_have_alternatives(log):
            return None
        found: Alternatives = self.workers.worker(work.state.model).ask(Answers(self._session(work), log))
        return found

    def segmenting(
        self, work: Work, log: PromptLog, options: SegmentOptions, *, is_asked: bool = True
    ) -> Callable[[str], Task]:
        """From the identifier of a job, the computation of a 3D result."""
        session, model = self._session(work), work.state.model
        within_s = STOPPED_WITHIN_S if is_asked else UNASKED_STOPPED_WITHIN_S
        if is_asked:
            self.workers.worker(Workers.PLANNING).begin(Prepare(None))  # which is asked for files or plans soon
        return lambda job: self._task(model, Segment(session, log, options, result_path(work, job)), within_s)

    def planning(self, work: Work, request: PlanRequest, origin: PlanOrigin) -> Callable[[str], Task]:
        """From the identifier of a job, the computation of a plan; refuses what was not segmented from its prompts."""
        plan = self._plan(work, request, origin)
        return lambda job: self._task(Workers.PLANNING, plan(job))

    def writing(self, work: Work, request: PlanRequest, origin: PlanOrigin) -> Callable[[str], Task]:
        """From the identifier of the job that made a plan, the writing of what belongs to it."""
        plan = self._plan(work, request, origin)
        return lambda job: self._task(Workers.PLANNING, WritePlan(plan(job)), UNASKED_STOPPED_WITHIN_S)

    def reviewed(self, work: Work, request: PlanRequest, origin: PlanOrigin) -> ReviewedPlan:
        """A plan request with the masks it is on; refuses what was not segmented from its prompts."""
        known = _known(work, _results_for(work, request))
        return ReviewedPlan(work.identifier, self._study(work), request, origin, known)

    def read_line(self, asked: ReadLine) -> dict[str, Any]:
        """Measures of one line."""
        found: dict[str, Any] = self.workers.worker(Workers.PLANNING).ask(asked)
        return found

    def planning_at_once(self, work: Work, plan: ReviewedPlan) -> Callable[[str], Task]:
        """From the identifier of a job, a plan in fields that are kept."""
        return lambda job: self._task(Workers.PLANNING, QuickPlan(plan, work.folder / "plans" / job))

    def documenting(self, asked: Document) -> Callable[[str], Task]:
        """From the identifier of a job, the writing of what was decided."""
        return lambda job: self._task(Workers.PLANNING, asked)

    def packing(self, work: Work, choice: ExportChoice, plan_folder: Path | None) -> Callable[[str], Task]:
        """From the identifier of a job, the writing of an archive of the results of present prompts."""
        state = work.state
        found = {name: one for name, one in state.results.items() if not state.is_stale(name)}
        known = _known(work, {name: found[name] for name in state.listed if name in found})
        looks = {name: state.listed[name].look for name in known}
        stale = [f"‘{name}’" for name in state.results if name not in found]
        notes = (f"Left out: {', '.join(stale)}, whose prompts changed since the 3D result.",) if stale else ()
        if not known:
            raise StaleError(" ".join(("Nothing was segmented in 3D from its present prompts yet.", *notes)))
        study = self._study(work)

        def task(job: str) -> Task:
            folder = work.folder / "exports" / job
            return self._task(
                Workers.PLANNING, Pack(work.identifier, study, known, looks, choice, notes, plan_folder, folder)
            )

        return task

    def measure(
        self, work: Work, structures: tuple[StructureRequest, ...], tool: Tool, lines_lps_mm: ArrayLike
    ) -> Clearance:
        """Clearance of given trajectories, see :meth:`Service.clearance`."""
        lines = np.asarray(lines_lps_mm, dtype=np.float64)
        if lines.ndim != 3 or not 1 <= len(lines) <= MOST_LINES:
            raise PlanningError(f"Expected 1 to {MOST_LINES} lines of two positions each, LPS mm.")
        known = _known(work, {one.name: work.state.result(one.name) for one in structures})
        measure = Measure(work.identifier, self._study(work), structures, known, tool, lines)
        found: Clearance = self.workers.worker(Workers.PLANNING).ask(measure)
        return found

    def export(self, work: Work, structure: str, stored: StoredResult, file: ResultFile) -> None:
        """Write a file of the 3D result of a structure beside it."""
        path, look = result_path(work, stored.job), work.state.listed[structure].look
        self.workers.worker(Workers.PLANNING).ask(
            Export(work.identifier, self._study(work), path, file, structure, look)
        )

    def draw_surface(self, work: Work, job: str) -> Path:
        """PLY file, LPS mm, of the surface of the 3D result that a job made; it is drawn where it is not there."""
        path = result_path(work, job)
        drawn = path.with_name(DRAWN_NAME)
        if not drawn.exists():
            self.workers.worker(Workers.PLANNING).ask(DrawSurface(work.identifier, self._study(work), path))
        return drawn

    def draw(self, picture: DrawPicture) -> None:
        """Take a picture of surfaces, or write them as one file."""
        self.workers.worker(Workers.PLANNING).ask(picture)

    def _plan(self, work: Work, request: PlanRequest, origin: PlanOrigin) -> Callable[[str], Plan]:
        study, known = self._study(work), _known(work, _results_for(work, request))
        return lambda job: Plan(work.identifier, study, request, origin, known, work.folder / "plans" / job)

    def _task(self, worker: str, request: Request, stopped_within_s: float = STOPPED_WITHIN_S) -> Task:
        return lambda progress: self.workers.worker(worker).ask(request, progress, stopped_within_s=stopped_within_s)

    def _study(self, work: Work) -> StudyKey:
        folder = self._studies.folder_of(work.study.identifier)
        return StudyKey(folder, work.study.sha256, self._studies.is_identified)

    def _session(self, work: Work) -> SessionKey:
        model = work.state.model
        return SessionKey(work.identifier, self._study(work), model, work.state.seed, self._settings.engine_of(model))


def _known(work: Work, results: Mapping[str, StoredResult]) -> dict[str, Known]:
    return {name: Known(result_path(work, one.job), work.log(name)) for name, one in results.items()}


def _results_for(work: Work, request: PlanRequest) -> dict[str, StoredResult]:
    """Every result of present prompts; of what the request names there must be one."""
    named = [one.name for one in request.structures]
    for tool in request.tools:
        named += [name for name in (tool.entry.structure, tool.target.structure) if name is not None]
    for name in named:
        work.state.result(name)
    state = work.state
    return {name: one for name, one in state.results.items() if not state.is_stale(name)}
