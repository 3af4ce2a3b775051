"""Carry out the steps of a page in the order they were made, although requests may arrive in another order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medsam_planner.errors import MedsamPlannerError

__all__ = ["BUSY", "PATIENCE_S", "StepOrder"]

PATIENCE_S = 5.0
"""How long a step waits for the one before it, and for a running computation."""
BUSY = "A computation is still running. Wait until it is done, or press Stop."
_LOST = (
    "An earlier step did not reach the server, so this one was not carried out either. "
    "Check what is shown, and repeat what is missing."
)


class StepOrder:
    """Numbered steps of one page, each begun when all before it are done.

    The page counts its steps from 1. If a step does not arrive within :data:`PATIENCE_S`, the steps that wait for it
    are refused: without it they could have another effect.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due = 1
        self._waiting: set[int] = set()
        self._refused: set[int] = set()
        self._is_taken = False

    @contextmanager
    def turn(self, number: int | None) -> Iterator[None]:
        """Wait until step `number` is due, and hold back the next one meanwhile; a step without a number does not wait.

        Raises
        ------
        MedsamPlannerError
            If an earlier step did not arrive, or takes too long.
        """
        if number is None:
            yield
            return
        with self._changed:
            self._wait_for(number)
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._advance_to(number + 1)

    def wait_after(self, number: int) -> None:
        """Wait until step `number` is done, at most :data:`PATIENCE_S` if it never arrives."""
        with self._changed:
            while self._due <= number and self._moves():
                pass

    def _wait_for(self, number: int) -> None:
        self._waiting.add(number)
        try:
            while self._due < number:
                if self._moves():
                    continue
                if self._is_taken:
                    self._refused.add(number)
                    raise MedsamPlannerError(BUSY)
                self._advance_to(max(self._waiting) + 1)  # wakes those behind, which are refused as well
            if self._due > number:
                raise MedsamPlannerError(_LOST)
        finally:
            self._waiting.discard(number)

    def _moves(self) -> bool:
        due = self._due
        return self._changed.wait_for(lambda: self._due != due, timeout=PATIENCE_S)

    def _advance_to(self, due: int) -> None:
        self._due = max(self._due, due)
        while self._due in self._refused:
            self._refused.discard(self._due)
            self._due += 1
        self._changed.notify_all()
