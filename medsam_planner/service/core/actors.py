"""Who acts: the person or program behind a request, as every door tells it to the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from medsam_planner.errors import ConfigError

__all__ = ["BROWSER", "LOCAL", "USER_NAME", "Actor", "Right", "actor_of", "called", "with_actor"]

USER_NAME = r"^(oidc:)?[A-Za-z0-9][A-Za-z0-9._@+|-]{0,99}$"
"""Names of users; those of an OIDC provider begin with ``oidc:``, so that they never equal a local one."""
BROWSER = "browser:"
"""Before the digest of a browser without an account."""
_KEY = "medsam_planner.actor"


class Right(IntEnum):
    """What an actor may do; each includes those before it."""

    VIEW = 1
    ANNOTATE = 2
    PLAN = 3
    ADMINISTER = 4

    @property
    def role(self) -> str:
        """What a person with this right is called: ``viewer``, ``annotator``, ``planner``, ``admin``."""
        return _ROLES[self - 1]

    @classmethod
    def of_role(cls, role: str) -> Right:
        """The right of a role.

        Raises
        ------
        ConfigError
        """
        if role not in _ROLES:
            raise ConfigError(f"Expected one of the roles {', '.join(_ROLES)}, got {role!r}.")
        return cls(_ROLES.index(role) + 1)


_ROLES = ("viewer", "annotator", "planner", "admin")


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or program."""

    name: str
    """In journals and in the audit log: a user name; ``token`` for a client with the server's token; ``browser:`` and
    a digest for a browser without an account; ``local`` for a client on this machine where nothing is required."""
    right: Right = Right.PLAN
    """The most this actor may do on any study."""
    has_account: bool = False
    """Whether rights decide what it may do, see :mod:`medsam_planner.service.core.rights`. Without
    accounts whoever knows the identifier of a session may open it, and lists show one's own only."""


LOCAL = Actor("local")
"""A client on this machine, where no login is required."""


def actor_of(scope: Mapping[str, Any]) -> Actor:
    """The actor of an ASGI request, as the check in front of the application has put it there."""
    actor = scope.get(_KEY, LOCAL)
    assert isinstance(actor, Actor)
    return actor


def with_actor(scope: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
    """A copy of an ASGI scope that tells the actor."""
    return {**scope, _KEY: actor}


def called(name: str) -> str:
    """What a message calls an actor of this name: ``browser:625…`` is ``a browser without a login (6254d0)``."""
    digest = name.removeprefix(BROWSER)
    return name if digest == name else f"a browser without a login ({digest[:6]})"
