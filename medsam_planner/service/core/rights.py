"""Who may do what with which study. Sessions, jobs, plans and files follow their study.

With accounts: an administrator may do everything; the owner, who opened the study, may do on it what the own role
allows, and also grant and delete; others may do what the owner granted, as far as their own role allows. Without
accounts: whoever knows the identifier of 128 random bits may do everything but grant and delete, and lists show what
is one's own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from medsam_planner.errors import ForbiddenError, NotThereError, OutputError
from medsam_planner.io.files import write_json
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.study_store import StoredStudy, StudyStore

__all__ = ["Rights"]


class Rights:
    """The rights on the studies of a data folder; grants lie in ``rights.json`` beside the study.

    Parameters
    ----------
    studies : StudyStore
    """

    def __init__(self, studies: StudyStore) -> None:
        self._studies = studies
        self._lock = threading.Lock()
        self._grants: Mapping[str, Mapping[str, Right]] = {
            study.identifier: _read(self._path(study.identifier)) for study in studies.all()
        }

    def of(self, actor: Actor, study: StoredStudy) -> Right | None:
        """The most that an actor may do on a study; None if it must not know of it."""
        if not actor.has_account or actor.right is Right.ADMINISTER or actor.name == study.owner:
            return actor.right
        granted = self.grants(study).get(actor.name)
        return None if granted is None else min(granted, actor.right)

    def is_listed(self, actor: Actor, study: StoredStudy, *, owner: str | None = None) -> bool:
        """Whether the lists of an actor show a study, or a session on it that `owner` began."""
        if actor.has_account:
            return self.of(actor, study) is not None
        return actor.name == (study.owner if owner is None else owner)

    def require(self, actor: Actor, study: StoredStudy, needed: Right, *, missing: str) -> None:
        """Refuse what an actor may not do.

        Parameters
        ----------
        actor : Actor
        study : StoredStudy
        needed : Right
        missing : str
            What is said if the actor must not know of it: as if it were not there.

        Raises
        ------
        NotThereError, ForbiddenError
        """
        right = self.of(actor, study)
        if right is None:
            raise NotThereError(missing)
        _require(right, needed)

    def require_owner(self, actor: Actor, study: StoredStudy, *, missing: str) -> None:
        """Refuse whoever neither owns a study nor is an administrator; parameters and errors as :meth:`require`."""
        self.require(actor, study, Right.VIEW, missing=missing)
        if actor.name != study.owner and actor.right is not Right.ADMINISTER:
            raise ForbiddenError("Only the owner of the study and an administrator may do that. Ask one of them.")

    @staticmethod
    def require_any(actor: Actor, needed: Right) -> None:
        """Refuse what an actor may do on no study.

        Raises
        ------
        ForbiddenError
        """
        _require(actor.right, needed)

    def grants(self, study: StoredStudy) -> Mapping[str, Right]:
        """What was granted, by user."""
        return self._grants.get(study.identifier, {})

    def grant(self, study: StoredStudy, grants: Mapping[str, Right]) -> None:
        """Replace what is granted on a study.

        Raises
        ------
        OutputError
            If it cannot be kept; what was granted before then still holds.
        """
        with self._lock:
            write_json(self._path(study.identifier), {user: right.role for user, right in sorted(grants.items())})
            self._grants = {**self._grants, study.identifier: dict(grants)}

    def forget(self, study: str) -> None:
        """Drop the grants of a study that was deleted."""
        with self._lock:
            self._grants = {name: grants for name, grants in self._grants.items() if name != study}

    def _path(self, study: str) -> Path:
        return self._studies.folder_of(study) / "rights.json"


def _require(right: Right, needed: Right) -> None:
    if right < needed:
        raise ForbiddenError(
            f"Expected the role {needed.role} on this study, yours is {right.role}. Ask its owner or an administrator."
        )


def _read(path: Path) -> dict[str, Right]:
    try:
        return {user: Right.of_role(role) for user, role in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise OutputError(f"The rights in {path} cannot be read: {error}. Mend or delete that file.") from error
