"""The model's answers to a prompt that can mean several things: a ring, its disc, or one of its parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.progress import Progress
from medsam_planner.service.core.requests import Request
from medsam_planner.service.core.worker_memory import SessionKey, WorkerMemory
from prompts import Box, Click, PromptLog

__all__ = ["Alternatives", "Answer", "Answers", "can_have_alternatives", "distinct"]

_SAME_IOU = 0.9
"""Answers that overlap so much are one to the eye."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One answer."""

    candidate: int
    """Its number for a choice, counted from the best as 0."""
    quality: float
    """Predicted IoU."""
    mask: NDArray[np.bool_]
    """(H, W) on the slice; in-plane axes in array order."""


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """The answers to the last prompt of a structure."""

    axis: int
    """Array axis across which the slice lies."""
    slice_index: int
    answers: tuple[Answer, ...]
    """Best first; those that look like a better one are left out."""
    chosen: int
    """Candidate of the answer that is used."""


@dataclass(frozen=True, slots=True)
class Answers(Request):
    """Ask the model for its answers to the last prompt; gives :class:`Alternatives`."""

    key: SessionKey
    log: PromptLog

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.key.session

    def may_interrupt(self, running: Request) -> bool:
        """A session keeps what it computes between its steps, so one request at a time may use it."""
        return running.session != self.session

    def run(self, memory: WorkerMemory, progress: Progress) -> Alternatives:
        """Predict them."""
        session = memory.session(self.key)
        session.restore(self.log)
        found = session.candidate_masks(structure=self.log.structure, progress=progress)
        offered = [Answer(number, float(one.quality), one.mask()) for number, one in enumerate(found.predictions)]
        return Alternatives(found.axis, found.slice_index, distinct(offered, found.chosen), found.chosen)


def can_have_alternatives(log: PromptLog) -> bool:
    """Whether the last prompt of a log is one that a model may answer in several ways."""
    last = log.prompts[-1] if log.prompts else None
    return isinstance(last, Box) or (isinstance(last, Click) and last.positive)


def distinct(answers: Iterable[Answer], chosen: int) -> tuple[Answer, ...]:
    """The answers, best first, without empty ones and without those that look like a better one.

    Parameters
    ----------
    answers : iterable of Answer
        Best first.
    chosen : int
        Candidate that stays in any case.
    """
    kept: list[Answer] = []
    for one in answers:
        is_new = one.mask.any() and all(_iou(one.mask, other.mask) < _SAME_IOU for other in kept)
        if is_new or one.candidate == chosen:
            kept.append(one)
    return tuple(kept)


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0
