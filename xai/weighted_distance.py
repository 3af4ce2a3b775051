"""Weighted distance to a mask: ``f(y) = min over voxels z of the mask of |y − z| / u(z)``, with a weight u for each
voxel.

``f(y) <= q`` means that y lies within ``q u(z)`` of some voxel z: the mask, widened by the margin ``q u``, contains y.
The results are exact. Exact Euclidean distance transforms for a few levels of u give bounds for every voxel at once;
where the bounds do not decide, the minimum is computed over the voxels themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError

__all__ = ["WeightedDistance", "widened_mask"]

_LEVELS = 24
"""Largest number of distance transforms of one mask."""
_FLOAT32_SLACK = 1e-5
"""Upper bound of the relative error of a distance transform in float32."""
_PAIRS = 1 << 22
"""Distances that are computed at once: 100 MB."""
_CROSS = ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1))


@dataclass(frozen=True, slots=True, eq=False)
class WeightedDistance:
    """The weighted distance f on one grid.

    Parameters
    ----------
    mask : (K, J, I) bool
        The structure; not empty.
    u : (K, J, I) float
        Positive and finite in the mask; not read elsewhere.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i. The grid must be orthogonal.

    Raises
    ------
    EmptyStructureError
        If the mask is empty.
    GeometryError
        If shapes and spacing do not fit.
    UncertaintyError
        If u is not positive and finite in the mask.
    """

    mask: NDArray[np.bool_]
    u: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]

    def __post_init__(self) -> None:
        spacing = np.asarray(self.spacing_mm, dtype=np.float64)
        if self.mask.ndim != 3 or self.u.shape != self.mask.shape:
            raise GeometryError(f"Expected a 3D mask and u on its grid, got {self.mask.shape} and {self.u.shape}.")
        if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
            raise GeometryError(f"Expected 3 positive spacings in mm, one per array axis, got {spacing.tolist()}.")
        if not self.mask.any():
            raise EmptyStructureError("Expected a structure, got an empty mask: there is no distance to it.")
        inside = self.u[self.mask]
        if not (np.isfinite(inside) & (inside > 0)).all():
            raise UncertaintyError(
                f"Expected u > 0 and finite in every voxel of the mask, got values from {inside.min()} to "
                f"{inside.max()}: a voxel with u = 0 would never be widened, whatever the quantile."
            )

    def largest(self, where: NDArray[np.bool_]) -> float:
        """The largest f over the voxels of `where`; 0 if none of them lies outside the mask."""
        outside = where & ~self.mask
        if not outside.any():
            return 0.0
        lower, upper = self._bounds(outside)
        open_ = np.flatnonzero(upper >= lower.max())
        order = open_[np.argsort(-upper[open_])]
        index = np.argwhere(outside)
        best, at = 0.0, 0
        sources, weights = self._sources()
        size = max(_PAIRS // len(sources), 1)
        while at < len(order) and upper[order[at]] > best:
            chunk = order[at : at + size]
            best = max(best, float(self._exact(index[chunk], sources, weights).max()))
            at += size
        return best

    def within(self, q: float) -> NDArray[np.bool_]:
        """Voxels with ``f <= q``: the mask widened by ``q u``, (K, J, I) bool."""
        result = self.mask.copy()
        outside = ~self.mask
        lower, upper = self._bounds(outside)
        is_within = upper <= q
        unsure = np.flatnonzero((lower <= q) & ~is_within)
        if unsure.size:
            index = np.argwhere(outside)
            sources, weights = self._sources()
            for chunk in _chunks(unsure, max(_PAIRS // len(sources), 1)):
                is_within[chunk] = self._exact(index[chunk], sources, weights) <= q
        result[outside] = is_within
        return result

    def _source_mask(self) -> NDArray[np.bool_]:
        """Voxels of the mask at which the minimum can be attained for a voxel outside.

        The voxel of the mask nearest to y lies on the surface, because from any other a step along an axis comes
        nearer. An inner voxel can therefore attain the minimum only if its u exceeds the smallest u of the surface.
        """
        buried = self.mask.copy()
        for axis, step in _CROSS:
            neighbour = np.roll(self.mask, step, axis)
            edge: list[slice | int] = [slice(None)] * 3
            edge[axis] = 0 if step > 0 else -1
            neighbour[tuple(edge)] = True  # there are no voxels outside the grid
            buried &= neighbour
        surface = self.mask & ~buried
        if not surface.any():
            return self.mask
        return surface | (buried & (self.u > self.u[surface].min()))

    def _sources(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        mask = self._source_mask()
        return np.argwhere(mask), self.u[mask].astype(np.float64)

    def _exact(
        self, index: NDArray[np.intp], sources: NDArray[np.intp], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        squared = np.zeros((len(index), len(sources)))
        for axis, step in enumerate(np.asarray(self.spacing_mm, dtype=np.float64)):
            squared += np.square((index[:, None, axis] - sources[None, :, axis]) * step)
        result: NDArray[np.float64] = np.sqrt((squared / np.square(weights)).min(axis=1))
        return result

    def _bounds(self, outside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bound of f for each voxel of `outside`, in the order of ``argwhere``."""
        import edt

        sources = self._source_mask()
        lower = np.full(int(outside.sum()), np.inf)
        upper = lower.copy()
        spacing = tuple(float(step) for step in self.spacing_mm)
        for low, high in _levels(self.u[sources]):
            level = sources & (self.u >= low) & (self.u <= high)
            if not level.any():
                continue
            distance = edt.edt(np.ascontiguousarray(~level), anisotropy=spacing, parallel=1)[outside].astype(np.float64)
            np.minimum(lower, distance / high, out=lower)
            np.minimum(upper, distance / low, out=upper)
        return lower * (1 - _FLOAT32_SLACK), upper * (1 + _FLOAT32_SLACK)


def widened_mask(
    mask: ArrayLike, u: ArrayLike, q: float, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> NDArray[np.bool_]:
    """The mask widened by the margin ``q u(z)`` of its voxels z: ``{y : min over z of |y − z| − q u(z) <= 0}``.

    Parameters
    ----------
    mask : (K, J, I) bool
        The structure. For an empty mask the result is empty for every finite q.
    u : (K, J, I) float
        Positive and finite in the mask.
    q : float
        Quantile, >= 0; infinity fills the grid.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i.

    Returns
    -------
    (K, J, I) bool
        It ends at the edge of the grid; pad the mask first if the part beyond matters.
    """
    inside = np.asarray(mask, dtype=bool)
    if not q >= 0:
        raise UncertaintyError(f"Expected a quantile q >= 0, got {q}.")
    if np.isinf(q):
        return np.ones_like(inside)
    if not inside.any():
        return inside.copy()
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    return WeightedDistance(inside, np.asarray(u, dtype=np.float64), spacing).within(q)


def _levels(values: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Closed ranges that contain all values: one for each value if there are few, else of equal ratio."""
    distinct = np.unique(values)
    cuts = np.arange(1, len(distinct))
    if len(distinct) > _LEVELS:
        cuts = np.searchsorted(distinct, np.geomspace(distinct[0], distinct[-1], _LEVELS + 1)[1:-1])
    for group in np.split(distinct, cuts):
        if len(group):
            yield float(group[0]), float(group[-1])


def _chunks(indices: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
