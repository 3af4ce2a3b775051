r"""The distance field of one structure: the distance of any place from the structure with its margin.

.. math:: D(x) = \min_{z \in S} |x - z| - m(z)

S is the set of the structure's voxel *centres* and m the margin of each. D, or a little less (see
:mod:`medsam_planner.planning.ball_distance`), is stored at every voxel near the structure and on coarser lattices
farther away, where the interpolation below loses little. Inside the structure the distance to the nearest voxel
outside is subtracted, so that D grows more negative the deeper a place lies.

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

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import index_from_lps

__all__ = ["DistanceField", "Layer"]


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
class DistanceField:
    """D on the nodes of a box of voxels; see the module's docstring."""

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

    def widened(self, by_mm: float) -> DistanceField:
        """The field of the same structure, all of whose margins are larger by as much; negative: smaller.

        ``min |x − z| − (m(z) + c)`` is ``D(x) − c``, so nothing need be computed again.
        """
        layers = tuple(
            replace(one, values_mm=one.values_mm - np.float32(by_mm), ceiling_mm=one.ceiling_mm - by_mm)
            for one in self.layers
        )
        return replace(
            self,
            layers=layers,
            smallest_margin_mm=self.smallest_margin_mm + by_mm,
            largest_margin_mm=self.largest_margin_mm + by_mm,
        )

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
                finer, lower[near] = self._read_layer(layer, inside[:, near])
                value[near] = np.where(finer < layer.ceiling_mm, finer, np.maximum(finer, value[near]))
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
        bound = np.sqrt(np.maximum(nodes.mean([node * node for node in above]) - nodes.variance, 0.0))
        if least < self.largest_margin_mm:
            bound = self._bound_with_several_margins(bound, value + least, touches, nodes.variance)
        elif touches.any():
            bound -= nodes.mean(above) - (value + least)  # the depth of the nodes inside
        return value, bound - least

    @staticmethod
    def _bound_with_several_margins(
        bound: NDArray[np.float64],
        shifted: NDArray[np.float64],
        touches: NDArray[np.bool_],
        variance: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Weaker bound where margins differ: near such a structure the nodes do not tell depth and margin apart."""
        deviation = np.sqrt(variance)
        bound = np.where(touches, np.sqrt(np.maximum(shifted * shifted - variance, 0.0)), bound)
        return np.where(shifted < deviation, shifted - deviation, bound)

    def _beyond(self, at_edge: NDArray[np.float64], excess_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.outside_is_structure:
            return at_edge - excess_mm
        base = at_edge + self.largest_margin_mm
        return np.where(base >= 0, np.hypot(base, excess_mm), base + excess_mm) - self.largest_margin_mm


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
