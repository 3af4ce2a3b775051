"""What is deleted: on request, and after the time that the operator states. Each deletion is in the audit log.

Only folders of the data folder are deleted. A study that was opened by path is forgotten, and its files stay.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import MedsamPlannerError, OutputError
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import StoredStudy, delete_folder
from medsam_planner.service.core.work import Work

__all__ = ["KEEP_DAYS", "Keep", "Retention", "delete_session", "delete_study", "expire"]

KEEP_DAYS = 30.0
_DAY_S = 86400.0
_ROUND_S = 3600.0
_ACTOR = "retention"


@dataclass(frozen=True, slots=True)
class Keep:
    """How long things are kept without a change, in days."""

    days: float = KEEP_DAYS
    """Studies that no session is on, results that a later one has replaced, files that can be made again."""
    works_days: float | None = None
    """Sessions; None keeps them until somebody deletes them."""


def delete_session(service: Service, work: Work) -> None:
    """Stop the jobs of a session, and delete it.

    Raises
    ------
    ServiceError
        If a job does not stop. The session stays.
    OutputError
        If its folder cannot be deleted.
    """
    service.jobs.end_all_of(work.identifier)
    service.forget_session(work)


def delete_study(service: Service, study: StoredStudy) -> None:
    """Delete a study with its sessions; of a study that was opened by path only what the server keeps.

    Raises
    ------
    ServiceError, OutputError
        As :func:`delete_session`.
    """
    for work in service.sessions_on(study.identifier):
        delete_session(service, work)
    service.forget_study(study)


def expire(service: Service, keep: Keep, *, now: float | None = None) -> None:
    """Delete what was kept for long enough. What cannot be deleted, or not be told, is tried again the next time.

    Parameters
    ----------
    service : Service
    keep : Keep
    now : float, optional
        Seconds since 1970.
    """
    now = time.time() if now is None else now
    for work in service.sessions():
        with suppress(OSError, MedsamPlannerError):
            if not service.leases.is_held(work.identifier):
                _expire_session(service, work, keep, now)
    for study in service.studies.all():
        with suppress(OSError, MedsamPlannerError):
            opened = (service.studies.folder_of(study.identifier) / "study.json").stat().st_mtime
            if opened < now - keep.days * _DAY_S and not service.sessions_on(study.identifier):
                service.audit.tell("deleted", _ACTOR, study=study.identifier, what="a study without a session")
                service.forget_study(study)


def _expire_session(service: Service, work: Work, keep: Keep, now: float) -> None:
    if any(not job.state.is_final for job in service.jobs.of_session(work.identifier)):
        return
    study, session = work.study.identifier, work.identifier
    changed = (work.folder / "journal.jsonl").stat().st_mtime
    if keep.works_days is not None and changed < now - keep.works_days * _DAY_S:
        service.leases.claim(session)  # nobody else may begin to act on it now
        service.audit.tell("deleted", _ACTOR, study=study, session=session, what="the session")
        delete_session(service, work)
        return
    latest = {result.job for result in work.state.results.values()}
    oldest = now - keep.days * _DAY_S
    for folder in (work.folder / "results").iterdir():
        if folder.is_symlink() or folder.stat().st_mtime >= oldest:
            continue
        if folder.name not in latest:
            service.audit.tell("deleted", _ACTOR, study=study, session=session, what=f"replaced result {folder.name}")
            delete_folder(folder)
            continue
        made = [one for one in folder.iterdir() if one.name != "result.npz" and one.stat().st_mtime < oldest]
        if made:
            told = f"files of result {folder.name}"
            service.audit.tell("deleted", _ACTOR, study=study, session=session, what=told)
        for one in made:
            _delete(one)


def _delete(made: Path) -> None:
    if made.is_dir() and not made.is_symlink():
        delete_folder(made)
        return
    try:
        made.unlink()
    except OSError as error:
        raise OutputError(f"{made.name} cannot be deleted: {error.strerror or error}.") from error


class Retention:
    """Calls :func:`expire` at once and every hour, until it is closed.

    The time goes on by a clock that only ever rises: a jump of the wall clock while the server runs deletes nothing.

    Parameters
    ----------
    service : Service
    keep : Keep
    """

    def __init__(self, service: Service, keep: Keep) -> None:
        self._service, self._keep = service, keep
        self._begun, self._begun_s = time.time(), time.monotonic()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._is_closing.set()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            expire(self._service, self._keep, now=self._begun + time.monotonic() - self._begun_s)
            if self._is_closing.wait(_ROUND_S):
                return
