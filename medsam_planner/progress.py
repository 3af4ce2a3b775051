"""Progress and cooperative cancellation of long computations.

Every parameter that takes a :class:`Progress` also takes ``None``, which reports nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

from medsam_planner.errors import OperationCancelledError

__all__ = ["Progress", "track"]

T = TypeVar("T")


class Progress(Protocol):
    """Receiver of progress reports, which can also cancel the computation."""

    def update(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` steps of `stage` are finished."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the computation should stop."""


def track(items: Iterable[T], stage: str, progress: Progress | None, *, total: int | None = None) -> Iterator[T]:
    """Yield `items`, and report each one when the loop body has finished with it.

    Parameters
    ----------
    items : iterable
        What to iterate over.
    stage : str
        Name of the computation in reports.
    progress : Progress or None
        Receiver of the reports.
    total : int, optional
        Number of items; by default their length, or 0 where they have none.

    Raises
    ------
    OperationCancelledError
        Between two items, if cancellation was requested.
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
