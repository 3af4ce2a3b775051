"""Do the same with many things in several processes, in their order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

__all__ = ["parallel_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 8
"""Items handed out for each process before their results are taken."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    lost: Callable[[Item], Result] | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in order.

    Parameters
    ----------
    function : callable
        A function of a module, with arguments and results that can be pickled.
    items : iterable
        Taken as they are needed, only so many ahead.
    workers : int
        Processes; with one, everything is done in this process.
    lost : callable, optional
        Result of an item whose process ended without one (a decoder that crashed, memory). Each item that was under way
        is tried once more on its own. Without it that is an error.

    Raises
    ------
    BrokenProcessPool
        If a process ends without a result and there is no `lost`.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    source = iter(items)
    pool = _pool(workers)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        while True:
            try:
                while len(waiting) < _AHEAD * workers:
                    item = next(source)
                    try:
                        waiting.append((item, pool.submit(function, item)))
                    except BrokenProcessPool as error:
                        failed: Future[Result] = Future()
                        failed.set_exception(error)
                        waiting.append((item, failed))
                        break
            except StopIteration:
                pass
            if not waiting:
                return
            item, future = waiting[0]
            try:
                result = future.result()
            except BrokenProcessPool:
                if lost is None:
                    raise
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _pool(workers)
                result = _alone(function, item, lost)
                again = [one for one, _ in list(waiting)[1:]]
                waiting = deque([waiting[0], *((one, pool.submit(function, one)) for one in again)])
            waiting.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(function: Callable[[Item], Result], item: Item, lost: Callable[[Item], Result]) -> Result:
    with _pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return lost(item)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
