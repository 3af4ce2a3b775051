"""Masks of voxels in patient space, run-length encoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.affine import gap_text, index_from_lps, lps_from_index, require_affine, require_shape
from prompts.errors import GeometryError, PromptError
from prompts.masks import mask_box

__all__ = ["VoxelMask"]

_GRID_TOLERANCE = 0.01
"""In voxels, over the whole mask: files of one study round their affines differently."""
_FARTHEST_MM = 1e5

_Vector: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class VoxelMask:
    """Voxels of a box on the grid of a study; equal masks have equal values.

    Build one from an array with :meth:`from_array`.

    Raises
    ------
    PromptError
        If the values describe no mask, or one without a voxel inside.
    """

    first_voxel_lps_mm: _Vector
    """Centre of the box's first voxel, LPS mm."""
    voxel_steps_lps_mm: tuple[_Vector, _Vector, _Vector]
    """From a voxel to the next one along each array axis, LPS mm."""
    size: tuple[int, int, int]
    """Voxels of the box along each array axis."""
    runs: tuple[int, ...]
    """Numbers of voxels that lie outside, inside, outside and so on, the last array axis running fastest. The first may
    be 0."""

    def __post_init__(self) -> None:
        geometry = np.array([self.first_voxel_lps_mm, *self.voxel_steps_lps_mm], dtype=np.float64)
        if geometry.shape != (4, 3) or not (np.abs(geometry) <= _FARTHEST_MM).all():
            raise PromptError(
                "Expected a first voxel and three steps between voxels, each of three numbers within 100 m, got "
                f"{geometry.tolist()}."
            )
        if abs(np.linalg.det(geometry[1:])) < 1e-12:
            raise PromptError(f"Expected three steps in different directions, got {geometry[1:].tolist()}.")
        if len(self.size) != 3 or min(self.size) < 1:
            raise PromptError(f"Expected a box of three positive voxel counts, got {list(self.size)}.")
        if min(self.runs, default=0) < 0 or 0 in self.runs[1:] or sum(self.runs) != math.prod(self.size):
            raise PromptError(
                f"Expected runs that add up to the {math.prod(self.size)} voxels of the box, none but the first of 0, "
                f"got {len(self.runs)} runs that add up to {sum(self.runs)}."
            )
        if len(self.runs) < 2:
            raise PromptError("Expected a mask with at least one voxel inside, got an empty one.")

    @classmethod
    def from_array(
        cls, inside: NDArray[np.bool_], affine: ArrayLike, *, first_index: tuple[int, int, int] = (0, 0, 0)
    ) -> VoxelMask:
        """Encode the smallest box that holds a mask.

        Parameters
        ----------
        inside : (K, J, I) bool
            The mask, or a part of the grid that holds it.
        affine : (4, 4) float
            Index → LPS mm of the grid.
        first_index : (3,) int
            Voxel of the grid at which `inside` begins.

        Raises
        ------
        PromptError
            If the mask is empty.
        GeometryError
            If `inside` is not a 3D bool array, or `affine` is not an invertible affine.
        """
        matrix = require_affine(affine)
        if inside.ndim != 3 or inside.dtype != bool:
            raise GeometryError(
                f"Expected a mask of three axes and type bool, got {inside.ndim} axes of {inside.dtype}."
            )
        box = mask_box(inside)
        flat = inside[box].ravel()
        if not flat.size:
            raise PromptError("Expected a mask with at least one voxel inside, got an empty one.")
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
        first = lps_from_index(matrix, np.add(first_index, [part.start for part in box])) + 0.0  # no -0.0
        k, j, i = (part.stop - part.start for part in box)
        return cls(
            _vector(first),
            (_vector(matrix[:3, 0] + 0.0), _vector(matrix[:3, 1] + 0.0), _vector(matrix[:3, 2] + 0.0)),
            (k, j, i),
            (0, *runs) if flat[0] else tuple(runs),
        )

    @property
    def voxel_count(self) -> int:
        """Number of voxels inside."""
        return sum(self.runs[1::2])

    def on_grid(self, affine: ArrayLike, shape: ArrayLike) -> tuple[tuple[int, int, int], NDArray[np.bool_]]:
        """The mask on a grid of the same voxels, whatever the order and the direction of its array axes.

        Parameters
        ----------
        affine : (4, 4) float
            Index → LPS mm of the grid.
        shape : (3,) int
            Voxels along each array axis.

        Returns
        -------
        (3,) int
            Voxel of the grid at which the box begins.
        (k, j, i) bool
            The mask in the box.

        Raises
        ------
        GeometryError
            If the voxels of the grid lie elsewhere or have another size: a mask is never resampled.
        PromptError
            If the box reaches beyond the grid.
        """
        low, _, turns = self._placed(affine, shape)
        inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.size)
        inside = inside.transpose(np.abs(turns).argmax(axis=1))
        inside = np.flip(inside, tuple(np.flatnonzero(turns.sum(axis=1) < 0).tolist()))
        k, j, i = low.tolist()
        return (k, j, i), inside

    def index_range(self, affine: ArrayLike, shape: ArrayLike) -> NDArray[np.int64]:
        """First and last voxel of the box on a grid, without decoding the mask.

        Parameters
        ----------
        affine, shape
            As of :meth:`on_grid`, which raises the same errors.

        Returns
        -------
        (3, 2) int
            Along each array axis, inclusive.
        """
        low, high, _ = self._placed(affine, shape)
        return np.stack([low, high], axis=1)

    def _placed(
        self, affine: ArrayLike, shape: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """First and last voxel of the box on a grid, and the (3, 3) turn from its own axes to those of the grid."""
        matrix, counts = require_affine(affine), require_shape(shape)
        exact = np.linalg.solve(matrix[:3, :3], np.array(self.voxel_steps_lps_mm).T)
        turns = np.rint(exact)
        begin = index_from_lps(matrix, self.first_voxel_lps_mm)
        first = np.rint(begin)
        off = np.abs(begin - first) + np.abs(exact - turns) @ np.array(self.size)
        if (
            not (np.abs(turns).sum(0) == 1).all()
            or not (np.abs(turns).sum(1) == 1).all()
            or off.max() > _GRID_TOLERANCE
        ):
            raise GeometryError(
                "Expected a volume with the voxels that the mask was drawn on, got one whose voxels lie elsewhere or "
                "have another size. Use the study it was drawn on, or draw it again on this one."
            )
        last = first + turns @ (np.array(self.size) - 1)
        low, high = np.minimum(first, last), np.maximum(first, last)
        gap: NDArray[np.float64] = np.where(low < 0, low, np.where(high >= counts, high - (counts - 1), 0.0))
        if gap.any():
            raise PromptError(
                f"Expected a mask inside the volume, got one that reaches {gap_text(matrix, gap)} beyond it. "
                "Check that the prompts belong to this study."
            )
        return low.astype(np.int64), high.astype(np.int64), turns


def _vector(values: NDArray[np.float64]) -> _Vector:
    x, y, z = values.tolist()
    return x, y, z
