"""How many threads torch and the linear algebra of numpy may use for a piece of work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["compute_threads", "random_draws"]

_DRAWING = threading.RLock()


@cache
def _loaded_libraries() -> ThreadpoolController:
    """Looking through the process's libraries takes milliseconds, a slice hardly more."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Run torch and numpy's BLAS on `count` threads inside, and on as many as before afterwards.

    On small fields a second thread costs more than it brings, most of all where other work runs beside.

    The setting belongs to the process: concurrent work in other threads sees it too.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _loaded_libraries().limit(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def random_draws(seed: int) -> Iterator[None]:
    """Draw from torch's generator as `seed` says, and leave it as it was.

    Torch has one generator for a process: of several threads one draws at a time, so that each gets the same bytes for
    the same seed.
    """
    import torch

    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
