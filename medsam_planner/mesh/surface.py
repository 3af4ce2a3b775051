"""From a probability volume to a closed surface in LPS mm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import EmptyStructureError, GeometryError
from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.mesh.check import require_closed
from medsam_planner.mesh.decimation import decimate
from medsam_planner.mesh.smoothing import smooth_taubin
from medsam_planner.mesh.triangles import Surface, signed_volume_mm3
from medsam_planner.mesh.welding import weld, without_short_edges
from medsam_planner.progress import Progress, track
from prompts.masks import largest_component, mask_box

__all__ = ["Surface", "surface_from_probability"]

_TIE = 1e-5
"""Probabilities this near the level count as below it: a surface through a voxel centre has triangles of no area."""

_WELD_VOXELS = 0.1
_SHORTEST_EDGE_MM = 1e-3
"""Sixteen steps of a 32-bit number one metre from the origin."""


def surface_from_probability(
    probability: highdicom.Volume,
    *,
    level: float = 0.5,
    region_index_range: ArrayLike | None = None,
    smoothing_iterations: int = 10,
    max_triangles: int | None = None,
    largest_component_only: bool = False,
    progress: Progress | None = None,
) -> Surface:
    """Closed surface where the probability crosses `level`.

    Marching cubes [1]_ on the probabilities places the vertices between voxel centres. Outside the volume, or the
    region, the probability counts as 0, so that a structure cut by the border is closed there. Only the structure's
    bounding box is worked on. A mask (bool, or 0 and 1) is taken too; its staircase is then left to the smoothing.

    Parameters
    ----------
    probability : highdicom.Volume
        (K, J, I), values in [0, 1].
    level : float
        Strictly between 0 and 1.
    region_index_range : (3, 2) int, optional
        First and last voxel index (inclusive) along each array axis; what lies outside is cut off.
    smoothing_iterations : int
        Taubin iterations at most; fewer where the volume would change by more than 1 %. 0 leaves the raw surface.
    max_triangles : int, optional
        Decimate down to this number, as far as the surface moves by less than half a voxel diagonal.
    largest_component_only : bool
        Keep only the largest component (26-neighbourhood). The default keeps every component: a small one may be the
        continuation of a vessel, and leaving out part of a structure at risk must be asked for.
    progress : Progress, optional
        Told of each step.

    Returns
    -------
    Surface
        Watertight, normals outwards whatever the handedness of the grid.

    Raises
    ------
    EmptyStructureError
        If no voxel of the region is above `level`.
    GeometryError
        If the volume is not a scalar one with values in [0, 1], or `level` or the region cannot be right.

    References
    ----------
    .. [1] Lewiner et al., Efficient implementation of marching cubes' cases with topological guarantees, J. Graphics
       Tools 8(2), 2003, 10.1080/10867651.2003.10487582.
    """
    if not 0.0 < level < 1.0:
        raise GeometryError(f"Expected a level strictly between 0 and 1, got {level}.")
    array = probability.array
    if array.ndim != 3:
        raise GeometryError(f"Expected one scalar volume (K, J, I), got an array of shape {array.shape}.")
    region = _region_slices(region_index_range, array.shape)
    block, first_index = _cropped(array[region], level, largest_component_only)
    first_index = first_index + [axis.start for axis in region]

    steps: list[Callable[[Surface], Surface]] = [require_closed]
    if smoothing_iterations > 0:
        steps.append(lambda raw: smooth_taubin(raw, iterations=smoothing_iterations))
    if max_triangles is not None:
        deviation_mm = voxel_diagonal_mm(probability.affine) / 2
        steps.append(lambda fine: decimate(fine, max_triangles, max_deviation_mm=deviation_mm))
    steps.append(lambda whole: without_short_edges(whole, _SHORTEST_EDGE_MM))
    surface = _marching_cubes(block, first_index, probability, level)
    if not surface.is_watertight:
        surface = _marching_cubes(_without_ties(block, level), first_index, probability, level)
    for step in track(steps, "mesh", progress):
        surface = step(surface)
    return surface


def _marching_cubes(
    values: NDArray[np.float32], first_index: NDArray[np.int64], grid: highdicom.Volume, level: float
) -> Surface:
    from skimage.measure import marching_cubes

    vertices_index, faces, _, _ = marching_cubes(values, level, allow_degenerate=False)
    vertices_index, faces = weld(vertices_index.astype(np.float64), faces.astype(np.int64), _WELD_VOXELS)
    vertices_lps_mm = lps_from_index(grid.affine, vertices_index + first_index)
    # The library winds its triangles in index space; a grid may be left- or right-handed in the patient.
    if signed_volume_mm3(vertices_lps_mm, faces) < 0:
        faces = faces[:, ::-1]
    uid = grid.frame_of_reference_uid
    return Surface(
        vertices_lps_mm=vertices_lps_mm,
        faces=faces,
        frame_of_reference_uid=None if uid is None else str(uid),
        history=(f"marching cubes at {level:g}: {len(faces)} triangles",),
    )


def _without_ties(values: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Spread equal values by up to 0.1 % of their distance to the level: vertices move by less than 0.001 voxel.

    Where a voxel face has two opposite corners inside and two outside, equally far from the level (as in masks), the
    marching cubes of scikit-image may connect its two sides differently and leave a hole.
    """
    shrink = 1 - 1e-3 * np.random.default_rng(0).random(values.shape, dtype=np.float32)
    return (level + (values - level) * shrink).astype(np.float32)


def _region_slices(region_index_range: ArrayLike | None, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    if region_index_range is None:
        return (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    extent = np.asarray(region_index_range)
    if extent.shape != (3, 2) or not np.issubdtype(extent.dtype, np.integer):
        raise GeometryError(
            f"Expected a region of shape (3, 2), first and last voxel index along each axis, got {extent.tolist()}."
        )
    if (extent[:, 0] > extent[:, 1]).any() or (extent < 0).any() or (extent[:, 1] >= shape).any():
        raise GeometryError(f"Expected a region inside the volume of shape {shape}, got {extent.tolist()}.")
    k, j, i = (slice(int(first), int(last) + 1) for first, last in extent)
    return k, j, i


def _cropped(array: NDArray[Any], level: float, largest_only: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cut out the structure with one voxel around it (0 beyond the array); also the index of the first voxel."""
    inside = array > level
    if not inside.any():
        highest = float(array.max()) if array.size else float("nan")
        raise EmptyStructureError(
            f"No voxel of the region is above the level {level:g} (highest: {highest:.3g}), so there is no surface. "
            "Check the prompts, or lower the level."
        )
    if largest_only:
        inside = largest_component(inside)
    box = mask_box(inside)
    low = np.array([axis.start for axis in box]) - 1
    high = np.array([axis.stop for axis in box]) + 1
    shape = np.array(array.shape)
    kept = tuple(slice(int(a), int(b)) for a, b in zip(np.maximum(low, 0), np.minimum(high, shape), strict=True))
    values = array[kept].astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise GeometryError(
            f"Expected probabilities in [0, 1], got {values.min():.4g} to {values.max():.4g}. "
            "Pass the probability volume, not logits or intensities."
        )
    if largest_only:
        values[(values > level) & ~inside[kept]] = 0.0
    values[np.abs(values - level) < _TIE] = level - _TIE
    values = np.pad(values, np.stack([np.maximum(-low, 0), np.maximum(high - shape, 0)], axis=1))
    return values, low.astype(np.int64)
