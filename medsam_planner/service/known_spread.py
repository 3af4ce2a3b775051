"""Whether the boundary spread of a 3D result tells anything: the page says what is unknown wherever it shows it."""

from __future__ import annotations

from medsam_planner.planning.mask_flaws import find_flaws
from medsam_planner.segmentation.result import SegmentationResult

__all__ = ["why_unknown"]


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
    flaws = find_flaws(
        result.mask,
        boundary_spread_mm=result.boundary_spread_mm,
        prompted_slices=result.trace.anchors(),
        axis=result.trace.axis,
    )
    return ", ".join(flaw.text for flaw in flaws) or None
