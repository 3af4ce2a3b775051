"""The service as one actor may use it: the only place where rights are required, and where the audit log is told.

Every door asks the service through this, so that no route can forget a check. What an actor must not know of is refused
exactly as what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsam_planner.errors import StaleError
from medsam_planner.planning.request import PlanRequest
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core import structure_changes
from medsam_planner.service.core.actors import Right
from medsam_planner.service.core.data_folder import NO_SESSION
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.job import Job, Urgency
from medsam_planner.service.core.on_behalf_studies import StudiesOnBehalf
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.retention import delete_session
from medsam_planner.service.core.review_requests import Document
from medsam_planner.service.core.study_store import NO_STUDY
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult

__all__ = ["PLAN_ENDED", "OnBehalf"]

PLAN_ENDED = "That plan no longer holds: structures, their roles or prompts have changed since. Plan again."


class OnBehalf(StudiesOnBehalf):
    """The service on behalf of one actor. A work that it gives was checked, and may be handed back to it.

    Methods raise :class:`NotThereError` for what the actor must not know of, and :class:`ForbiddenError` for what its
    role does not allow, beside what :class:`Service` raises.

    Parameters
    ----------
    service : Service
    actor : Actor
    """

    # ---- sessions ---------------------------------------------------------------------------------------------------
    def open_session(
        self, study: str, model: str | None = None, *, held: tuple[str, str] | None = None
    ) -> tuple[Work, str]:
        """As :meth:`Service.open_session`."""
        self._require(self.service.studies.find(study), Right.ANNOTATE, NO_STUDY)
        return self.service.open_session(study, model, actor=self.actor, held=held)

    def sessions(self) -> tuple[Work, ...]:
        """The sessions of the actor's list, the one changed last first."""
        is_listed, actor = self.service.rights.is_listed, self.actor
        return tuple(work for work in self.service.sessions() if is_listed(actor, work.study, owner=work.state.owner))

    def session(self, identifier: str) -> Work:
        """One session, to be read."""
        work = self._session(identifier, Right.VIEW)
        self._tell_opened(work.study, work.identifier)
        return work

    def claim(self, identifier: str, *, take_over: bool = False) -> tuple[Work, str]:
        """Hold a session: the work and the token of its lease, as :meth:`Leases.claim`."""
        work = self._session(identifier, Right.ANNOTATE)
        self._tell_opened(work.study, work.identifier)
        return work, self.service.leases.claim(identifier, take_over=take_over)

    def acting(self, identifier: str, lease: str | None) -> Work:
        """One session, for a client that holds it."""
        self._session(identifier, Right.ANNOTATE)
        return self.service.acting(identifier, lease)

    def release(self, identifier: str, lease: str | None) -> None:
        """Give a session back."""
        self.service.leases.release(self._session(identifier, Right.ANNOTATE).identifier, lease)

    def delete_session(self, identifier: str) -> None:
        """Delete a session; for its owner, the owner of its study and administrators."""
        work = self._session(identifier, Right.VIEW)
        if self.actor.name != work.state.owner:
            self.service.rights.require_owner(self.actor, work.study, missing=NO_SESSION)
        told = self.service.audit.tell
        told("deleted", self.actor.name, study=work.study.identifier, session=identifier, what="the session")
        delete_session(self.service, work)

    # ---- changes of a work that was given by `acting` ---------------------------------------------------------------
    def add(self, work: Work, structure: str, entry: Mapping[str, Any], *, event: str | None = None) -> int:
        """As :meth:`Work.add`."""
        return work.add(structure, entry, actor=self.actor.name, event=event)

    def remove(self, work: Work, n: int, *, event: str | None = None) -> int:
        """As :meth:`Work.remove`."""
        return work.remove(n, actor=self.actor.name, event=event)

    def record(self, work: Work, kind: str, *, event: str | None = None, **entries: Any) -> int:
        """As :meth:`Work.record`."""
        return work.record(kind, actor=self.actor.name, event=event, **entries)

    def replace_steps(self, work: Work, steps: PromptSteps) -> int:
        """As :meth:`Work.replace_steps`."""
        return work.replace_steps(steps, actor=self.actor.name)

    def begin(self, work: Work, structure: str, *, event: str | None = None) -> int:
        """As :func:`.structure_changes.begin`."""
        return structure_changes.begin(work, structure, actor=self.actor.name, event=event)

    def describe(self, work: Work, structure: str, *, event: str | None = None, **looks: Any) -> int:
        """As :func:`.structure_changes.describe`."""
        return structure_changes.describe(work, structure, actor=self.actor.name, event=event, **looks)

    def rename(self, work: Work, structure: str, name: str, *, event: str | None = None) -> int:
        """As :func:`.structure_changes.rename`."""
        n = structure_changes.rename(work, structure, name, actor=self.actor.name, event=event)
        self.service.jobs.rename(work.identifier, structure, name)
        return n

    def delete(self, work: Work, structure: str, *, event: str | None = None) -> int:
        """As :func:`.structure_changes.delete`."""
        return structure_changes.delete(work, structure, actor=self.actor.name, event=event)

    def restore(self, work: Work, n: int, *, event: str | None = None) -> int:
        """As :func:`.structure_changes.restore`."""
        return structure_changes.restore(work, n, actor=self.actor.name, event=event)

    def order(self, work: Work, structures: Sequence[str], *, event: str | None = None) -> int:
        """As :func:`.structure_changes.order`."""
        return structure_changes.order(work, structures, actor=self.actor.name, event=event)

    def segment(
        self,
        work: Work,
        structure: str,
        options: SegmentOptions,
        *,
        event: str | None = None,
        urgency: Urgency = Urgency.ASKED,
    ) -> str:
        """As :meth:`Service.segment`."""
        return self.service.segment(work, structure, options, actor=self.actor.name, event=event, urgency=urgency)

    def plan(self, work: Work, request: PlanRequest, origin: PlanOrigin, *, event: str | None = None) -> str:
        """As :meth:`Service.plan`; for planners."""
        self._require(work.study, Right.PLAN, NO_SESSION)
        return self.service.plan(work, request, origin, actor=self.actor.name, event=event)

    # ---- review of a plan -------------------------------------------------------------------------------------------
    def require_planner(self, work: Work) -> None:
        """Refuse an actor who may not plan on a session: only planners change a plan or decide on it."""
        self._require(work.study, Right.PLAN, NO_SESSION)

    def review(self, work: Work, kind: str, plan: str, *, event: str | None = None, **entries: Any) -> int:
        """Record a line placed by hand, its undoing, or a decision on a plan, if that holds; for planners."""
        self.require_planner(work)
        with work.changing():
            if work.state.plan != plan and work.state.repeated(event, kind, plan=plan) is None:
                raise StaleError(PLAN_ENDED)
            return work.record(kind, actor=self.actor.name, event=event, plan=plan, **entries)

    def plan_at_once(self, work: Work, request: PlanRequest, origin: PlanOrigin) -> str:
        """As :meth:`Service.plan_at_once`; for planners."""
        self.require_planner(work)
        return self.service.plan_at_once(work, request, origin, actor=self.actor.name)

    def write_document(self, work: Work, asked: Document) -> str:
        """As :meth:`Service.write_document`; for planners."""
        self.require_planner(work)
        return self.service.write_document(work, asked, actor=self.actor.name)

    def pack(self, work: Work, choice: ExportChoice, *, event: str | None = None) -> str:
        """As :meth:`Service.pack`."""
        return self.service.pack(work, choice, actor=self.actor.name, event=event)

    # ---- jobs and files ---------------------------------------------------------------------------------------------
    def job(self, identifier: str) -> Job:
        """A job as it is now."""
        return self._job(identifier, Right.VIEW)

    def cancel(self, identifier: str, lease: str | None) -> Job:
        """As :meth:`Service.cancel`."""
        self._job(identifier, Right.ANNOTATE)
        return self.service.cancel(identifier, lease)

    def result_file(
        self, work: Work, structure: str, kind: ResultFile, *, allow_stale: bool = False
    ) -> tuple[Path, StoredResult]:
        """As :meth:`Service.result_file`."""
        found = self.service.result_file(work, structure, kind, allow_stale=allow_stale)
        self.tell_exported(work, f"{kind.value} of job {found[1].job}")
        return found

    def plan_folder(self, work: Work, plan: str) -> Path:
        """As :meth:`Service.plan_folder`."""
        folder = self.service.plan_folder(work, plan)
        self.tell_exported(work, f"plan {plan}")
        return folder

    def archive(self, work: Work, export: str) -> Path:
        """As :meth:`Service.archive`."""
        path = self.service.archive(work, export)
        self.tell_exported(work, f"archive {export}")
        return path

    def tell_exported(self, work: Work, what: str) -> None:
        """Tell the audit log that something of a session is given out."""
        self.service.audit.tell(
            "exported", self.actor.name, study=work.study.identifier, session=work.identifier, what=what
        )
