"""Routes of the list of a session's structures: names, order, role, colour, anatomy; deleting and restoring."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from medsam_planner.io.objects.structure_codes import known_terms
from medsam_planner.service.http.models import AnatomyAnswer, EventId, Numbered, StrictRequest
from medsam_planner.service.http.shared import LeaseHeader, TheService

__all__ = ["router"]

router = APIRouter(tags=["structures"])
_MOST_STRUCTURES = 1000


class LooksRequest(StrictRequest):
    """What changes of a structure; what is absent stays."""

    role: str | None = None
    colour: str | None = None
    hidden: bool | None = None
    anatomy: str | None = None
    """A name of ``GET anatomy``; ``""`` goes by the structure's name again."""
    event_id: EventId | None = None

    @property
    def looks(self) -> dict[str, Any]:
        """Those that are stated."""
        stated = self.model_dump(exclude={"event_id"}, exclude_none=True)
        return {**stated, "anatomy": stated["anatomy"] or None} if "anatomy" in stated else stated


class NameRequest(StrictRequest):
    """Another name."""

    name: str
    event_id: EventId | None = None


class OrderRequest(StrictRequest):
    """Every structure once."""

    structures: Annotated[list[str], Field(max_length=_MOST_STRUCTURES)]
    event_id: EventId | None = None


class RestoreRequest(StrictRequest):
    """A structure that was deleted."""

    n: int
    event_id: EventId | None = None


@router.get("/anatomy")
def anatomy() -> list[AnatomyAnswer]:
    """The names by which a structure can be coded. A side may stand before them: ``left kidney``."""
    return [AnatomyAnswer(name=name, code=code, meaning=meaning) for name, code, meaning in known_terms()]


@router.patch("/sessions/{session}/structures/{structure}")
def describe(
    session: str, structure: str, asked: LooksRequest, service: TheService, lease: LeaseHeader = None
) -> Numbered:
    """Change role, colour, visibility or anatomy of a structure; another role ends the plan."""
    work = service.acting(session, lease)
    return Numbered(n=service.describe(work, structure, event=asked.event_id, **asked.looks))


@router.put("/sessions/{session}/structures/{structure}/name")
def rename(
    session: str, structure: str, asked: NameRequest, service: TheService, lease: LeaseHeader = None
) -> Numbered:
    """Give a structure another name; prompts, result and role stay with it."""
    return Numbered(n=service.rename(service.acting(session, lease), structure, asked.name, event=asked.event_id))


@router.delete("/sessions/{session}/structures/{structure}")
def delete(
    session: str, structure: str, service: TheService, lease: LeaseHeader = None, event_id: EventId | None = None
) -> Numbered:
    """Delete a structure; the number of the change restores it."""
    return Numbered(n=service.delete(service.acting(session, lease), structure, event=event_id))


@router.post("/sessions/{session}/restore")
def restore(session: str, asked: RestoreRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Bring back a structure by the number that deleting it returned."""
    return Numbered(n=service.restore(service.acting(session, lease), asked.n, event=asked.event_id))


@router.put("/sessions/{session}/order")
def order(session: str, asked: OrderRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Put the structures in another order, which exports and the legend keep."""
    return Numbered(n=service.order(service.acting(session, lease), asked.structures, event=asked.event_id))
