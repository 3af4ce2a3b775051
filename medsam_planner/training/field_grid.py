"""The model's pixels on a slice: turned, zoomed, and sampled finely enough that shrinking does not alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FieldGrid"]


@dataclass(frozen=True, slots=True, eq=False)
class FieldGrid:
    """Where the pixels of one field lie on the slice."""

    centre_mm: NDArray[np.float64]
    step_mm: float
    spacing_mm: NDArray[np.float64]
    """Of the slice."""
    size: int
    finer: int
    corners: tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]
    weights: NDArray[np.float32]

    @classmethod
    def over(
        cls,
        centre_mm: NDArray[np.float64],
        turn: NDArray[np.float64],
        step_mm: float,
        size: int,
        spacing_mm: NDArray[np.float64],
    ) -> FieldGrid:
        """Grid of `size` model pixels of `step_mm` around a centre given along the model's own axes."""
        finer = int(np.clip(np.ceil(step_mm / spacing_mm.min() - 0.2), 1, 4))
        line = (np.arange(size * finer) - (size * finer - 1) / 2) * (step_mm / finer)
        rows_mm = (line + centre_mm[0])[:, None]
        columns_mm = (line + centre_mm[1])[None]
        # Inverse of `own = slice_mm @ turn`: slice_mm = own @ turn.T.
        rows = (rows_mm * turn[0, 0] + columns_mm * turn[0, 1]) / spacing_mm[0]
        columns = (rows_mm * turn[1, 0] + columns_mm * turn[1, 1]) / spacing_mm[1]
        first_row, first_column = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
        down, right = (rows - first_row).astype(np.float32), (columns - first_column).astype(np.float32)
        corners = tuple((first_row + a, first_column + b) for a in (0, 1) for b in (0, 1))
        weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
        return cls(np.asarray(centre_mm), step_mm, np.asarray(spacing_mm), size, finer, corners, weights)

    def _picked(self, plane: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        height, width = plane.shape
        return [plane[np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)] for r, c in self.corners]

    def _shrunk(self, fine: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.finer == 1:
            return fine
        shape = (*fine.shape[:-2], self.size, self.finer, self.size, self.finer)
        return fine.reshape(shape).mean(axis=(-3, -1), dtype=np.float32)

    def sample(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, N) linear samples of a slice whose edge repeats outwards."""
        fine = np.zeros(self.weights.shape[1:], dtype=np.float32)
        for weight, values in zip(self.weights, self._picked(plane), strict=True):
            fine += weight * values.astype(np.float32)
        return self._shrunk(fine)

    def sample_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, N) linear samples of a mask that ends where the slice ends."""
        height, width = mask.shape
        (rows, columns), _, _, (rows_end, columns_end) = self.corners
        on_slice = (rows_end >= 0) & (rows < height) & (columns_end >= 0) & (columns < width)
        fine = np.zeros(self.weights.shape[1:], dtype=np.float32)
        for weight, values in zip(self.weights, self._picked(mask), strict=True):
            fine += weight * (values & on_slice)
        return self._shrunk(fine)

    def covered(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
        """(N, N) the mask on model pixels, and its area beyond the field in model pixels."""
        share = self.sample_mask(mask)
        area_px = np.count_nonzero(mask) * float(np.prod(self.spacing_mm)) / self.step_mm**2
        return share > 0.5, max(area_px - float(share.sum()), 0.0)

    def shares(self, planes: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """(L, S, N, N) share of every label that occurs in the field on any of S slices, and the labels."""
        picked = [self._picked(labels) for labels in planes]
        present = np.flatnonzero(np.bincount(np.concatenate([p.ravel() for part in picked for p in part])))
        result = np.zeros((len(present), len(planes), self.size, self.size), dtype=np.float32)
        for layer, number in enumerate(present):
            for plane, corners in enumerate(picked):
                fine = np.zeros(self.weights.shape[1:], dtype=np.float32)
                for weight, values in zip(self.weights, corners, strict=True):
                    fine += weight * (values == number)
                result[layer, plane] = self._shrunk(fine)
        return result, present

    def to_model(self, positions_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) mm along the model's own axes → model pixels."""
        return (positions_mm - self.centre_mm) / self.step_mm + (self.size - 1) / 2
