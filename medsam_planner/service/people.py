"""The people of a server with accounts: who is logged in, logging in and out. Page and REST share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from medsam_planner.errors import ConfigError, MedsamPlannerError
from medsam_planner.service.core.accounts import LONGEST_PASSWORD, Accounts
from medsam_planner.service.core.actors import Actor
from medsam_planner.service.core.audit import AUDIT_FILE, Audit
from medsam_planner.service.core.logins import LoginKind, Logins
from medsam_planner.service.oidc import Oidc, OidcSettings
from medsam_planner.service.tries import Tries, network_of

__all__ = ["USERS_FILE", "LoginRefusedError", "People"]

_Answer = TypeVar("_Answer")
USERS_FILE = "users.json"
_MOST_WAITING = 20
"""Passwords that wait to be checked; one more is refused, so that strangers cannot hold everybody up."""


class LoginRefusedError(MedsamPlannerError):
    """Wrong name or password, or too many tries; does not say which of name and password."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """After so many seconds one may try again; None if the name or password is wrong."""


class People:
    """Accounts, logins and the limits of trying.

    Parameters
    ----------
    folder : Path
        The data folder.
    oidc : OidcSettings, optional
        A provider that vouches for people.
    """

    def __init__(self, folder: Path, *, oidc: OidcSettings | None = None) -> None:
        self.accounts = Accounts(folder / USERS_FILE)
        self.oidc = None if oidc is None else Oidc(oidc)
        self._logins = Logins(folder / "logins.json", self.accounts)
        self._audit = Audit(folder / AUDIT_FILE)
        self._tries = Tries()
        self._waiting = 0
        self._one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="login")

    def actor_of(self, token: str, kind: LoginKind) -> Actor | None:
        """Who is logged in with a token; None for a stranger, and while the users cannot be read."""
        try:
            return self._logins.find(token, kind)
        except ConfigError:
            return None

    async def log_in(self, name: str, password: str, *, address: str, kind: LoginKind) -> tuple[Actor, str, float]:
        """Log in by a password.

        Parameters
        ----------
        name, password : str
        address : str
            Of the client.
        kind : LoginKind

        Returns
        -------
        Actor, str, float
            Who it is, the secret token, and when it ends in seconds since 1970.

        Raises
        ------
        LoginRefusedError
        OutputError
            If the login cannot be kept, or not be told to the audit log.
        """
        keys = (f"address {network_of(address)}", f"name {name[:200]}")
        wait_s = self._tries.take(*keys)
        if wait_s is None and self._waiting >= _MOST_WAITING:
            wait_s = 5.0
        if wait_s is not None:
            raise LoginRefusedError(f"Too many tries. Try again in {wait_s:.0f} s.", wait_s=wait_s)
        self._waiting += 1
        try:
            answer = await self._in_thread(self._log_in, name, password, address, kind)
        finally:
            self._waiting -= 1
        self._tries.give_back(*keys)
        return answer

    async def log_in_known(self, actor: Actor, *, address: str) -> str:
        """Log in somebody for whom the provider vouches: the token of the page.

        Raises
        ------
        OutputError
        """
        return (await self._in_thread(self._begin, actor, address, LoginKind.PAGE))[1]

    async def tell_refused(self, why: str) -> None:
        """Tell the audit log of a person whom the provider did not let in."""
        await self._in_thread(self._audit.tell, "login failed", "unknown", what=why)

    async def log_out(self, actor: Actor, token: str) -> None:
        """End a login.

        Raises
        ------
        OutputError
            If that cannot be kept; the login then still holds.
        """

        def end() -> None:
            self._audit.tell("logout", actor.name)
            self._logins.end(token)

        await self._in_thread(end)

    def _log_in(self, name: str, password: str, address: str, kind: LoginKind) -> tuple[Actor, str, float]:
        account = self.accounts.check(name, password[: LONGEST_PASSWORD + 1])
        if account is None:
            known = self.accounts.find(name) is not None  # an unknown name may be a password in the wrong field
            self._audit.tell("login failed", name if known else "unknown", what=f"from {address}")
            raise LoginRefusedError("The name or the password is wrong.")
        return self._begin(account.actor, address, kind)

    def _begin(self, actor: Actor, address: str, kind: LoginKind) -> tuple[Actor, str, float]:
        self._audit.tell("login", actor.name, what=f"{kind.value} from {address}")
        token, until = self._logins.begin(actor, kind)
        return actor, token, until

    async def _in_thread(self, function: Callable[..., _Answer], *arguments: Any, **options: Any) -> _Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._one_at_a_time, partial(function, *arguments, **options))
