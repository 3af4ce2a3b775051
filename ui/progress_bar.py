"""The page's progress bar and Stop button."""

from __future__ import annotations

import time
from collections.abc import Callable

from medsam_planner.service.workbench import Workbench

__all__ = ["PageProgress"]

_INTERVAL_S = 0.2
"""Least time between two updates of the bar."""


class PageProgress:
    """A :class:`medsam_planner.progress.Progress` that moves the page's bar and is cancelled by its Stop button.

    Parameters
    ----------
    workbench : Workbench
        Its ``is_cancelled`` is what Stop sets.
    bar : callable
        Takes ((done, total), desc=stage), as ``gradio.Progress`` does.
    """

    def __init__(self, workbench: Workbench, bar: Callable[..., object]) -> None:
        self._workbench = workbench
        self._bar = bar
        self._stage = ""
        self._told_at = 0.0

    def update(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        now = time.monotonic()
        if stage == self._stage and done != total and now - self._told_at < _INTERVAL_S:
            return
        self._stage, self._told_at = stage, now
        self._bar((done, total or None), desc=stage)

    @property
    def is_cancelled(self) -> bool:
        """Whether Stop was pressed, or the server ends."""
        return self._workbench.is_cancelled
