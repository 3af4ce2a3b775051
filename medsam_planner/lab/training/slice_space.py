"""Positions of the slices of a training sample in a label volume: an oblique, slightly warped plane and its neighbours.

Positions in the plane are (row, column) in mm around a point of the structure; a third coordinate runs across slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.targets import Target

__all__ = ["SliceSpace", "lies_on_volume", "random_space"]


@dataclass(frozen=True, slots=True, eq=False)
class SliceSpace:
    """Map from (across, row, column) in mm to the axes of a volume, with a slight warp."""

    origin_mm: NDArray[np.float64]
    frame: NDArray[np.float64]
    """(3, 3) rows: the directions across, down and right, along the volume's axes; their length is the scale."""
    waves: NDArray[np.float64]
    """(W, 3) in radians per mm."""
    phases: NDArray[np.float64]
    amplitudes_mm: NDArray[np.float64]
    """(W, 2) along rows and columns."""

    def points(
        self, heights: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Positions of pixels.

        Parameters
        ----------
        heights : (S,) float64
            Positions of the slices across the plane, in mm.
        rows, columns : (S, H) and (S, W) float64
            Positions in the plane, in mm.

        Returns
        -------
        (S, H, W, 3) float32
            In mm along the volume's axes.
        """
        frame = self.frame.astype(np.float32)
        h = heights.astype(np.float32)[:, None, None]
        r = rows.astype(np.float32)[:, :, None]
        c = columns.astype(np.float32)[:, None, :]
        for wave, phase, amplitude in zip(self.waves, self.phases, self.amplitudes_mm, strict=True):
            lift = np.sin(
                (wave[0] * h + np.float32(phase)).astype(np.float32) + np.float32(wave[1]) * r + np.float32(wave[2]) * c
            )
            r, c = r + np.float32(amplitude[0]) * lift, c + np.float32(amplitude[1]) * lift
        origin = self.origin_mm.astype(np.float32)
        parts = [h * frame[0, axis] + r * frame[1, axis] + c * frame[2, axis] + origin[axis] for axis in range(3)]
        return np.stack(np.broadcast_arrays(*parts), axis=-1)


def random_space(volume: LabelVolume, target: Target, rng: np.random.Generator, axis: int) -> SliceSpace:
    """A random plane through a target, near the plane across `axis`.

    Parameters
    ----------
    volume : LabelVolume
        A real image is only rotated in the plane and mirrored; labels are also tilted, scaled, sheared and warped.
    target : Target
        Its centre becomes the origin.
    rng : numpy.random.Generator
        Source of all random choices.
    axis : int
        Axis of the volume across which the slices lie before tilting.
    """
    order = [axis, *(other for other in range(3) if other != axis)]
    frame = np.eye(3)[order]
    angle = 0.5 * np.pi * rng.integers(4)
    if rng.random() < 0.4:
        angle += rng.uniform(-0.6, 0.6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 1] *= rng.choice([-1.0, 1.0])
    frame[1:] = turn.T @ frame[1:]
    count = 0
    if volume.image is None:
        kind = rng.random()
        if kind < 0.25:
            frame = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        elif kind < 0.6:
            frame = frame @ np.linalg.qr(np.eye(3) + 0.15 * rng.standard_normal((3, 3)))[0]
        frame = frame * np.exp(rng.uniform(-0.18, 0.18, (3, 1)))
        if rng.random() < 0.5:
            frame[0] += frame[1:].T @ rng.uniform(-0.5, 0.5, 2)  # structures that cross the slices obliquely
        count = 2 if rng.random() < 0.5 else 0
    length_mm = np.clip(target.reach_mm, 10, 80) * rng.uniform(0.6, 2.5, (count, 1))
    direction = rng.standard_normal((count, 3))
    waves = 2 * np.pi * direction / np.linalg.norm(direction, axis=1, keepdims=True) / length_mm
    amplitudes = rng.uniform(-0.05, 0.05, (count, 2)) * length_mm
    return SliceSpace(target.centre_mm, frame, waves, rng.uniform(0, 6.3, count), amplitudes)


def lies_on_volume(volume: LabelVolume, space: SliceSpace, heights: NDArray[np.float64]) -> bool:
    """Whether the centres of all slices lie on the volume."""
    ends = space.origin_mm + heights[:, None] * space.frame[0]
    limit = (np.array(volume.labels.shape) - 1) * np.asarray(volume.spacing_mm)
    return bool(((ends > -0.01) & (ends < limit + 0.01)).all())
