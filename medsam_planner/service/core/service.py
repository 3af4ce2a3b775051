"""What every door calls. Free of HTTP and of any page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import (
    ConfigError,
    MedsamPlannerError,
    NotThereError,
)
from medsam_planner.io.fault_log import log_fault
from medsam_planner.planning.clearance import Clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.propagation.sources import source_named
from medsam_planner.provenance import PlanOrigin
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service.core import computations
from medsam_planner.service.core.actors import LOCAL
from medsam_planner.service.core.data_folder import DataFolder
from medsam_planner.service.core.exports import ResultFile, write_result_file
from medsam_planner.service.core.jobs import Job, Jobs, JobState
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.options import Limits, SegmentOptions
from medsam_planner.service.core.study_store import StoredStudy, new_identifier
from medsam_planner.service.core.work import StoredResult, Work
from medsam_planner.service.display import Plane, display_for, display_windows
from medsam_planner.service.settings import Settings
from medsam_planner.service.slice_view import grey_png

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
        super().__init__(settings, limits or Limits())
        self.jobs = Jobs(on_progress=self.leases.touch, on_end=self._record_end, on_fault=_said_of_fault)
        for work in self._works.values():
            self._recall_jobs(work)

    def close(self) -> None:
        """Stop the jobs and let go of the data folder."""
        self.jobs.close()
        super().close()

    def preview(self, work: Work, structure: str) -> Mapping[int, Mapping[int, NDArray[np.float32]]]:
        """Predictions on the prompted slices of a structure. It computes, and is called from threads.

        Parameters
        ----------
        work : Work
        structure : str

        Returns
        -------
        mapping
            (H, W) probability by array axis and slice index; empty where no prompt says where the structure is.

        Raises
        ------
        NotThereError, StudyError, WeightsError
        """
        return computations.preview(self.loaded, work, work.log(structure))

    def segment(
        self,
        work: Work,
        structure: str,
        options: SegmentOptions,
        *,
        actor: str = LOCAL.name,
        event: str | None = None,
    ) -> str:
        """Begin to segment a structure in 3D from its present prompts.

        Parameters
        ----------
        work : Work
        structure : str
        options : SegmentOptions
        actor : str
            Name of who asks.
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
            run = partial(computations.segment, self.loaded, work, steps.log(), options)
            return self._begin(
                work, "segment", run, actor, event, structure=structure, digest=steps.digest, options=asdict(options)
            )

    def plan(
        self,
        work: Work,
        request: PlanRequest,
        origin: PlanOrigin,
        *,
        actor: str = LOCAL.name,
        event: str | None = None,
    ) -> str:
        """Begin to plan trajectories past the structures of a session.

        Parameters
        ----------
        work : Work
        request : PlanRequest
            Of structures that were segmented from their present prompts.
        origin : PlanOrigin
            Where the request came from.
        actor, event
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
            results = self._results_for(work, request)
            run = partial(computations.plan, self.loaded, work, request, origin, results)
            return self._begin(work, "plan", run, actor, event, title=request.title)

    def cancel(self, identifier: str, lease: str | None) -> Job:
        """Ask a job to stop.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        job = self.jobs.find(identifier)
        self.acting(job.session, lease)
        return self.jobs.cancel(identifier)

    def delete_session(self, work: Work) -> None:
        """Stop the jobs of a session, and delete it.

        Raises
        ------
        ServiceError
            If a job does not stop. The session stays.
        OutputError
            If its folder cannot be deleted.
        """
        self.jobs.end_all_of(work.identifier)
        self.forget_session(work)

    def delete_study(self, study: StoredStudy) -> None:
        """Delete a study with its sessions; of a study that was opened by path only what the server keeps.

        Raises
        ------
        ServiceError, OutputError
            As :meth:`delete_session`.
        """
        for work in self.sessions_on(study.identifier):
            self.delete_session(work)
        self.forget_study(study)

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
        folder = result_path(work, stored.job).parent
        path = kind.path(folder, structure)
        if not path.exists():
            result = self.loaded.result(work, structure, stored)
            write_result_file(folder, kind, result, self.loaded.volume(work.study))
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
        loaded = self.loaded.session(work)
        display = display_for(loaded.volume, plane)
        if not 0 <= index < display.slice_count:
            raise NotThereError(f"Expected a {plane.value} slice from 0 to {display.slice_count - 1}, got {index}.")
        preset = next(iter(display_windows(loaded.volume, loaded.session.normalisation).values()))
        middle = preset["centre"] if centre is None else centre
        span = preset["width"] if width is None else width
        return grey_png(display.picture(loaded.volume.array, index), middle - span / 2, middle + span / 2)

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
        return computations.measure(self.loaded, work, structures, tool, lines_lps_mm)

    def _recall_jobs(self, work: Work) -> None:
        """Jobs of an earlier process; one that had not ended was interrupted."""
        for identifier, begun in work.state.jobs.items():
            job = Job(identifier, work.identifier, begun["task"], begun.get("structure"))
            ended = work.state.ends.get(identifier)
            if ended is None:
                problem = {"code": "interrupted", "detail": "The server ended during this job. Ask for it again."}
                job = replace(job, state=JobState.FAILED, problem=problem)
                with suppress(MedsamPlannerError):  # a damaged journal, or a full disk: it is interrupted all the same
                    self._record_end(job)
            else:
                job = replace(
                    job, state=JobState(ended["state"]), result=ended.get("result"), problem=ended.get("problem")
                )
            self.jobs.recall(job)

    def _begin(self, work: Work, task: str, run: Any, actor: str, event: str | None, **entries: Any) -> str:
        if event is not None and event in work.state.n_by_event:
            n = work.state.n_by_event[event]
            for identifier, begun in work.state.jobs.items():
                if begun["n"] == n:
                    return identifier
            raise ConfigError(f"Expected an event_id of its own for each request, got {event!r} of an earlier change.")
        self.jobs.require_room(work.identifier)
        identifier = new_identifier()
        work.record("job", actor=actor, event=event, job=identifier, task=task, **entries)
        self.jobs.submit(Job(identifier, work.identifier, task, entries.get("structure")), partial(run, identifier))
        return identifier

    def _record_end(self, job: Job) -> None:
        told: dict[str, Any] = {"job": job.identifier, "state": job.state.value}
        if job.result is not None:
            told["result"] = dict(job.result)
        if job.problem is not None:
            told["problem"] = dict(job.problem)
        self.session(job.session).record("job-ended", **told)

    def _results_for(self, work: Work, request: PlanRequest) -> dict[str, StoredResult]:
        """Every result of present prompts; of what the request names there must be one."""
        named = [one.name for one in request.structures]
        for tool in request.tools:
            named += [name for name in (tool.entry.structure, tool.target.structure) if name is not None]
        for name in named:
            work.state.result(name)
        state = work.state
        return {name: one for name, one in state.results.items() if not state.is_stale(name)}


def _said_of_fault(error: Exception) -> str:
    """Log a fault of the program; what a client is told names no place of the server."""
    log = log_fault(error)
    where = "its log could not be written" if log is None else f"its log is {log.name}"
    return f"A fault of the program ({type(error).__name__}); {where}. Tell the administrator of the server."
