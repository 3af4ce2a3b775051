"""Scores of one mask against another, for readers: overlap, surfaces and volume."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medsam_planner.lab.evaluation.scores import score
from prompts.masks import mask_box

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["METRICS", "Comparison", "ReaderMetric", "compare"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ReaderMetric:
    """How a score is called and read."""

    name: str
    label: str
    unit: str
    digits: int
    better: int
    """+1 if higher is better, −1 if lower is, 0 if neither (signed errors)."""


METRICS: Mapping[str, ReaderMetric] = {
    one.name: one
    for one in (
        ReaderMetric("dice", "Dice", "", 3, 1),
        ReaderMetric("surface_dice_1mm", "Surface Dice, 1 mm", "", 3, 1),
        ReaderMetric("surface_dice_2mm", "Surface Dice, 2 mm", "", 3, 1),
        ReaderMetric("hd95_mm", "HD95", "mm", 1, -1),
        ReaderMetric("asd_mm", "Mean surface distance", "mm", 2, -1),
        ReaderMetric("volume_error_ml", "Volume error", "ml", 2, 0),
        ReaderMetric("volume_error_percent", "Volume error", "%", 1, 0),
    )
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of a mask against a reference."""

    dice: float
    surface_dice_1mm: float
    surface_dice_2mm: float
    hd95_mm: float
    asd_mm: float
    """Mean of the distances from each surface to the other, both ways together."""
    volume_error_ml: float
    """Volume minus the reference's."""
    volume_error_percent: float | None
    """Of the reference's volume; None where that is empty."""


def compare(
    reference: Mask, mask: Mask, spacing_mm: Sequence[float], *, grid: Sequence[int] | None = None
) -> Comparison:
    """Compare a mask with a reference; both of them, or one, may be empty.

    Parameters
    ----------
    reference, mask : (K, J, I) bool
        The whole grid, or a window that holds both.
    spacing_mm : (3,) float
    grid : (3,) int, optional
        Voxels of the whole grid, where the masks are a window.

    Returns
    -------
    Comparison
        Distances with an empty mask follow :mod:`medsam_planner.lab.evaluation.scores`: 0 mm if both are, else the
        diagonal of the grid.

    Raises
    ------
    GeometryError
        If shapes or spacing do not fit.
    """
    found = score(reference, mask, spacing_mm)
    true, own = int(reference.sum()), int(mask.sum())
    hd95 = found.hd95_mm
    if bool(true) != bool(own) and grid is not None:
        hd95 = float(np.linalg.norm(np.multiply(grid, spacing_mm)))
    asd = _surface_distance_mm(reference, mask, spacing_mm) if true and own else hd95
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return Comparison(
        found.dice,
        found.surface_dice_1mm,
        found.surface_dice_2mm,
        hd95,
        asd,
        (own - true) * voxel_ml,
        100 * (own - true) / true if true else None,
    )


def _surface_distance_mm(reference: Mask, mask: Mask, spacing_mm: Sequence[float]) -> float:
    import torch
    from monai.metrics import compute_average_surface_distance

    window = mask_box(reference | mask)
    first, second = (torch.from_numpy(one[window].astype(np.float32))[None, None] for one in (mask, reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of an argument of its own inner call
        distance = compute_average_surface_distance(
            first, second, include_background=True, symmetric=True, spacing=[float(step) for step in spacing_mm]
        )
    return float(distance)
