"""Where the surface of a mask is least certain, so that a person corrects there first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from prompts.masks import mask_box
from xai.errors import EmptyStructureError, UncertaintyError
from xai.surface import surface_voxels

__all__ = ["DoubtfulPlace", "most_doubtful"]

_LEAST_SHARE = 0.25
"""A place with less than this share of the largest doubt is not worth a click."""
_REACH_SIGMAS = 3


@dataclass(frozen=True, slots=True)
class DoubtfulPlace:
    """A voxel of the surface."""

    index: tuple[int, ...]
    doubt: float
    """Mean of the doubt over the surface around it, in the unit of the doubt."""


def most_doubtful(
    doubt: NDArray[np.floating],
    mask: ArrayLike,
    spacing_mm: Sequence[float] | NDArray[np.floating],
    *,
    count: int = 5,
    around_mm: float = 3.0,
    apart_mm: float = 15.0,
) -> tuple[DoubtfulPlace, ...]:
    """The places of the surface where the doubt is largest, the largest first.

    Doubt is averaged over the surface around each voxel with Gaussian weights, so that a patch counts and not the noise
    of one voxel. Each further place keeps its distance from those before it.

    Parameters
    ----------
    doubt : ndarray of float
        For example the boundary spread in mm, or an entropy; read on the surface only. NaN counts as no doubt.
    mask : bool ndarray
        The structure, on the same grid; two or three axes.
    spacing_mm : sequence of float
        Distance between voxel centres along each axis.
    count : int
        Most places to give.
    around_mm : float
        Standard deviation of the weights.
    apart_mm : float
        Least distance between two places.

    Returns
    -------
    tuple of DoubtfulPlace
        Fewer than `count` where the surface is small, or the doubt falls below a quarter of the largest. None where
        there is no doubt at all.

    Raises
    ------
    EmptyStructureError
        If the mask is empty.
    GeometryError
        If shapes and spacing do not fit.
    UncertaintyError
        If `count` is not positive, or a distance is not.
    """
    from scipy import ndimage

    inside, spacing = np.asarray(mask, dtype=bool), np.asarray(spacing_mm, dtype=np.float64)
    if doubt.shape != inside.shape or spacing.shape != (inside.ndim,) or not (spacing > 0).all():
        raise GeometryError(
            f"Expected doubt and mask of one shape and a positive spacing for each axis, got {doubt.shape}, "
            f"{inside.shape} and {spacing.tolist()}."
        )
    if count < 1 or not (around_mm > 0 and apart_mm > 0):
        raise UncertaintyError(f"Expected count, around_mm and apart_mm above 0, got {count}, {around_mm}, {apart_mm}.")
    if not inside.any():
        raise EmptyStructureError("Expected a structure, got an empty mask: its surface is nowhere.")
    sigma = around_mm / spacing
    box = mask_box(inside, grown=int(np.ceil(_REACH_SIGMAS * sigma.max())) + 1)
    surface = surface_voxels(inside[box])
    values = np.where(surface, np.nan_to_num(doubt[box].astype(np.float64)), 0.0)
    weights = ndimage.gaussian_filter(surface.astype(np.float64), sigma, mode="constant", truncate=_REACH_SIGMAS)
    mean = ndimage.gaussian_filter(values, sigma, mode="constant", truncate=_REACH_SIGMAS)
    places = np.argwhere(surface)
    found = mean[surface] / np.maximum(weights[surface], 1e-12)
    order = np.argsort(-found, kind="stable")
    chosen: list[int] = []
    while len(chosen) < count and len(order):
        best = int(order[0])
        if found[best] <= 0 or (chosen and found[best] < _LEAST_SHARE * found[chosen[0]]):
            break
        chosen.append(best)
        away_mm = np.linalg.norm((places[order] - places[best]) * spacing, axis=1)
        order = order[away_mm >= apart_mm]
    corner = np.array([part.start for part in box])
    return tuple(DoubtfulPlace(tuple((places[one] + corner).tolist()), float(found[one])) for one in chosen)
