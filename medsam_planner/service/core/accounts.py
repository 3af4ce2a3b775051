"""The users of a data folder: names, roles and passwords in ``users.json``, which only the server's user can read.

A password is kept as its Argon2id hash. The file is read again whenever it has changed, so that ``medsam-planner
users`` works while the server runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_planner.errors import ConfigError
from medsam_planner.io.files import json_text, whole_file
from medsam_planner.service.core.actors import USER_NAME, Actor, Right

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["LONGEST_PASSWORD", "Account", "Accounts", "write_private"]

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1000
"""Characters. A longer one is refused before it costs anything."""
_RESERVED = ("token", "local", "server", "retention")
"""Names of actors without an account."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user."""

    name: str
    right: Right
    password_hash: str = field(repr=False)

    @property
    def actor(self) -> Actor:
        """Who acts once the user has logged in."""
        return Actor(self.name, self.right, has_account=True)

    @property
    def generation(self) -> str:
        """Changes with the password: what was logged in with an older one has ended."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()[:16]


class Accounts:
    """The users in one file.

    Parameters
    ----------
    path : Path
        Need not exist: then there are none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._by_name: Mapping[str, Account] = {}

    def all(self) -> tuple[Account, ...]:
        """Every user, by name.

        Raises
        ------
        ConfigError
            If the file is damaged.
        """
        self._refresh()
        return tuple(self._by_name[name] for name in sorted(self._by_name))

    def find(self, name: str) -> Account | None:
        """A user as the file says now.

        Raises
        ------
        ConfigError
            If the file is damaged.
        """
        self._refresh()
        return self._by_name.get(name)

    def check(self, name: str, password: str) -> Account | None:
        """The user with that name and password; None costs the same whether or not there is such a name.

        It takes about 0.1 s and 64 MiB: callers bound how many run at once.
        """
        from argon2.exceptions import InvalidHashError, VerificationError

        account = self.find(name)
        nobody = self._nobody
        try:
            self._hasher.verify(nobody if account is None else account.password_hash, password)
        except (VerificationError, InvalidHashError):
            return None
        return account

    def add(self, name: str, right: Right, password: str) -> None:
        """Add a user.

        Raises
        ------
        ConfigError
            If the name is taken or cannot be used, or the password is too short.
        OutputError
            If the file cannot be written.
        """
        if not re.fullmatch(USER_NAME, name) or name.startswith("oidc:") or name in _RESERVED:
            raise ConfigError(
                f"Expected a name of letters, digits and . _ @ + | - that is none of {', '.join(_RESERVED)}, got "
                f"{name!r}."
            )
        if self.find(name) is not None:
            raise ConfigError(f"There is a user {name} already. Change the password with: users password {name}")
        self._write({**self._by_name, name: Account(name, right, self._hashed(password))})

    def remove(self, name: str) -> None:
        """Remove a user, who is logged out at once.

        Raises
        ------
        ConfigError
            If there is none of that name.
        OutputError
            If the file cannot be written.
        """
        self._require(name)
        self._write({known: account for known, account in self._by_name.items() if known != name})

    def set_password(self, name: str, password: str) -> None:
        """Change a password; the user is logged out everywhere.

        Raises
        ------
        ConfigError
            If there is none of that name, or the password is too short.
        OutputError
            If the file cannot be written.
        """
        self._write({**self._by_name, name: replace(self._require(name), password_hash=self._hashed(password))})

    def _require(self, name: str) -> Account:
        account = self.find(name)
        if account is None:
            raise ConfigError(f"There is no user {name}. List them with: users list")
        return account

    def _hashed(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise ConfigError(
                f"Expected a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, got {len(password)}."
            )
        return self._hasher.hash(password)

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        """Hash of a password that nobody knows."""
        return self._hasher.hash(secrets.token_urlsafe(24))

    def _write(self, by_name: Mapping[str, Account]) -> None:
        users = {name: {"role": one.right.role, "password": one.password_hash} for name, one in sorted(by_name.items())}
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.path, {"users": users})
        self._stamp = None

    def _refresh(self) -> None:
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            users = json.loads(self.path.read_bytes())["users"]
            self._by_name = {
                name: Account(name, Right.of_role(one["role"]), str(one["password"])) for name, one in users.items()
            }
            self._stamp = stamp
        except FileNotFoundError:
            self._by_name, self._stamp = {}, None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"The users in {self.path} cannot be read: {error}. Mend that file.") from error


def write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON atomically that only the server's user can read.

    Raises
    ------
    OutputError
        If the place cannot be written. What was there stays.
    """
    with whole_file(path) as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(json_text(document, source=path.name).encode("utf-8"))
