"""What every door calls. Free of HTTP and of any page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import (
    NotThereError,
    PlanningError,
)
from medsam_planner.io.intensity import Window
from medsam_planner.planning.clearance import Clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.propagation.sources import source_named
from medsam_planner.provenance import PlanOrigin
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service.core.data_folder import DataFolder
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.jobs import Job, Task
from medsam_planner.service.core.journalled_jobs import JournalledJobs
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.options import MOST_LINES, Limits, SegmentOptions
from medsam_planner.service.core.pictures import preview_picture, slice_picture
from medsam_planner.service.core.requests import Export, Known, Measure, Plan, Prepare, Preview, Request, Segment
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.core.worker import Workers
from medsam_planner.service.core.worker_memory import SessionKey, StudyKey
from medsam_planner.service.display import Plane
from medsam_planner.service.settings import Settings
from prompts.shapes import locates

__all__ = ["Service"]


class Service(DataFolder):
    """The studies and sessions of one data folder, and what is computed from them.

    Parameters
    ----------
    settings : Settings
        `out` is the data folder, `model` the model of sessions that name none.
    limits : Limits, optional

    Raises
    ------
    OutputError
        If the data folder cannot be used, or another server uses it.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        super().__init__(
            settings, limits or Limits(), on_prompts=lambda work, structure: self.jobs.stop_outdated(work, structure)
        )
        self.jobs = JournalledJobs(self.session, on_progress=self.leases.touch)
        self.workers = Workers(self.limits)
        for work in self._works.values():
            self.jobs.recall_of(work)

    def close(self) -> None:
        """Stop the jobs, end the workers, and let go of the data folder."""
        self.jobs.stop()
        self.workers.close()
        self.jobs.close()
        super().close()

    def prepare(self) -> None:
        """Begin the workers that the first client needs; does not wait for them."""
        for name in (self.settings.model, Workers.PLANNING):
            self.workers.worker(name).begin(Prepare(self.settings.model if name != Workers.PLANNING else None))

    def preview(
        self, work: Work, structure: str, *, progress: Progress | None = None
    ) -> Mapping[int, Mapping[int, NDArray[np.float32]]]:
        """Predictions on the prompted slices of a structure; waits for its worker, and is called from threads.

        Parameters
        ----------
        work : Work
        structure : str
        progress : Progress, optional
            May cancel.

        Returns
        -------
        mapping
            (H, W) probability by array axis and slice index; empty where no prompt says where the structure is.

        Raises
        ------
        NotThereError, StudyError, WeightsError, WorkerDiedError, OperationCancelledError
        """
        log = work.log(structure)
        if not any(locates(prompt) for prompt in log.prompts):
            return {}
        found = self.workers.worker(work.state.model).ask(Preview(self._session_key(work), log), progress)
        return {axis: {index: one.whole() for index, one in cut.items()} for axis, cut in found.items()}

    def segment(self, work: Work, structure: str, options: SegmentOptions, *, event: str | None = None) -> str:
        """Begin to segment a structure in 3D from its present prompts.

        Parameters
        ----------
        work : Work
        structure : str
        options : SegmentOptions
        event : str, optional
            The client's identifier of the request: the same one again gives the same job.

        Returns
        -------
        str
            Identifier of the job.

        Raises
        ------
        NotThereError, PromptError, AtCapacityError, OutputError
        """
        check_samples(options.samples)
        source_named(options.uncertainty)
        with work.changing():
            steps = work.state.require(structure)
            log, key = steps.log(), self._session_key(work)
            return self.jobs.begin(
                work,
                "segment",
                work.state.model,
                lambda job: self._task(work.state.model, Segment(key, log, options, result_path(work, job))),
                event,
                structure=structure,
                digest=steps.digest,
                options=asdict(options),
            )

    def plan(self, work: Work, request: PlanRequest, origin: PlanOrigin, *, event: str | None = None) -> str:
        """Begin to plan trajectories past the structures of a session.

        Parameters
        ----------
        work : Work
        request : PlanRequest
            Of structures that were segmented from their present prompts.
        origin : PlanOrigin
            Where the request came from.
        event : str, optional
            As :meth:`segment`.

        Returns
        -------
        str
            Identifier of the job, and of its plan.

        Raises
        ------
        NotThereError, StaleError, AtCapacityError, OutputError
        """
        with work.changing():
            known = self._known(work, self._results_for(work, request))
            key = self._study_key(work)
            return self.jobs.begin(
                work,
                "plan",
                Workers.PLANNING,
                lambda job: self._task(
                    Workers.PLANNING, Plan(work.identifier, key, request, origin, known, work.folder / "plans" / job)
                ),
                event,
                title=request.title,
            )

    def cancel(self, identifier: str, lease: str | None) -> Job:
        """Ask a job to stop.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        job = self.jobs.find(identifier)
        self.acting(job.session, lease)
        return self.jobs.cancel(identifier)

    def plan_folder(self, work: Work, plan: str) -> Path:
        """Folder of a finished plan.

        Raises
        ------
        NotThereError
        """
        ended = work.state.ends.get(plan)
        if ended is None or ended["state"] != "done" or work.state.jobs[plan]["task"] != "plan":
            raise NotThereError("There is no such plan. Its job has not ended, or failed.")
        return work.folder / "plans" / plan

    def result_file(
        self, work: Work, structure: str, kind: ResultFile, *, allow_stale: bool = False
    ) -> tuple[Path, StoredResult]:
        """A file of the 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError, OutputError
        """
        stored = work.state.result(structure, allow_stale=allow_stale)
        made_from = result_path(work, stored.job)
        path = kind.path(made_from.parent, structure)
        if not path.exists():
            export = Export(work.identifier, self._study_key(work), made_from, kind)
            self.workers.worker(Workers.PLANNING).ask(export)
        return path, stored

    def slice_png(
        self, work: Work, plane: Plane, index: int, *, centre: float | None = None, width: float | None = None
    ) -> bytes:
        """One slice of the study as an 8-bit grey PNG, as a radiologist sees it.

        Parameters
        ----------
        work : Work
        plane : Plane
        index : int
            From 0.
        centre, width : float, optional
            Display window, in units of the study; by default its first preset.

        Raises
        ------
        NotThereError
            If there is no such slice.
        """
        volume = self.loaded.volume(work.study)
        preset = self.loaded.window(work.study)
        shown = Window(preset.centre if centre is None else centre, preset.width if width is None else width)
        return slice_picture(volume, plane, index, shown)

    def preview_png(self, work: Work, structure: str, plane: Plane, index: int) -> bytes:
        """The prediction on one prompted slice as an 8-bit grey PNG, oriented as :meth:`slice_png`: probability × 255.

        Raises
        ------
        NotThereError
            If there is no such slice, or no prompt of the structure on it.
        """
        by_axis = self.preview(work, structure)
        return preview_picture(self.loaded.volume(work.study), plane, index, by_axis)

    def clearance(
        self, work: Work, structures: tuple[StructureRequest, ...], tool: Tool, lines_lps_mm: ArrayLike
    ) -> Clearance:
        """Clearance of given trajectories from segmented structures.

        Parameters
        ----------
        work : Work
        structures : tuple of StructureRequest
        tool : Tool
        lines_lps_mm : (N, 2, 3) float
            Entry, then target; at most :data:`MOST_LINES`.

        Raises
        ------
        NotThereError, StaleError, PlanningError
        """
        lines = np.asarray(lines_lps_mm, dtype=np.float64)
        if lines.ndim != 3 or not 1 <= len(lines) <= MOST_LINES:
            raise PlanningError(f"Expected 1 to {MOST_LINES} lines of two positions each, LPS mm.")
        known = self._known(work, {one.name: work.state.result(one.name) for one in structures})
        measure = Measure(work.identifier, self._study_key(work), structures, known, tool, lines)
        found: Clearance = self.workers.worker(Workers.PLANNING).ask(measure)
        return found

    def _task(self, worker: str, request: Request) -> Task:
        return lambda progress: self.workers.worker(worker).ask(request, progress)

    def _study_key(self, work: Work) -> StudyKey:
        return StudyKey(self.studies.folder_of(work.study.identifier), work.study.sha256)

    def _session_key(self, work: Work) -> SessionKey:
        return SessionKey(work.identifier, self._study_key(work), work.state.model, work.state.seed)

    def _known(self, work: Work, results: Mapping[str, StoredResult]) -> dict[str, Known]:
        return {name: Known(result_path(work, one.job), work.log(name)) for name, one in results.items()}

    def _results_for(self, work: Work, request: PlanRequest) -> dict[str, StoredResult]:
        """Every result of present prompts; of what the request names there must be one."""
        named = [one.name for one in request.structures]
        for tool in request.tools:
            named += [name for name in (tool.entry.structure, tool.target.structure) if name is not None]
        for name in named:
            work.state.result(name)
        state = work.state
        return {name: one for name, one in state.results.items() if not state.is_stale(name)}
