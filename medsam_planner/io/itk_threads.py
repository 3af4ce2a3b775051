"""SimpleITK on one thread, so that its results are the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_itk_thread"]


@contextmanager
def one_itk_thread() -> Iterator[None]:
    """ITK adds up per thread, so that its sums depend on their number in the last digits."""
    import SimpleITK as sitk  # noqa: N813

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
