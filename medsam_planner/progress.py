"""Progress and cooperative cancelling for anything that takes more than a second.

``None`` stands for "nobody is watching" everywhere a :class:`Progress` is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

from medsam_planner.errors import OperationCancelledError

__all__ = ["Progress", "track"]

T = TypeVar("T")


class Progress(Protocol):
    """What a long computation tells its watcher, and the one thing it asks."""

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of `stage` are finished."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the watcher wants the work to stop."""


def track(items: Iterable[T], stage: str, progress: Progress | None, *, total: int | None = None) -> Iterator[T]:
    """Yield `items` and report each one when its work is done.

    Raises
    ------
    OperationCancelledError
        Between two items, when the watcher asked to stop.
    """
    if progress is None:
        yield from items
        return
    count = total if total is not None else (len(items) if isinstance(items, Sized) else 0)
    progress.update(stage, 0, count)
    for done, item in enumerate(items, start=1):
        if progress.is_cancelled:
            raise OperationCancelledError(f"Stopped on request during '{stage}' after {done - 1} of {count} steps.")
        yield item
        progress.update(stage, done, count)
