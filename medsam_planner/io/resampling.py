"""A volume on the grid of another one. Exact on oblique and left-handed grids too."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import GeometryError
from medsam_planner.io.corrections import with_operation
from medsam_planner.progress import Progress, track

__all__ = ["resample_like"]

_SLAB = 16
"""Output slices per step: the unit of progress and of cancelling."""

_EDGE_TOLERANCE = 1e-6
"""In voxels: rounding of a product of two affines must not push a voxel on the edge out of the volume."""


def resample_like(
    volume: highdicom.Volume,
    reference: highdicom.VolumeGeometry | highdicom.Volume,
    order: int = 1,
    *,
    fill_value: float = 0.0,
    progress: Progress | None = None,
) -> highdicom.Volume:
    """Resample to the grid of `reference`; outside `volume` the result is `fill_value`.

    Parameters
    ----------
    order
        0 nearest, 1 linear, 3 cubic spline. A mask (bool) stays one: above order 0 it is cut at one half.

    Raises
    ------
    GeometryError
        If both state a frame of reference and they differ, or `order` is not 0 to 3.
    """
    here, there = volume.frame_of_reference_uid, reference.frame_of_reference_uid
    if here is not None and there is not None and here != there:
        raise GeometryError(
            f"Expected two volumes of one frame of reference, got {here} and {there}. They need a registration first."
        )
    shape = tuple(int(n) for n in reference.spatial_shape)
    affine = reference.affine.copy()
    array = _sampled(volume, affine, shape, order, fill_value=fill_value, progress=progress)
    result = highdicom.Volume(
        array=array,
        affine=affine,
        coordinate_system=reference.coordinate_system,
        frame_of_reference_uid=there if there is not None else here,
    )
    operation = {"name": "resample_like", "order": order, "shape": list(shape), "affine": affine.tolist()}
    return with_operation(volume, result, operation)


def _sampled(
    volume: highdicom.Volume,
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    order: int,
    *,
    fill_value: float,
    progress: Progress | None,
) -> NDArray[np.generic]:
    """Values of `volume` at the voxel centres of another grid, and `fill_value` outside it."""
    if order not in (0, 1, 2, 3):
        raise GeometryError(f"Expected interpolation of order 0, 1, 2 or 3, got {order}.")
    is_mask = volume.array.dtype == np.bool_
    source = volume.array.astype(np.float32 if volume.array.dtype.itemsize <= 4 else np.float64)
    if order > 1:
        source = ndimage.spline_filter(source, order=order, output=source.dtype, mode="nearest")
    to_source = np.linalg.inv(volume.affine) @ affine
    result = np.empty(shape, dtype=source.dtype)
    for first in track(range(0, shape[0], _SLAB), "Resampling", progress):
        slab = result[first : first + _SLAB]
        ndimage.affine_transform(
            source,
            to_source[:3, :3],
            offset=to_source[:3, 3] + to_source[:3, 0] * first,
            output_shape=slab.shape,
            output=slab,
            order=order,
            mode="nearest",
            prefilter=False,
        )
        slab[_is_outside(to_source, first, slab.shape, source.shape)] = fill_value
    if is_mask:
        return result >= np.float32(0.5)
    if volume.array.dtype.kind in "iu":
        return np.rint(result).astype(volume.array.dtype)
    return result.astype(volume.array.dtype)


def _is_outside(
    to_source: NDArray[np.float64], first: int, shape: tuple[int, ...], source_shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which voxel centres of a slab lie in no voxel of the source; its outermost voxels reach half a step outwards."""
    k, j, i = np.ogrid[first : first + shape[0], : shape[1], : shape[2]]
    outside = np.zeros(shape, dtype=bool)
    for axis, count in enumerate(source_shape):
        row = to_source[axis]
        index = row[0] * k + row[1] * j + row[2] * i + row[3]
        outside |= (index < -0.5 - _EDGE_TOLERANCE) | (index > count - 0.5 + _EDGE_TOLERANCE)
    return outside
