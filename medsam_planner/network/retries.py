"""Repetition with back-off of what failed because the peer was away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from medsam_planner.errors import PeerAwayError

__all__ = ["WAITS_S", "retried", "retried_while_it_advances"]

T = TypeVar("T")

WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further attempt: half a minute bridges a restart, and nobody waits in vain for long."""


def retried(call: Callable[[], T], *, waits_s: tuple[float, ...] = WAITS_S) -> T:
    """Call until the peer answers.

    Raises
    ------
    PeerAwayError
        If it still does not answer after the last wait.
    """
    for wait_s in waits_s:
        try:
            return call()
        except PeerAwayError:
            time.sleep(wait_s)
    return call()


def retried_while_it_advances(
    transfer: Callable[[], None], left: Callable[[], int], *, waits_s: tuple[float, ...] = WAITS_S
) -> None:
    """Call `transfer` until nothing is left; each attempt that advances begins the waits anew.

    Parameters
    ----------
    transfer : callable
        Transfers what is left, as far as it gets.
    left : callable
        How many objects are left.

    Raises
    ------
    PeerAwayError
        If several attempts in a row transfer nothing.
    """
    failures = 0
    while before := left():
        try:
            transfer()
        except PeerAwayError:
            failures = failures + 1 if left() == before else 1
            if failures > len(waits_s):
                raise
            time.sleep(waits_s[failures - 1])
        else:
            return
