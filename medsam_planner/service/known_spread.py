"""Whether the boundary spread of a 3D result tells anything: the page says what is unknown wherever it shows it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from medsam_planner.planning.mask_flaws import find_flaws
from medsam_planner.segmentation.result import SegmentationResult

__all__ = ["why_unknown"]

_KNOWN: WeakKeyDictionary[SegmentationResult, str | None] = WeakKeyDictionary()
"""By result: every strip, screen and next click asks, and the answer takes half a second on a large study."""


def why_unknown(result: SegmentationResult) -> str | None:
    """Why the spread of the passes does not measure the error of a mask, as the rest of a sentence about the mask.

    Parameters
    ----------
    result : SegmentationResult

    Returns
    -------
    str or None
        None where it does.
    """
    if result in _KNOWN:
        return _KNOWN[result]
    flaws = find_flaws(
        result.mask,
        boundary_spread_mm=result.boundary_spread_mm,
        prompted_slices=result.trace.anchors(),
        axis=result.trace.axis,
    )
    _KNOWN[result] = told = ", ".join(flaw.text for flaw in flaws) or None
    return told
