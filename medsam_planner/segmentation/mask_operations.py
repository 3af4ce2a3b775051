"""Operations on a whole mask, as a person asks for them: islands, holes, smoothing. None of them knows a model.

An operation gives another mask of the same shape; what it is applied to is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm
from prompts.masks import largest_component, mask_box

__all__ = [
    "FillHoles",
    "KeepIslandAt",
    "KeepLargestIsland",
    "MaskOperation",
    "RemoveSmallIslands",
    "Smooth",
    "operated",
]

_TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one island."""
LARGEST_SIGMA_MM = 20.0


class MaskOperation(Protocol):
    """One operation."""

    @property
    def reach_mm(self) -> float:
        """How far beyond the mask the result may reach."""

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Apply it to a mask on a grid of this affine (index → LPS mm)."""


@dataclass(frozen=True, slots=True)
class KeepLargestIsland:
    """Keep the island with the most voxels."""

    reach_mm: float = 0.0

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Keep it."""
        return largest_component(inside)


@dataclass(frozen=True, slots=True)
class RemoveSmallIslands:
    """Remove islands below a volume.

    Raises
    ------
    PromptError
        If the volume is not above 0.
    """

    below_ml: float
    reach_mm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.below_ml < np.inf:
            raise PromptError(f"Expected a volume above 0 ml below which islands are removed, got {self.below_ml!r}.")

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Remove them."""
        from scipy import ndimage

        parts, _ = ndimage.label(inside, _TOUCHING)
        voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
        is_kept = np.bincount(parts.ravel()) * voxel_ml >= self.below_ml
        is_kept[0] = False
        return np.asarray(is_kept[parts])


@dataclass(frozen=True, slots=True)
class KeepIslandAt:
    """Keep the island that a place lies on.

    Raises
    ------
    PromptError
        When it is applied, if the place lies on none.
    """

    position_lps_mm: tuple[float, float, float]
    reach_mm: float = 0.0

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Keep it."""
        from scipy import ndimage

        index = np.rint(np.linalg.solve(affine, [*self.position_lps_mm, 1.0])[:3]).astype(int)
        is_there = (index >= 0).all() and (index < inside.shape).all() and bool(inside[tuple(index)])
        if not is_there:
            raise PromptError("Click on the part of the structure that is to be kept: nothing of it lies there.")
        parts, _ = ndimage.label(inside, _TOUCHING)
        return np.asarray(parts == parts[tuple(index)])


@dataclass(frozen=True, slots=True)
class FillHoles:
    """Fill what the mask encloses: in 3D, or on each slice across an axis, where a tunnel is a hole too."""

    axis: int | None = None
    """Array axis across which the slices lie; None fills in 3D only."""
    reach_mm: float = 0.0

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Fill them."""
        from scipy import ndimage

        if self.axis is None:
            return np.asarray(ndimage.binary_fill_holes(inside))
        within = np.ones((1, 3, 3), dtype=bool)
        within[0, ::2, ::2] = False
        return np.asarray(ndimage.binary_fill_holes(inside, np.moveaxis(within, 0, self.axis)))


@dataclass(frozen=True, slots=True)
class Smooth:
    """Smooth the surface with a Gaussian; what is thinner than about its width is lost.

    Raises
    ------
    PromptError
        If its standard deviation is not above 0 and at most 20 mm.
    """

    sigma_mm: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma_mm <= LARGEST_SIGMA_MM:
            raise PromptError(f"Expected smoothing above 0 and up to {LARGEST_SIGMA_MM:g} mm, got {self.sigma_mm!r}.")

    @property
    def reach_mm(self) -> float:
        """Where the Gaussian ends."""
        return 4 * self.sigma_mm

    def __call__(self, inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Smooth it; at the edge of the grid the mask is taken to continue."""
        from scipy import ndimage

        sigma = self.sigma_mm / spacing_mm(affine)
        return np.asarray(ndimage.gaussian_filter(inside.astype(np.float32), sigma, mode="nearest") > 0.5)


def operated(inside: NDArray[np.bool_], operation: MaskOperation, affine: ArrayLike) -> NDArray[np.bool_]:
    """The mask after an operation, which is computed in the box around it.

    Parameters
    ----------
    inside : (K, J, I) bool
    operation : MaskOperation
    affine : (4, 4) float
        Index → LPS mm.

    Returns
    -------
    (K, J, I) bool

    Raises
    ------
    PromptError
        If the mask is empty, or nothing is left of it.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if not inside.any():
        raise PromptError("Expected a mask with at least one voxel, got an empty one. Segment the structure first.")
    grown = int(np.ceil(operation.reach_mm / spacing_mm(matrix).min())) + 1
    box = mask_box(inside, grown=grown)
    in_box = matrix.copy()
    in_box[:3, 3] += matrix[:3, :3] @ [part.start for part in box]
    result = np.zeros_like(inside)
    result[box] = operation(inside[box], in_box)
    if not result.any():
        raise PromptError("Nothing of the structure would be left. Use a smaller value.")
    return result
