"""What of a mask a person drew, and no model predicted: calibrated margins do not cover it."""

from __future__ import annotations

from prompts.log import PromptLog
from prompts.shapes import Edit, InitialMask

__all__ = ["by_hand", "notes_on_initial_mask"]


def by_hand(log: PromptLog) -> str:
    """Half a sentence that follows “the mask was”: begun from a given mask, edited by hand; empty for neither.

    An initial mask that took the place of earlier prompts is an edit of the whole mask.
    """
    edits = sum(isinstance(prompt, Edit) for prompt in log.prompts)
    told = []
    if log.prompts and isinstance(log.prompts[0], InitialMask):
        if log.places[0] == 0:
            told.append("begun from a given mask")
        else:
            edits += 1
    if edits:
        told.append(f"edited by hand ({edits} {'edit' if edits == 1 else 'edits'})")
    return " and ".join(told)


def notes_on_initial_mask(log: PromptLog) -> tuple[str, ...]:
    """What its reader noted on the mask from which a log begins; empty where it begins from none."""
    first = log.prompts[0] if log.prompts else None
    return first.notes if isinstance(first, InitialMask) else ()
