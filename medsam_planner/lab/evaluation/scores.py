"""Scores of a predicted mask against a reference, and of a sequence of scores over clicks.

An empty mask has no surface, so its distances are a convention. Both masks empty: Dice 1, surface Dice 1, HD95 0 mm.
One empty: 0, 0 and the diagonal of the grid, the longest distance in it, so that a missed structure never scores better
than one that was found.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError
from prompts.masks import mask_box

__all__ = ["TOLERANCES_MM", "EndScores", "MaskScores", "area_under_scores", "clicks_to", "dice", "end_scores", "score"]

Mask = NDArray[np.bool_]
TOLERANCES_MM = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class MaskScores:
    """Scores of a predicted mask against a reference."""

    dice: float
    surface_dice_1mm: float
    """Share of both surfaces that lies within 1 mm of the other one (normalised surface Dice, NSD)."""
    surface_dice_2mm: float
    surface_dice_5mm: float
    hd95_mm: float
    """The larger of the two 95th percentiles of the distance from one surface to the other."""


@dataclass(frozen=True, slots=True)
class EndScores:
    """Errors of a mask at the ends of a structure along one axis."""

    slices_beyond: int
    """Slices before the first or after the last slice of the structure on which the mask is not empty."""
    slices_missed: int
    """Slices of the structure on which the mask is empty."""


def dice(reference: Mask, predicted: Mask) -> float:
    """2 |A ∩ B| / (|A| + |B|); 1 when both are empty."""
    total = int(reference.sum()) + int(predicted.sum())
    return 1.0 if total == 0 else 2.0 * int((reference & predicted).sum()) / total


def score(reference: Mask, predicted: Mask, spacing_mm: Sequence[float]) -> MaskScores:
    """Compare two masks of one grid.

    Parameters
    ----------
    reference, predicted : (H, W) or (K, J, I) bool
        Masks on one grid.
    spacing_mm : (2,) or (3,) float
        Between pixel or voxel centres along each axis.

    Raises
    ------
    GeometryError
        If shapes or spacing do not fit.

    References
    ----------
    .. [1] Nikolov et al., Clinically applicable segmentation of head and neck anatomy for radiotherapy, J Med Internet
       Res 2021, doi:10.2196/26151: surface Dice, with surface elements weighted by their area.
    """
    if reference.shape != predicted.shape or reference.ndim not in (2, 3) or len(spacing_mm) != reference.ndim:
        raise GeometryError(
            "Expected two masks of one 2D or 3D grid and a spacing for each axis, got the shapes "
            f"{reference.shape} and {predicted.shape} and {len(spacing_mm)} spacings."
        )
    if not reference.any() or not predicted.any():
        if reference.any() == predicted.any():
            return MaskScores(1.0, 1.0, 1.0, 1.0, 0.0)
        return MaskScores(0.0, 0.0, 0.0, 0.0, float(np.linalg.norm(np.array(reference.shape) * np.array(spacing_mm))))
    window = mask_box(reference | predicted)
    spacing = tuple(float(step) for step in spacing_mm)
    (within_1mm, within_2mm, within_5mm), hd95_mm = _surfaces(reference[window], predicted[window], spacing)
    return MaskScores(dice(reference, predicted), within_1mm, within_2mm, within_5mm, hd95_mm)


def _surfaces(reference: Mask, predicted: Mask, spacing_mm: tuple[float, ...]) -> tuple[list[float], float]:
    """Surface Dice at each of the tolerances, from one distance transform of each surface, and HD95 in mm."""
    import torch
    from monai.metrics import compute_hausdorff_distance
    from monai.metrics.utils import get_edge_surface_distance

    first, second = (torch.from_numpy(mask.astype(np.float32)) for mask in (predicted, reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 warns of an argument of its own inner call
        edges, distances, areas = get_edge_surface_distance(
            first, second, spacing=spacing_mm, use_subvoxels=True, symmetric=True
        )
        hd95 = compute_hausdorff_distance(
            first[None, None], second[None, None], include_background=True, percentile=95, spacing=spacing_mm
        )
    weights = torch.cat([area[edge] for area, edge in zip(areas, edges, strict=True)])
    distance_mm = torch.cat([torch.as_tensor(one) for one in distances])
    shares = [float(weights[distance_mm <= tolerance].sum() / weights.sum()) for tolerance in TOLERANCES_MM]
    return shares, float(hd95)


def end_scores(reference: Mask, predicted: Mask, axis: int) -> EndScores:
    """Count the slices across `axis` on which a mask runs beyond the ends of a structure, or misses it.

    Parameters
    ----------
    reference, predicted : (K, J, I) bool
        Masks on one grid.
    axis : int
        The slices are counted across this axis.

    Raises
    ------
    GeometryError
        If the reference is empty: it has no ends.
    """
    others = tuple(other for other in range(reference.ndim) if other != axis)
    true_slices, found = (np.asarray(mask.any(axis=others)) for mask in (reference, predicted))
    if not true_slices.any():
        raise GeometryError("Expected a reference with at least one voxel, got an empty mask, which has no ends.")
    filled = np.flatnonzero(true_slices)
    beyond = int(found[: filled[0]].sum() + found[filled[-1] + 1 :].sum())
    return EndScores(beyond, int((true_slices & ~found).sum()))


def area_under_scores(scores: Sequence[float]) -> float:
    """Area under scores one click apart, by the trapezoidal rule: n equal scores s give (n − 1) s."""
    return float(np.trapezoid(np.asarray(scores, dtype=np.float64)))


def clicks_to(scores: Sequence[float], level: float) -> int | None:
    """Corrections until a score first reaches `level`: 0 when the first prediction does, None when none does."""
    return next((clicks for clicks, value in enumerate(scores) if value >= level), None)
