"""What every door calls. Free of HTTP and of any page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import (
    NotThereError,
)
from medsam_planner.io.intensity import Window
from medsam_planner.planning.clearance import Clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.propagation.sources import source_named
from medsam_planner.provenance import PlanOrigin
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service.core.actors import LOCAL
from medsam_planner.service.core.alternatives import Alternatives
from medsam_planner.service.core.computations import Computations
from medsam_planner.service.core.data_folder import DataFolder
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.job import Job, Urgency
from medsam_planner.service.core.journalled_jobs import JournalledJobs
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.options import Limits, SegmentOptions
from medsam_planner.service.core.packing import ARCHIVE, ExportChoice
from medsam_planner.service.core.pictures import preview_picture, slice_picture
from medsam_planner.service.core.review_requests import Document
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.core.worker import Workers
from medsam_planner.service.display import Plane
from medsam_planner.service.settings import Settings
from medsam_planner.workflow.restated_plan import restate

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
        self.computations = Computations(self.studies, self.limits)
        for work in self._works.values():
            self.jobs.recall_of(work)

    def close(self) -> None:
        """Stop the jobs, end the workers, and let go of the data folder."""
        self.jobs.stop()
        self.computations.workers.close()
        self.jobs.close()
        super().close()

    def prepare(self) -> None:
        """Begin the worker that the first client needs; does not wait for it."""
        self.computations.prepare(self.settings.model)

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
        return self.computations.preview(work, work.log(structure), progress)

    def alternatives(self, work: Work, structure: str) -> Alternatives | None:
        """The model's answers to the last prompt of a structure; waits for its worker, and is called from threads.

        Parameters
        ----------
        work : Work
        structure : str

        Returns
        -------
        Alternatives or None
            None where the last prompt is neither a box nor a click inside.

        Raises
        ------
        NotThereError, StudyError, WeightsError, WorkerDiedError
        """
        return self.computations.alternatives(work, work.log(structure))

    def segment(
        self,
        work: Work,
        structure: str,
        options: SegmentOptions,
        *,
        actor: str = LOCAL.name,
        event: str | None = None,
        urgency: Urgency = Urgency.ASKED,
    ) -> str:
        """Begin to segment a structure in 3D from its present prompts. What computes it and nobody asked for ends.

        Parameters
        ----------
        work : Work
        structure : str
        options : SegmentOptions
        actor : str
            Name of who asks.
        event : str, optional
            The client's identifier of the request: the same one again gives the same job.
        urgency : Urgency
            Whether somebody asked for it, or the 3D mask follows the prompts.

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
            is_asked = urgency is Urgency.ASKED
            run = self.computations.segmenting(work, steps.log(), options, is_asked=is_asked)
            told = {"structure": structure, "digest": steps.digest, "options": asdict(options)}
            who = actor if is_asked else None  # the audit log tells what people do
            job = self.jobs.begin(work, "segment", work.state.model, run, who, event, urgency, **told)
            self.jobs.stop_outdated(work, structure, but=job)
            return job

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
            run = self.computations.planning(work, request, origin)
            return self.jobs.begin(work, "plan", Workers.PLANNING, run, actor, event, title=request.title)

    def plan_at_once(self, work: Work, request: PlanRequest, origin: PlanOrigin, *, actor: str = LOCAL.name) -> str:
        """Begin to plan in fields that are kept, and write ``plan.json`` alone; parameters as :meth:`plan`."""
        with work.changing():
            plan = self.computations.reviewed(work, request, origin)
            run = self.computations.planning_at_once(work, plan)
            return self.jobs.begin(work, "plan", Workers.PLANNING, run, actor, None, title=request.title)

    def write_document(self, work: Work, asked: Document, *, actor: str = LOCAL.name) -> str:
        """Begin to write the report and the objects of the plan that holds; gives the identifier of the job."""
        with work.changing():
            run = self.computations.documenting(asked)
            return self.jobs.begin(work, "document", Workers.PLANNING, run, actor, None, plan=asked.folder.name)

    def pack(self, work: Work, choice: ExportChoice, *, actor: str = LOCAL.name, event: str | None = None) -> str:
        """Begin to write an archive of the results of a session; the plan is in it as long as it holds.

        Parameters
        ----------
        work : Work
        choice : ExportChoice
        actor, event
            As :meth:`segment`.

        Returns
        -------
        str
            Identifier of the job, and of its archive.

        Raises
        ------
        StaleError, AtCapacityError, OutputError
        """
        with work.changing():
            plan = work.state.plan
            run = self.computations.packing(work, choice, None if plan is None else self.plan_folder(work, plan))
            return self.jobs.begin(work, "export", Workers.PLANNING, run, actor, event, **choice.as_json())

    def archive(self, work: Work, export: str) -> Path:
        """The archive that a job has written; a session keeps the last one.

        Raises
        ------
        NotThereError
        """
        ended = work.state.ends.get(export)
        if ended is None or ended["state"] != "done" or work.state.jobs[export]["task"] != "export":
            raise NotThereError("There is no such export. Its job has not ended, or failed.")
        path = work.folder / "exports" / export / ARCHIVE
        if not path.is_file():
            raise NotThereError("That export is gone: a later one has taken its place. Export again.")
        return path

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
        folder, review = work.folder / "plans" / plan, work.state.reviews.get(plan)
        if review is not None and review.decision is not None:
            restate(folder, review.decision)  # it may have been made, or have ended, since the files were written
        return folder

    def result_file(
        self, work: Work, structure: str, kind: ResultFile, *, allow_stale: bool = False
    ) -> tuple[Path, StoredResult]:
        """A file of the 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError, OutputError
        """
        stored = work.state.result(structure, allow_stale=allow_stale)
        path = kind.path(result_path(work, stored.job).parent, structure, work.state.listed[structure].look)
        if not path.exists():
            self.computations.export(work, structure, stored, kind)
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
        preset = next(iter(self.loaded.windows(work.study).values()))
        shown = Window(preset["centre"] if centre is None else centre, preset["width"] if width is None else width)
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
        return self.computations.measure(work, structures, tool, lines_lps_mm)

    def forget_session(self, work: Work) -> None:
        """Delete a session with its prompts, results and plans.

        Raises
        ------
        OutputError
            If its folder cannot be deleted.
        """
        self.computations.workers.forget(work.identifier)
        super().forget_session(work)
