"""What every door calls. Free of HTTP and of any page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from medsam_planner.planning.request import PlanRequest
from medsam_planner.propagation.sources import source_named
from medsam_planner.provenance import PlanOrigin
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service.core.actors import LOCAL
from medsam_planner.service.core.job import Job, Task, Urgency
from medsam_planner.service.core.journalled_jobs import JournalledJobs
from medsam_planner.service.core.options import Limits, SegmentOptions
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.core.review_requests import Document
from medsam_planner.service.core.served_project import ServedProject
from medsam_planner.service.core.session_reader import SessionReader
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.worker import Workers
from medsam_planner.service.settings import Settings

__all__ = ["Service"]


class Service(SessionReader):
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
    ConfigError
        If the folder of the annotation project holds none.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        super().__init__(
            settings, limits or Limits(), on_prompts=lambda work, structure: self.jobs.stop_outdated(work, structure)
        )
        self.jobs = JournalledJobs(self.session, on_progress=self.leases.touch)
        for work in self._works.values():
            self.jobs.recall_of(work)
        self.project = (
            None if settings.project is None else ServedProject(settings.project, self, self.computations.workers)
        )

    def close(self) -> None:
        """Stop the jobs, end the workers, and let go of the data folder."""
        self.jobs.stop()
        self.computations.workers.close()
        self.jobs.close()
        super().close()

    def prepare(self) -> None:
        """Begin the worker that the first client needs; does not wait for it."""
        self.computations.prepare(self.settings.model)

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
            told: dict[str, Any] = {"structure": structure, "digest": steps.digest, "options": asdict(options)}
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
        """Begin to plan trajectories past the structures of a session; report and surfaces are written after the plan.

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
            then = partial(self._write_plan, work, self.computations.writing(work, request, origin))
            job = self.jobs.begin(work, "plan", Workers.PLANNING, run, actor, event, then=then, title=request.title)
            self.jobs.stop_unasked_documents(work, but_of=job)
            return job

    def _write_plan(self, work: Work, writing: Callable[[str], Task], plan: str) -> None:
        """Begin to write what belongs to a plan that was found; nobody waits for it."""
        self.jobs.begin(
            work, "document", Workers.PLANNING, lambda _: writing(plan), None, None, plan=plan, unasked=True
        )

    def plan_at_once(self, work: Work, request: PlanRequest, origin: PlanOrigin, *, actor: str = LOCAL.name) -> str:
        """Begin to plan in fields that are kept, and write ``plan.json`` alone; parameters as :meth:`plan`."""
        with work.changing():
            plan = self.computations.reviewed(work, request, origin)
            run = self.computations.planning_at_once(work, plan)
            job = self.jobs.begin(work, "plan", Workers.PLANNING, run, actor, None, title=request.title)
            self.jobs.stop_unasked_documents(work)
            return job

    def write_document(self, work: Work, asked: Document, *, actor: str = LOCAL.name) -> str:
        """Begin to write the report and the objects of the plan that holds; gives the identifier of the job."""
        with work.changing():
            run = self.computations.documenting(asked)
            self.jobs.stop_unasked_documents(work)
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

    def cancel(self, identifier: str, lease: str | None) -> Job:
        """Ask a job to stop.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        job = self.jobs.find(identifier)
        self.acting(job.session, lease)
        return self.jobs.cancel(identifier)

    def forget_session(self, work: Work) -> None:
        """Delete a session with its prompts, results and plans.

        Raises
        ------
        OutputError
            If its folder cannot be deleted.
        """
        self.computations.workers.forget(work.identifier)
        super().forget_session(work)
