"""Who is logged in: random tokens, kept as digests with their expiry, so that a restart logs nobody out."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from medsam_planner.service.core.accounts import Accounts, write_private
from medsam_planner.service.core.actors import Actor, Right

__all__ = ["LASTS_S", "LoginKind", "Logins"]

LASTS_S = 12 * 3600.0
"""After so long a person logs in again."""
_MOST = 10_000
"""Logins that are remembered; for one more the oldest ends."""


class LoginKind(Enum):
    """What a token is for; a page's cookie is no bearer token, nor the other way round."""

    PAGE = "page"
    PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class _Login:
    kind: str
    name: str
    until: float
    """Seconds since 1970."""
    generation: str | None
    """Of the password it was made with; None if a provider vouches for the person."""
    role: str | None
    """As the provider said; None if the account says."""


class Logins:
    """The logins of one data folder.

    Parameters
    ----------
    path : Path
        File that keeps them.
    accounts : Accounts
        An account that was removed, or whose password was changed, is logged out at once.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, path: Path, accounts: Accounts, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._accounts = accounts
        self._clock = clock
        self._lock = threading.Lock()
        self._by_digest = self._read()

    def begin(self, actor: Actor, kind: LoginKind) -> tuple[str, float]:
        """Log somebody in.

        Parameters
        ----------
        actor : Actor
            Who was recognised.
        kind : LoginKind

        Returns
        -------
        str, float
            The secret token, and when it ends in seconds since 1970.

        Raises
        ------
        OutputError
            If it cannot be kept.
        """
        account = self._accounts.find(actor.name)
        told = (None, actor.right.role) if account is None else (account.generation, None)
        token, until = secrets.token_urlsafe(32), self._clock() + LASTS_S
        with self._lock:
            kept = {**self._living(), _digest(token): _Login(kind.value, actor.name, until, *told)}
            while len(kept) > _MOST:
                del kept[next(iter(kept))]
            self._keep(kept)
        return token, until

    def find(self, token: str, kind: LoginKind) -> Actor | None:
        """Who is logged in with a token, with the rights of this moment."""
        login = self._by_digest.get(_digest(token))
        if login is None or login.kind != kind.value or login.until <= self._clock():
            return None
        if login.generation is None:
            return Actor(login.name, Right.of_role(login.role or ""), has_account=True)
        account = self._accounts.find(login.name)
        return account.actor if account is not None and account.generation == login.generation else None

    def end(self, token: str) -> None:
        """Log out.

        Raises
        ------
        OutputError
            If it cannot be kept; the login then still holds.
        """
        with self._lock:
            if _digest(token) in self._by_digest:
                self._keep({name: one for name, one in self._living().items() if name != _digest(token)})

    def _living(self) -> dict[str, _Login]:
        now = self._clock()
        return {digest: login for digest, login in self._by_digest.items() if login.until > now}

    def _keep(self, logins: dict[str, _Login]) -> None:
        write_private(self._path, {digest: asdict(login) for digest, login in logins.items()})
        self._by_digest = logins

    def _read(self) -> dict[str, _Login]:
        try:
            return {digest: _Login(**login) for digest, login in json.loads(self._path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):  # then everybody logs in again
            return {}


def _digest(token: str) -> str:
    """A token has 256 random bits, so a fast digest hides it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
