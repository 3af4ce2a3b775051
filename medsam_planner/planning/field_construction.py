"""Build the distance field of a structure: which voxels it needs, their margins, and the layers of nodes."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.planning.ball_distance import Lattice, Margins, bounds_mm, lower_bounds_mm
from medsam_planner.planning.distance import distance_transform_mm
from medsam_planner.planning.distance_field import DistanceField, Layer
from medsam_planner.planning.margins import surface_margins
from medsam_planner.planning.region import IndexBox, bounding_box, distance_bound_mm, domain_of, surroundings, window
from medsam_planner.planning.structures import StayInside, Structure, bool_array

__all__ = ["build_distance_field"]

_VOXEL_LIMIT = 40_000_000
"""Largest box of voxels that is examined around one structure: about 700 MB at its peak."""
_NODE_SPACING_DIAGONALS = 1.25
"""Distance between the nodes beyond the first layer, in voxel diagonals; twice that beyond the second."""
_LAYER_ENDS_DIAGONALS = (5.0, 15.0)
"""How far from the margin the first two layers reach. At 5 diagonals nodes 1.25 apart cost 0.05 diagonals on
average (``s² / 6`` per tangential axis, over twice the distance); so do nodes 2.5 apart at 15."""


def build_distance_field(structure: Structure, region_lps_mm: NDArray[np.float64]) -> DistanceField:
    """Compute the distance field of `structure` on the box of voxels around a set of points.

    Parameters
    ----------
    structure : Avoid or StayInside
        What the tool must avoid, or must not leave.
    region_lps_mm : (P, 3) float
        Corners of the region: the field may be read within their bounding box on the structure's grid.

    Raises
    ------
    PlanningError
        If a distance overflows.
    """
    mask = bool_array(structure.mask, structure.name)
    is_corridor = isinstance(structure, StayInside)
    affine = np.asarray(structure.mask.affine, dtype=np.float64)
    spacing = spacing_mm(affine)
    domain = domain_of(index_from_lps(affine, region_lps_mm), mask.shape)
    inside = ~mask if is_corridor else mask
    farthest = distance_bound_mm(inside, domain, spacing, outside=is_corridor)
    given = structure.margin_mm
    widest = float(given.array.max() if isinstance(given, highdicom.Volume) else given)
    reach = farthest + widest + 2 * float(np.linalg.norm(spacing))
    box, is_cut = surroundings(inside, domain, reach, spacing, outside=is_corridor, voxel_limit=_VOXEL_LIMIT)
    near = window(inside, box, outside=is_corridor)
    margins = _margins(structure, near, box, spacing)
    if is_cut:
        margins = _with_border(margins, widest)
        box = IndexBox(box.low - 1, box.high + 1)
        near = margins.inside
    whole = domain.joined(IndexBox(np.zeros(3, dtype=np.int64), np.array(mask.shape, dtype=np.int64)))
    depth = _depth_mm(near, spacing, deepest_mm=float(np.linalg.norm(np.array(whole.shape) * spacing)))
    middle = (np.array(mask.shape) - 1) / 2
    shifted = affine.copy()
    shifted[:3, 3] = lps_from_index(affine, domain.low)
    return DistanceField(
        name=structure.name,
        layers=_layers(structure.name, margins, depth[domain.slices_in(box)], domain, box, spacing, farthest, middle),
        affine=shifted,
        spacing_mm=spacing,
        smallest_margin_mm=margins.smallest_mm,
        largest_margin_mm=margins.largest_mm,
        outside_is_structure=is_corridor,
        free_entry_mm=structure.free_entry_mm if isinstance(structure, StayInside) else 0.0,
    )


def _strides(spacing: NDArray[np.float64]) -> tuple[NDArray[np.int64], ...]:
    """Distance between the nodes of each layer, in voxels; each a multiple of the one before."""
    apart = _NODE_SPACING_DIAGONALS * float(np.linalg.norm(spacing))
    second = np.maximum(apart // spacing, 1).astype(np.int64)
    return np.ones(3, dtype=np.int64), second, 2 * second


def _layers(
    name: str,
    margins: Margins,
    depth: NDArray[np.float32],
    domain: IndexBox,
    box: IndexBox,
    spacing: NDArray[np.float64],
    farthest: float,
    middle: NDArray[np.float64],
) -> tuple[Layer, ...]:
    """As many layers as it takes to reach `farthest`. Only the first is negative inside the structure.

    The nodes are counted from the grid's middle, so that a value depends neither on the region nor on the direction
    of an axis.
    """
    diagonal = float(np.linalg.norm(spacing))
    layers: list[Layer] = []
    begins = -margins.smallest_mm
    for stride, ends in zip(
        _strides(spacing), (*(diagonal * end for end in _LAYER_ENDS_DIAGONALS), np.inf), strict=True
    ):
        is_last = farthest <= ends
        anchor = middle if layers else domain.low
        steps = np.floor((domain.low - anchor) / stride), np.ceil((domain.high - 1 - anchor) / stride)
        first = anchor + steps[0] * stride
        lattice = Lattice(first - box.low, stride, (steps[1] - steps[0] + 1).astype(np.int64))
        bounds = bounds_mm(begins, ends, farthest, margins, 1.5 * diagonal)
        ceiling = np.inf if is_last else ends
        values = lower_bounds_mm(margins, lattice, spacing, bounds, ceiling_mm=ceiling)
        if not layers:
            values -= depth
        if not np.isfinite(values).all():
            raise PlanningError(
                f"Expected finite distances from '{name}', got some that are not: its margin is out of range. Nothing "
                "is certified; check its unit."
            )
        layers.append(Layer(values, first - domain.low, stride, ceiling))
        if is_last:
            break
        begins = ends
    return tuple(layers)


def _depth_mm(inside: NDArray[np.bool_], spacing: NDArray[np.float64], *, deepest_mm: float) -> NDArray[np.float32]:
    """Distance of the structure's voxels to the nearest voxel of the box outside the structure.

    It may be overestimated, never underestimated. Only the box around the structure is looked at. Where the whole box
    is filled, the depth is set to `deepest_mm`.
    """
    depth = np.zeros(inside.shape, dtype=np.float32)
    if inside.all():
        depth[...] = deepest_mm
    elif inside.any():
        whole = IndexBox(np.zeros(3, dtype=np.int64), np.array(inside.shape, dtype=np.int64))
        part = bounding_box(inside).clipped_to(whole).slices_in(whole)
        depth[part] = distance_transform_mm(inside[part], spacing)
    return depth


def _margins(structure: Structure, inside: NDArray[np.bool_], box: IndexBox, spacing: NDArray[np.float64]) -> Margins:
    """Margins of the structure's voxels in `box`."""
    if isinstance(structure.margin_mm, highdicom.Volume):
        widths = surface_margins(inside, _margin_window(structure.margin_mm, box), spacing)
    else:
        widths = np.full(inside.shape, structure.margin_mm, dtype=np.float32)
    given = widths[inside]
    return Margins(inside, widths, float(given.min(initial=np.inf)), float(given.max(initial=-np.inf)))


def _with_border(margins: Margins, widest: float) -> Margins:
    """Add one filled voxel with the widest margin on every side, as the structure may go on there."""
    return Margins(
        np.pad(margins.inside, 1, constant_values=True),
        np.pad(margins.margin_mm, 1, constant_values=np.float32(widest)),
        min(margins.smallest_mm, widest),
        max(margins.largest_mm, widest),
    )


def _margin_window(margin: highdicom.Volume, box: IndexBox) -> NDArray[np.float32]:
    """Margins on the voxels of `box`; 0, which widens nothing, beyond the grid."""
    result = np.zeros(box.shape, dtype=np.float32)
    grid = IndexBox(np.zeros(3, dtype=np.int64), np.array(margin.array.shape, dtype=np.int64))
    low, high = np.maximum(box.low, grid.low), np.minimum(box.high, grid.high)
    if (low < high).all():
        common = IndexBox(low, high)
        result[common.slices_in(box)] = margin.array[common.slices_in(grid)]
    return result
