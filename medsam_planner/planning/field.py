r"""The margin field of one structure: how much room is left at a place.

.. math:: D(x) = \min_{z \in S} |x - z| - m(z)

S is the set of the structure's voxel *centres* and m the margin of each. D, or a little less (see
:mod:`medsam_planner.planning.power`), is kept at every voxel near the structure, and ever more thinly where it is far
away: the interpolation below loses little there. Inside the structure the distance to the nearest voxel outside is
subtracted, so that D grows more negative the deeper a place lies.

What the field says about the true structure
--------------------------------------------
Let the true structure T lie within the grid and have the mask as its voxelisation (a voxel belongs when its centre
does), and let every point of T lie in a ball inside T whose diameter is the voxel diagonal d (T is not thinner than a
voxel). Let F be the signed distance to T less the margin. Then ``F(x) >= D(x) − d`` for every x:

- *x outside T, z its nearest point.* The ball of diameter d that touches the surface at z from inside contains a voxel
  centre c, and ``|x − c| <= |x − z| + d``. So ``|x − z| >= min |x − c| − d``.
- *x inside T at depth δ <= d/2.* The same ball contains a centre within ``d − δ`` of x.
- *deeper.* A centre of T lies within d/2 of x, and every voxel centre outside T at least δ away.

The union of the voxel boxes, the other common reading of a mask, satisfies it with d/2 to spare. A structure thinner
than a voxel diagonal can slip between the centres; no computation on the mask can know of it.

Between the nodes
-----------------
Trilinear interpolation of D overestimates it between the nodes, by at most a known amount. The weights w_i of the
eight nodes x_i around x satisfy ``Σ w_i x_i = x`` and ``Σ w_i |x_i − x|² = v = Σ_axis t (1 − t) spacing²``, so for the
nearest z ``Σ w_i |x_i − z|² = |x − z|² + v``. Let m0 be the smallest margin and ``p_i = max(D(x_i) + m0, 0)``, which is
at most ``| |x_i − z| − (m(z) − m0) |``. It follows, where ``D(x) + m0 >= 0``, that

.. math:: D(x) \ge \sqrt{\textstyle\sum w_i p_i^2 - v} - m_0,

an equality where all eight nodes share their nearest z. The common bound, half a diagonal everywhere, would have to be
added to d. Where ``D(x) + m0 >= 0`` is not certain, ``D(x) >= Σ w_i D(x_i) − sqrt(v)`` holds by the slope of 1. The
depth inside the structure is interpolated as it is: it exceeds the ``δ − d/2`` that the proof above needs.

Beyond the grid a structure to avoid has no voxels; with p the nearest point of the grid and e = \|x − p\| the field is
at least ``sqrt(e² + (D(p) + m1)²) − m1`` for the largest margin m1. The complement of a corridor fills everything
beyond the grid; there ``D(p) − e`` holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.planning.distance import distance_transform_mm
from medsam_planner.planning.margins import surface_margins
from medsam_planner.planning.power import Lattice, Margins, bounds_mm, least_room_mm
from medsam_planner.planning.region import IndexBox, bounding_box, distance_bound_mm, domain_of, surroundings, window
from medsam_planner.planning.structures import StayInside, Structure, bool_array

__all__ = ["Layer", "MarginField", "build_field"]

_VOXEL_LIMIT = 40_000_000
"""Voxels in which one structure is looked at: about 700 MB at its peak."""
_NODE_SPACING_DIAGONALS = 1.25
"""Distance between the nodes beyond the first layer, in voxel diagonals; twice that beyond the second."""
_LAYER_ENDS_DIAGONALS = (5.0, 15.0)
"""How far from the margin the first two layers reach. At 5 diagonals nodes 1.25 apart cost 0.05 diagonals on
average (``s² / 6`` per tangential axis, over twice the distance); so do nodes 2.5 apart at 15."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """D on nodes that lie `stride` voxels apart."""

    values_mm: NDArray[np.float32]
    first: NDArray[np.float64]
    """Index of the first node in the box, at most 0."""
    stride: NDArray[np.int64]
    ceiling_mm: float
    """Where D is larger it is given as this."""


@dataclass(frozen=True, slots=True, eq=False)
class MarginField:
    """D on the nodes of a box of voxels; see the module's text."""

    name: str
    layers: tuple[Layer, ...]
    """Densest first, with a node on every voxel of the box; the others cover it, and the last has no ceiling."""
    affine: NDArray[np.float64]
    """Index of a voxel in the box → LPS mm."""
    spacing_mm: NDArray[np.float64]
    smallest_margin_mm: float
    largest_margin_mm: float
    outside_is_structure: bool
    """The field is that of a corridor's complement."""
    free_entry_mm: float = 0.0

    @property
    def voxel_diagonal_mm(self) -> float:
        """What the certified clearance gives up for the voxels."""
        return float(np.linalg.norm(self.spacing_mm))

    def index(self, position_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS mm (..., 3) to fractional indices of voxels of the box."""
        return index_from_lps(self.affine, position_lps_mm)

    def read(self, position_index: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Interpolated value and lower bound of D.

        Parameters
        ----------
        position_index : (3, P) float
            Fractional indices, the axes first.

        Returns
        -------
        value_mm, lower_mm : (P,) float64
            ``lower_mm <= D`` and ``lower_mm <= value_mm``.
        """
        inside = np.clip(position_index, 0.0, np.array(self.layers[0].values_mm.shape)[:, None] - 1.0)
        value, lower = self._read_layer(self.layers[-1], inside)
        for layer in self.layers[-2::-1]:
            near = np.flatnonzero(lower < layer.ceiling_mm)
            if len(near):
                seen, lower[near] = self._read_layer(layer, inside[:, near])
                value[near] = np.where(seen < layer.ceiling_mm, seen, np.maximum(seen, value[near]))
        if not np.array_equal(inside, position_index):
            excess = np.sqrt((((position_index - inside) * self.spacing_mm[:, None]) ** 2).sum(axis=0))
            value, lower = self._beyond(value, excess), self._beyond(lower, excess)
        return value, lower

    def _read_layer(self, layer: Layer, index: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nodes = _Nodes(
            layer.values_mm, (index - layer.first[:, None]) / layer.stride[:, None], self.spacing_mm * layer.stride
        )
        least = self.smallest_margin_mm
        value = nodes.mean(nodes.values)
        above = [node + np.float32(least) for node in nodes.values]
        touches = np.minimum.reduce(above) < 0
        for node in above:
            np.maximum(node, 0, out=node)
        room = np.sqrt(np.maximum(nodes.mean([node * node for node in above]) - nodes.variance, 0.0))
        if least < self.largest_margin_mm:
            room = self._room_with_several_margins(room, value + least, touches, nodes.variance)
        elif touches.any():
            room -= nodes.mean(above) - (value + least)  # the depth of the nodes inside
        return value, room - least

    @staticmethod
    def _room_with_several_margins(
        room: NDArray[np.float64],
        shifted: NDArray[np.float64],
        touches: NDArray[np.bool_],
        variance: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Within the reach of a margin wider than the smallest, depth and margin cannot be told apart at the nodes."""
        deviation = np.sqrt(variance)
        room = np.where(touches, np.sqrt(np.maximum(shifted * shifted - variance, 0.0)), room)
        return np.where(shifted < deviation, shifted - deviation, room)

    def _beyond(self, at_edge: NDArray[np.float64], excess_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.outside_is_structure:
            return at_edge - excess_mm
        base = at_edge + self.largest_margin_mm
        return np.where(base >= 0, np.hypot(base, excess_mm), base + excess_mm) - self.largest_margin_mm


def build_field(structure: Structure, region_lps_mm: NDArray[np.float64]) -> MarginField:
    """Compute the margin field of `structure` on the box of voxels around a set of points.

    Parameters
    ----------
    structure : Avoid or StayInside
    region_lps_mm : (P, 3) float
        Every place to be asked lies in their bounding box on the structure's grid.
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
        margins = _with_rim(margins, widest)
        box = IndexBox(box.low - 1, box.high + 1)
        near = margins.inside
    whole = domain.joined(IndexBox(np.zeros(3, dtype=np.int64), np.array(mask.shape, dtype=np.int64)))
    depth = _depth_mm(near, spacing, deepest_mm=float(np.linalg.norm(np.array(whole.shape) * spacing)))
    middle = (np.array(mask.shape) - 1) / 2
    shifted = affine.copy()
    shifted[:3, 3] = lps_from_index(affine, domain.low)
    return MarginField(
        name=structure.name,
        layers=_layers(margins, depth[domain.slices_in(box)], domain, box, spacing, farthest, middle),
        affine=shifted,
        spacing_mm=spacing,
        smallest_margin_mm=margins.smallest_mm,
        largest_margin_mm=margins.largest_mm,
        outside_is_structure=is_corridor,
        free_entry_mm=structure.free_entry_mm if isinstance(structure, StayInside) else 0.0,
    )


def _strides(spacing: NDArray[np.float64]) -> tuple[NDArray[np.int64], ...]:
    """Of the layers, each a multiple of the one before."""
    apart = _NODE_SPACING_DIAGONALS * float(np.linalg.norm(spacing))
    second = np.maximum(apart // spacing, 1).astype(np.int64)
    return np.ones(3, dtype=np.int64), second, 2 * second


def _layers(
    margins: Margins,
    depth: NDArray[np.float32],
    domain: IndexBox,
    box: IndexBox,
    spacing: NDArray[np.float64],
    farthest: float,
    middle: NDArray[np.float64],
) -> tuple[Layer, ...]:
    """As many as it takes to reach `farthest`; a coarse one tells how near a place is, and never how deep inside.

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
        values = least_room_mm(margins, lattice, spacing, bounds, ceiling_mm=ceiling)
        if not layers:
            values -= depth
        layers.append(Layer(values, first - domain.low, stride, ceiling))
        if is_last:
            break
        begins = ends
    return tuple(layers)


def _depth_mm(inside: NDArray[np.bool_], spacing: NDArray[np.float64], *, deepest_mm: float) -> NDArray[np.float32]:
    """Distance of the structure's voxels to the nearest voxel outside that is seen: never too small.

    A thin structure needs only its own box. Where nothing outside is seen the depth may be anything up to `deepest_mm`.
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
    """Of the structure's voxels in `box`."""
    if isinstance(structure.margin_mm, highdicom.Volume):
        widths = surface_margins(inside, _margin_window(structure.margin_mm, box), spacing)
    else:
        widths = np.full(inside.shape, structure.margin_mm, dtype=np.float32)
    seen = widths[inside]
    return Margins(inside, widths, float(seen.min(initial=np.inf)), float(seen.max(initial=-np.inf)))


def _with_rim(margins: Margins, widest: float) -> Margins:
    """One voxel more on every side: something may lie just beyond, with the widest margin."""
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


class _Nodes:
    """The eight nodes around each of P places."""

    def __init__(
        self, values: NDArray[np.float32], index: NDArray[np.float64], spacing_mm: NDArray[np.float64]
    ) -> None:
        shape = values.shape
        base = np.minimum(index.astype(np.int32), np.maximum(np.array(shape, dtype=np.int32)[:, None] - 2, 0))
        self.part = (index - base).astype(np.float32)
        square = (spacing_mm**2).astype(np.float32)
        self.variance = np.einsum("ap,a->p", self.part * (1 - self.part), square).astype(np.float64)
        """Σ t (1 − t) spacing², mm²."""
        flat = values.reshape(-1)
        start = (base[0].astype(np.int64) * shape[1] + base[1]) * shape[2] + base[2]
        step = [int(np.prod(shape[axis + 1 :])) if shape[axis] > 1 else 0 for axis in range(3)]
        corners = np.indices((2, 2, 2)).reshape(3, 8).T @ step
        self.values = [flat.take(start + corner) for corner in corners.tolist()]

    def mean(self, values: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Trilinear mean of one number per node."""
        for axis in (2, 1, 0):
            pairs = zip(values[0::2], values[1::2], strict=True)
            values = [low + (high - low) * self.part[axis] for low, high in pairs]
        return values[0].astype(np.float64)
