"""What is deleted: on request, and after the time that the operator states. Each deletion is in the audit log.

Only folders of the data folder are deleted. A study that was opened by path is forgotten, and its files stay.

A deletion is told before it is done. One exception: on a disk without room for the line, retention deletes what is no
work of anybody (studies without a session, replaced results, files that can be made again) and tells it afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medsam_planner.errors import MedsamPlannerError, OutputError
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import StoredStudy, delete_folder
from medsam_planner.service.core.work import Work
from prompts.whole_file import NO_ROOM

__all__ = ["KEEP_DAYS", "Keep", "Retention", "delete_session", "delete_study"]

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


class Retention:
    """Deletes what was kept for long enough. What cannot be deleted, or not be told, is tried again the next time.

    The wall clock is read once, when it begins, and tells how old each file was then. From there on a clock that only
    ever rises counts, and what is new or was changed is new, whatever its time says: no jump of the wall clock, forth
    or back, deletes what was used while the server ran.

    Parameters
    ----------
    service : Service
    keep : Keep
    now : float, optional
        Seconds since 1970 when it begins; by default the wall clock.
    clock : callable
        Seconds that only ever rise.
    """

    def __init__(
        self,
        service: Service,
        keep: Keep,
        *,
        now: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._keep, self._clock = service, keep, clock
        self._begun = time.time() if now is None else now
        self._before: dict[Path, tuple[int, float]] | None = None
        """By file, its time of change in the last round and since when, by `clock`, it is so; None in the first."""
        self._seen: dict[Path, tuple[int, float]] = {}
        self._untold: list[dict[str, str]] = []
        """What was deleted on a full disk, until there is room to tell it."""
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Retention:
        """Do a round at once and every hour, in a thread, until it is closed."""
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join(10)

    def round(self) -> None:
        """Look at everything once, and delete what is due."""
        service, self._seen = self._service, {}
        with suppress(OutputError):
            self._tell_untold()
        for work in service.sessions():
            with suppress(OSError, MedsamPlannerError):
                self._expire_session(work)
        for study in service.studies.all():
            with suppress(OSError, MedsamPlannerError):
                age_s = self._age_s(service.studies.folder_of(study.identifier) / "study.json")
                if age_s > self._keep.days * _DAY_S and not service.sessions_on(study.identifier):
                    self._delete("a study without a session", study, partial(service.forget_study, study))
        self._before = self._seen

    def _run(self) -> None:
        while True:
            self.round()
            if self._is_closing.wait(_ROUND_S):
                return

    def _age_s(self, path: Path) -> float:
        """Seconds since a file was changed, so far as this server knows."""
        changed, now_s = path.lstat().st_mtime_ns, self._clock()
        since_s = now_s
        if self._before is None:
            since_s = now_s - max(self._begun - changed / 1e9, 0.0)
        elif path in self._before and self._before[path][0] == changed:
            since_s = self._before[path][1]
        self._seen[path] = changed, since_s
        return now_s - since_s

    def _expire_session(self, work: Work) -> None:
        service, session = self._service, work.identifier
        age_s = self._age_s(work.folder / "journal.jsonl")
        folders = [one for one in (work.folder / "results").iterdir() if one.is_dir() and not one.is_symlink()]
        results = {one: self._age_s(one) for one in folders}
        files = {one: [(made, self._age_s(made)) for made in one.iterdir()] for one in folders}
        if service.leases.is_held(session):
            return
        if any(not job.state.is_final for job in service.jobs.of_session(session)):
            return
        if self._keep.works_days is not None and age_s > self._keep.works_days * _DAY_S:
            lease = service.leases.claim(session)  # nobody else may begin to act on it now
            try:
                if self._age_s(work.folder / "journal.jsonl") > self._keep.works_days * _DAY_S:
                    service.audit.tell("deleted", _ACTOR, **_named(work.study, work), what="the session")
                    delete_session(service, work)
                    return
            finally:
                with suppress(MedsamPlannerError):  # it has ended with the session
                    service.leases.release(session, lease)
        latest, keep_s = {result.job for result in work.state.results.values()}, self._keep.days * _DAY_S
        for folder, folder_age_s in results.items():
            if folder_age_s <= keep_s:
                continue
            if folder.name not in latest:
                told = f"replaced result {folder.name}"
                self._delete(told, work.study, partial(delete_folder, folder), work)
                continue
            made = [one for one, age_s in files[folder] if one.name != "result.npz" and age_s > keep_s]
            if made:
                told = f"files of result {folder.name}"
                self._delete(told, work.study, partial(_delete_all, made), work)

    def _delete(self, what: str, study: StoredStudy, delete: Callable[[], None], work: Work | None = None) -> None:
        """Tell a deletion and do it; the reverse where there is no room to tell it."""
        told = {**_named(study, work), "what": what}
        try:
            self._service.audit.tell("deleted", _ACTOR, **told)
        except OutputError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in NO_ROOM:
                raise
            delete()
            self._untold.append(told)
            self._tell_untold()
        else:
            delete()

    def _tell_untold(self) -> None:
        while self._untold:
            self._service.audit.tell("deleted", _ACTOR, **self._untold[0])
            del self._untold[0]


def _named(study: StoredStudy, work: Work | None) -> dict[str, str]:
    return {"study": study.identifier} | ({} if work is None else {"session": work.identifier})


def _delete_all(made: list[Path]) -> None:
    for one in made:
        if one.is_dir() and not one.is_symlink():
            delete_folder(one)
            continue
        try:
            one.unlink()
        except OSError as error:
            raise OutputError(f"{one.name} cannot be deleted: {error.strerror or error}.") from error
