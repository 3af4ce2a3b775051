"""Signed distance to the surface of a mask, and the spread of the surface across stochastic passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from prompts.masks import mask_box
from xai.errors import EmptyStructureError, UncertaintyError

__all__ = ["boundary_spread_mm", "signed_distance_mm", "surface_voxels"]


def surface_voxels(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outermost voxels of a mask: those that share a face with one outside it.

    Voxels beyond the array count as inside. The result equals the mask without its erosion, in a tenth of the time.
    """
    outside, touches = ~inside, np.zeros_like(inside)
    for axis in range(inside.ndim):
        out, touched = np.moveaxis(outside, axis, 0), np.moveaxis(touches, axis, 0)
        touched[1:] |= out[:-1]
        touched[:-1] |= out[1:]
    return touches & inside


def signed_distance_mm(mask: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float32]:
    """Exact distance to the centres of the outermost voxels of a mask, negative inside.

    Both sides are measured to the centres of the same layer of voxels, so the distance passes through zero. Distances
    to the nearest voxel of the other class would jump by one voxel at the surface. A mask that meets the border of the
    array is assumed to go on beyond it.

    Parameters
    ----------
    mask : (K, J, I) bool
        The structure.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i. The grid must be orthogonal.

    Returns
    -------
    (K, J, I) float32, mm

    Raises
    ------
    EmptyStructureError
        If the mask is empty, or fills the whole array and has no surface.
    GeometryError
        If shape and spacing do not fit.
    """
    inside = np.asarray(mask, dtype=bool)
    spacing = _require_spacing(spacing_mm, inside.ndim)
    return _signed_distance(inside, spacing)


def boundary_spread_mm(
    masks: Iterable[ArrayLike],
    spacing_mm: Sequence[float] | NDArray[np.floating],
    *,
    band_mm: float | None = None,
    outside: float = np.nan,
) -> NDArray[np.float32]:
    """Spread of the surface across stochastic passes.

    Parameters
    ----------
    masks : (T, K, J, I) bool
        Masks of T >= 2 passes on one grid; an array or any iterable of (K, J, I) masks.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i. The grid must be orthogonal.
    band_mm : float, optional
        Compute only in the box that contains all masks and a border of this width: much faster for small structures,
        and exact in the box. None computes everywhere.
    outside : float
        Value beyond that box.

    Returns
    -------
    (K, J, I) float32
        Standard deviation (with T, not T − 1, in the denominator) of the signed distance to the surface, in mm. Two
        parallel planes 2d apart give d everywhere.

    Raises
    ------
    EmptyStructureError
        If the mask of a pass is empty.
    UncertaintyError
        If there are fewer than two passes, or the band is negative.
    GeometryError
        If shapes or spacing do not fit.
    """
    if band_mm is not None and not band_mm >= 0:
        raise UncertaintyError(f"Expected band_mm >= 0 or None, got {band_mm}.")
    crops = [_Crop.of(mask, number) for number, mask in enumerate(masks)]
    if len(crops) < 2:
        raise UncertaintyError(f"Expected at least 2 passes, got {len(crops)}: one has no spread.")
    shape = crops[0].shape
    if any(crop.shape != shape for crop in crops):
        raise GeometryError(f"Expected passes on one grid, got shapes {sorted({crop.shape for crop in crops})}.")
    spacing = _require_spacing(spacing_mm, len(shape))

    low, high = np.zeros(len(shape), dtype=int), np.array(shape)
    if band_mm is not None:
        margin = np.ceil(band_mm / spacing).astype(int) + 1  # one more for the neighbours of the outermost voxels
        low = np.maximum(np.min([crop.low for crop in crops], axis=0) - margin, 0)
        high = np.minimum(np.max([crop.high for crop in crops], axis=0) + margin, shape)
    mean = np.zeros(tuple(high - low), dtype=np.float32)
    squares = np.zeros_like(mean)
    for count, crop in enumerate(crops, start=1):  # Welford: one pass, no cancellation
        distance = _signed_distance(crop.within(low, high), spacing)
        change = distance - mean
        mean += change / count
        squares += change * (distance - mean)
    spread = np.full(shape, outside, dtype=np.float32)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    spread[box] = np.sqrt(np.maximum(squares, 0.0) / len(crops))
    return spread


class _Crop:
    """A mask cut to its bounding box, so that many passes fit in memory."""

    __slots__ = ("high", "inside", "low", "shape")

    def __init__(
        self, shape: tuple[int, ...], low: NDArray[np.int_], high: NDArray[np.int_], inside: NDArray[np.bool_]
    ) -> None:
        self.shape, self.low, self.high, self.inside = shape, low, high, inside

    @classmethod
    def of(cls, mask: ArrayLike, number: int) -> _Crop:
        whole = np.asarray(mask, dtype=bool)
        if not whole.any():
            raise EmptyStructureError(
                f"Stochastic pass {number} is empty, so its surface is nowhere: lower the dropout rate or add a prompt."
            )
        box = mask_box(whole)
        low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
        return cls(whole.shape, low, high, whole[box].copy())

    def within(self, low: NDArray[np.int_], high: NDArray[np.int_]) -> NDArray[np.bool_]:
        whole = np.zeros(tuple(high - low), dtype=bool)
        whole[tuple(slice(a, b) for a, b in zip(self.low - low, self.high - low, strict=True))] = self.inside
        return whole


def _signed_distance(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    import edt

    if not inside.any():
        raise EmptyStructureError("Expected a structure, got an empty mask: its surface is nowhere.")
    surface = surface_voxels(inside)
    if not surface.any():
        raise EmptyStructureError("The mask fills the whole array: it has no surface inside.")
    away = (~surface).view(np.uint8)  # the distances are those for bool, in half the time
    distance: NDArray[np.float32] = edt.edt(away, anisotropy=tuple(map(float, spacing)), parallel=0)
    return np.where(inside, -distance, distance)


def _require_spacing(spacing_mm: Sequence[float] | NDArray[np.floating], ndim: int) -> NDArray[np.float64]:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise GeometryError(f"Expected {ndim} positive spacings in mm, one per array axis, got {spacing.tolist()}.")
    return spacing
