"""Studies as one actor may use them; the part of :mod:`.on_behalf` that all else rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medsam_planner.errors import NotThereError
from medsam_planner.progress import Progress
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.data_folder import NO_SESSION
from medsam_planner.service.core.job import NO_JOB, Job
from medsam_planner.service.core.retention import delete_study
from medsam_planner.service.core.rights import Rights
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import NO_STUDY, StoredStudy
from medsam_planner.service.core.work import Work
from medsam_planner.workflow.study_reading import PLAIN_READING, ReadingOptions

__all__ = ["StudiesOnBehalf"]


class StudiesOnBehalf:
    """The studies of a service on behalf of one actor; parameters and errors as :class:`.OnBehalf`."""

    def __init__(self, service: Service, actor: Actor) -> None:
        self.service = service
        self.actor = actor

    def open_path(
        self,
        text: str,
        *,
        reading: ReadingOptions = PLAIN_READING,
        progress: Progress | None = None,
    ) -> StoredStudy:
        """As :meth:`Service.open_path`; the actor owns the study."""
        self.require_annotator()
        return self.service.open_path(text, actor=self.actor, reading=reading, progress=progress)

    def require_annotator(self) -> None:
        """Refuse an actor who may open no study, before anything is uploaded."""
        Rights.require_any(self.actor, Right.ANNOTATE)

    def ask_pacs(self, what: str) -> None:
        """Refuse an actor who may open no study; the audit log is told that a PACS is asked, and of no patient."""
        self.require_annotator()
        self.service.audit.tell("asked a PACS", self.actor.name, what=what)

    def open_upload(
        self,
        identifier: str,
        path: Path,
        *,
        reading: ReadingOptions = PLAIN_READING,
        progress: Progress | None = None,
    ) -> StoredStudy:
        """As :meth:`Service.open_upload`; the actor owns the study."""
        self.require_annotator()
        return self.service.open_upload(identifier, path, actor=self.actor, reading=reading, progress=progress)

    def studies(self) -> tuple[StoredStudy, ...]:
        """The studies of the actor's list, the oldest first."""
        listed = self.service.rights.is_listed
        return tuple(study for study in self.service.studies.all() if listed(self.actor, study))

    def study(self, identifier: str) -> StoredStudy:
        """One study."""
        study = self.service.studies.find(identifier)
        self._require(study, Right.VIEW, NO_STUDY)
        self._tell_opened(study)
        return study

    def rights_on(self, identifier: str) -> tuple[StoredStudy, Mapping[str, Right]]:
        """A study, and what was granted on it by user."""
        study = self.study(identifier)
        return study, self.service.rights.grants(study)

    def grant(self, identifier: str, grants: Mapping[str, Right]) -> StoredStudy:
        """Replace what is granted on a study; for its owner and administrators."""
        study = self._owned(identifier)
        told = ", ".join(f"{user}={right.role}" for user, right in sorted(grants.items())) or "nobody"
        self.service.audit.tell("rights changed", self.actor.name, study=study.identifier, what=told)
        self.service.rights.grant(study, grants)
        return study

    def delete_study(self, identifier: str) -> None:
        """Delete a study and its sessions; for its owner and administrators."""
        study = self._owned(identifier)
        self.service.audit.tell("deleted", self.actor.name, study=study.identifier, what="the study")
        delete_study(self.service, study)

    # ---- what is required, and told ----------------------------------------------------------------------------------
    def _require(self, study: StoredStudy, needed: Right, missing: str) -> None:
        self.service.rights.require(self.actor, study, needed, missing=missing)

    def _owned(self, identifier: str) -> StoredStudy:
        study = self.service.studies.find(identifier)
        self.service.rights.require_owner(self.actor, study, missing=NO_STUDY)
        return study

    def _session(self, identifier: str, needed: Right) -> Work:
        work = self.service.session(identifier)
        self._require(work.study, needed, NO_SESSION)
        return work

    def _job(self, identifier: str, needed: Right) -> Job:
        job = self.service.jobs.find(identifier)
        try:
            self._session(job.session, needed)
        except NotThereError as error:
            raise NotThereError(NO_JOB) from error
        return job

    def _tell_opened(self, study: StoredStudy, session: str | None = None) -> None:
        self.service.audit.tell_once_a_day("opened", self.actor.name, study=study.identifier, session=session)
