"""Routes of what the service proposes for a structure: where to click next, and the model's other answers."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from medsam_planner.service.http.models import Model
from medsam_planner.service.http.shared import TheService
from medsam_planner.service.next_click import next_clicks
from prompts import PositionLpsMm

__all__ = ["router"]

router = APIRouter(prefix="/sessions/{session}/structures/{structure}", tags=["proposals"])


class NextClickAnswer(Model):
    """A place where a click would help."""

    position_lps_mm: PositionLpsMm
    why: Literal["spread", "end", "quality", "distance"]
    value: float | None
    """Boundary spread in mm, predicted IoU, or distance from the prompts in mm; null where propagation ended."""
    words: str


class AnswerAnswer(Model):
    """One answer of the model."""

    answer: int
    """Its number for a prompt of kind ``choice``."""
    quality: float
    """Predicted IoU."""


class AlternativesAnswer(Model):
    """The model's answers to the last prompt, best first; without those that look like a better one."""

    axis: int | None
    """Array axis across which the slice lies; null where the last prompt has one answer only."""
    slice_index: int | None
    chosen: int | None
    answers: list[AnswerAnswer]


@router.get("/next-clicks")
def next_clicks_of(session: str, structure: str, service: TheService) -> list[NextClickAnswer]:
    """Where the next click would help most, the best first, and why; of the 3D result of the present prompts."""
    work = service.session(session)
    stored = work.state.result(structure)
    return [
        NextClickAnswer(position_lps_mm=one.position_lps_mm, why=one.why, value=one.value, words=one.words)
        for one in next_clicks(service.service.loaded.result(work, structure, stored))
    ]


@router.get("/alternatives")
def alternatives(session: str, structure: str, service: TheService) -> AlternativesAnswer:
    """The model's answers to the last prompt. Choose one by adding ``{"kind": "choice", "answer": n}`` as a prompt."""
    found = service.service.alternatives(service.session(session), structure)
    if found is None:
        return AlternativesAnswer(axis=None, slice_index=None, chosen=None, answers=[])
    return AlternativesAnswer(
        axis=found.axis,
        slice_index=found.slice_index,
        chosen=found.chosen,
        answers=[AnswerAnswer(answer=one.candidate, quality=one.quality) for one in found.answers],
    )
