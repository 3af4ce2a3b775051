"""Who acts: the person or program behind a request, as every door tells it to the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

__all__ = ["LOCAL", "Actor", "Right", "actor_of", "with_actor"]

_KEY = "medsam_planner.actor"


class Right(IntEnum):
    """What an actor may do; each includes those before it."""

    VIEW = 1
    ANNOTATE = 2
    PLAN = 3
    ADMINISTER = 4


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or program."""

    name: str
    """In journals and in the audit log: a user name; ``token`` for a client with the server's token; ``browser:`` and
    a digest for a browser without an account; ``local`` for a client on this machine where nothing is required."""
    right: Right = Right.PLAN
    """The most this actor may do on any study."""
    has_account: bool = False
    """Without accounts whoever knows the identifier of a session may open it, and lists show one's own only."""


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
