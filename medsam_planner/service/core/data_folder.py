"""The studies and sessions of one data folder, and who holds which."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medsam_planner.engine.embedding_files import EmbeddingFiles
from medsam_planner.engine.registry import WeightsState, list_weights, require_weights
from medsam_planner.errors import ConfigError, MedsamPlannerError, NotThereError, OutputError, ServiceError, StudyError
from medsam_planner.io.output_folder import require_apart
from medsam_planner.progress import Progress
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.audit import AUDIT_FILE, Audit
from medsam_planner.service.core.folder_lock import locked
from medsam_planner.service.core.leases import Leases
from medsam_planner.service.core.loaded import LoadedWorks
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.rights import Rights
from medsam_planner.service.core.study_store import StoredStudy, StudyStore, delete_folder, new_identifier
from medsam_planner.service.core.work import Work
from medsam_planner.service.settings import Settings
from medsam_planner.workflow.study_reading import PLAIN_READING, ReadingOptions

__all__ = ["NO_SESSION", "DataFolder"]

NO_SESSION = "There is no such session. List the sessions, or open one on a study."
"""Said alike of what is not there and of what an actor must not know of."""


class DataFolder:
    """The studies and sessions of one data folder; one process at a time.

    Parameters
    ----------
    settings : Settings
        `out` is the data folder, `model` the model of sessions that name none.
    limits : Limits
    on_prompts : callable
        Told a session and a structure, whenever the prompts of that structure have changed.

    Raises
    ------
    OutputError
        If the data folder cannot be used, or another server uses it.
    """

    def __init__(self, settings: Settings, limits: Limits, *, on_prompts: Callable[[Work, str], None]) -> None:
        self.settings = settings
        self._on_prompts = on_prompts
        self.limits = limits
        self.data = settings.out
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = locked(self.data / "lock")
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"The data folder {self.data} cannot be used: {error.strerror or error}.") from error
        self._lock = threading.Lock()
        self.leases = Leases(self.limits.sessions, idle_s=self.limits.idle_s)
        self.audit = Audit(self.data / AUDIT_FILE)
        self.studies = StudyStore(self.data / "studies", is_identified=settings.is_identified)
        self.rights = Rights(self.studies)
        self.loaded = LoadedWorks(self.studies, self.limits.loaded_bytes)
        self.unreadable: tuple[str, ...] = ()
        """Sessions whose journal or study cannot be read."""
        self._forgotten: set[str] = set()
        """Studies that were deleted: no session begins on them any more."""
        self._works: dict[str, Work] = self._read_works()

    def close(self) -> None:
        """Let go of the data folder."""
        if self._lock_file is not None:
            os.close(self._lock_file)

    def open_path(
        self,
        text: str,
        *,
        actor: Actor = LOCAL,
        reading: ReadingOptions = PLAIN_READING,
        progress: Progress | None = None,
    ) -> StoredStudy:
        """Open a study at a path on the server.

        Parameters
        ----------
        text : str
            Within the allowed folders.
        actor : Actor
            Who opens it, and owns it.
        reading : ReadingOptions, optional
            Which of several series and volumes, and how it is corrected.
        progress : Progress, optional

        Raises
        ------
        StudyError
            If it may not be read, or not as one volume.
        """
        path = self.settings.allowed(text)
        own = {self.data.resolve() / name for name in ("studies", "sessions")}
        if own & {path.resolve(), *path.resolve().parents}:
            raise StudyError("The server's own data folder cannot be opened as a study. Upload the study.")
        try:
            require_apart(self.data, [path])
        except OutputError as error:
            raise StudyError(
                f"{path.name} contains the server's data folder. Name the folder of the series."
            ) from error
        return self._open(path, new_identifier(), actor, reading, progress)

    def open_upload(
        self,
        identifier: str,
        path: Path,
        *,
        actor: Actor = LOCAL,
        reading: ReadingOptions = PLAIN_READING,
        progress: Progress | None = None,
    ) -> StoredStudy:
        """Open a study whose file was uploaded to the folder of :meth:`upload_folder`, within its block."""
        return self._open(path, identifier, actor, reading, progress)

    @contextmanager
    def upload_folder(self) -> Iterator[tuple[str, Path]]:
        """A block with an identifier and a new folder for an uploaded study, which is deleted where the block fails."""
        identifier = new_identifier()
        folder = self.studies.folder_of(identifier) / "source"
        folder.mkdir(parents=True, mode=0o700)
        try:
            yield identifier, folder
        except BaseException:
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise

    def _open(
        self,
        path: Path,
        identifier: str,
        actor: Actor,
        reading: ReadingOptions,
        progress: Progress | None,
    ) -> StoredStudy:
        self.audit.tell("opened", actor.name, study=identifier, what="a new study")
        return self.studies.add(path, identifier, owner=actor.name, reading=reading, progress=progress)

    def open_session(
        self, study: str, model: str | None = None, *, actor: Actor = LOCAL, held: tuple[str, str] | None = None
    ) -> tuple[Work, str]:
        """Begin a session on a study and hold it.

        Parameters
        ----------
        study : str
            Identifier of the study.
        model : str, optional
            Name of a model; no path.
        actor : Actor
            Who begins it, and owns it.
        held : (str, str), optional
            What the client holds and the token of its lease, which holds the session instead; by default a new one.

        Returns
        -------
        Work, str
            The session and the token of its lease.

        Raises
        ------
        NotThereError, WeightsError, AtCapacityError, LeaseHeldError, LeaseLostError, OutputError
        """
        stored = self.studies.find(study)
        name = self._model(model)
        identifier = new_identifier()
        folder = self.data / "sessions" / identifier
        lease = self.leases.claim(identifier) if held is None else held[1]
        try:
            try:
                for made in (folder.parent, folder, folder / "results"):  # `parents` ignores the mode
                    made.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise OutputError(f"The session cannot be begun: {error.strerror or error}.") from error
            work = Work(folder, identifier, stored, self.audit, on_prompts=self._on_prompts)
            work.record("opened", actor=actor.name, study=study, model=name, seed=self.settings.seed)
            if held is not None:
                self.leases.move(*held, to=identifier)
            with self._lock:
                if study in self._forgotten:
                    raise NotThereError("The study was deleted meanwhile.")
                self._works = {**self._works, identifier: work}
        except BaseException:
            if held is None:
                self.leases.release(identifier, lease)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return work, lease

    def sessions(self) -> tuple[Work, ...]:
        """Every session, the one changed last first."""
        newest_opened_first = reversed(self._works.values())
        return tuple(sorted(newest_opened_first, key=lambda work: work.state.at, reverse=True))

    def session(self, identifier: str) -> Work:
        """One session.

        Raises
        ------
        NotThereError
        """
        try:
            return self._works[identifier]
        except KeyError:
            raise NotThereError(NO_SESSION) from None

    def acting(self, identifier: str, lease: str | None) -> Work:
        """One session, for a client that holds it.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        work = self.session(identifier)
        self.leases.require(identifier, lease)
        return work

    def forget_session(self, work: Work) -> None:
        """Delete a session with its prompts, results and plans.

        Raises
        ------
        OutputError
            If its folder cannot be deleted.
        """
        with self._lock:
            self._works = {name: one for name, one in self._works.items() if name != work.identifier}
        self.leases.end(work.identifier)
        self.loaded.forget(work.identifier)
        delete_folder(work.folder)

    def sessions_on(self, study: str) -> tuple[Work, ...]:
        """The sessions on a study."""
        return tuple(work for work in self._works.values() if work.study.identifier == study)

    def forget_study(self, study: StoredStudy) -> None:
        """Delete a study that no session is on, and what was uploaded of it; files elsewhere stay as they are.

        Raises
        ------
        ServiceError, OutputError
            If there is a session on it (nothing is deleted then); if its folder cannot be deleted.
        """
        with self._lock:
            if self.sessions_on(study.identifier):
                raise ServiceError("A session is on the study. Delete the session first.")
            self._forgotten.add(study.identifier)
        self.studies.forget(study.identifier)
        self.rights.forget(study.identifier)
        self.loaded.forget_volume(study.identifier)
        if all(other.sha256 != study.sha256 for other in self.studies.all()):
            EmbeddingFiles(self.settings.embeddings, 0).forget(study.sha256)

    def models(self) -> tuple[str, ...]:
        """Names of the models whose weights are there."""
        there = (WeightsState.SHIPPED, WeightsState.FETCHED)
        names = [row.name for row in list_weights() if row.state in there]
        return tuple(names if self.settings.model in names else [self.settings.model, *names])

    def _model(self, name: str | None) -> str:
        """A model by name; the one of the settings may also be a path, which no client can name."""
        if name is None or name == self.settings.model:
            return self.settings.model
        known = [row.name for row in list_weights()]
        if name not in known:
            raise ConfigError(f"Expected one of the models {', '.join(known)}, got {name!r}.")
        require_weights(name)  # absent or damaged weights are told now and not by the first job
        return name

    def _read_works(self) -> dict[str, Work]:
        found, unreadable = {}, []
        for folder in sorted((self.data / "sessions").glob("*/")):
            try:
                study = self.studies.find(_study_of(folder))
                found[folder.name] = Work(folder, folder.name, study, self.audit, on_prompts=self._on_prompts)
            except MedsamPlannerError as error:
                unreadable.append(f"{folder.name}: {error}")
        self.unreadable = tuple(unreadable)
        return found


def _study_of(folder: Path) -> str:
    """Identifier of the study of a session, from the head of its journal."""
    try:
        with (folder / "journal.jsonl").open("rb") as file:
            head = json.loads(file.readline())
        return str(head["study"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError("The head of its journal cannot be read.") from error
