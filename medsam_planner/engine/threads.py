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
    """Listing the libraries of the process takes milliseconds, about as long as a slice, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Limit torch and numpy's BLAS to `count` threads inside the block.

    On small crops a second thread costs more than it gains, especially beside other work. The setting belongs to the
    process, so it also holds for concurrent work in other threads.
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
    """Seed torch's generator inside the block, and restore its state afterwards.

    Torch has one generator for the whole process. Only one thread at a time may be inside, so that each gets the same
    draws for the same seed.
    """
    import torch

    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
