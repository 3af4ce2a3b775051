"""Images and reference masks of the slices of a training sample, painted from labels or sampled from a real image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.painting import block_mean, painted, smoothly_finer, upsampling
from medsam_planner.lab.training.slice_space import SliceSpace
from medsam_planner.lab.training.targets import Target

__all__ = ["coarse_mask", "rendered_slices"]
_FINE = 2
"""Pixels of the painted grid per model pixel, along each axis."""
_COARSE = 112
"""Pixels of the coarse grid along each axis, about."""


def _indices(
    volume: LabelVolume, points: NDArray[np.float32]
) -> tuple[tuple[NDArray[np.intp], ...], NDArray[np.bool_]]:
    """Nearest voxels of (..., 3) points, clipped to the volume, and whether the points lie on it."""
    found, inside = [], np.ones(points.shape[:-1], dtype=bool)
    for axis, (count, step) in enumerate(zip(volume.labels.shape, volume.spacing_mm, strict=True)):
        at = np.rint(points[..., axis] * np.float32(1 / step)).astype(np.intp)
        inside &= (at >= 0) & (at < count)
        found.append(np.clip(at, 0, count - 1))
    return tuple(found), inside


def _nearest_labels(volume: LabelVolume, points: NDArray[np.float32]) -> NDArray[np.uint16]:
    at, inside = _indices(volume, points)
    labels = volume.labels[at]
    labels[~inside] = 0
    return labels


def coarse_mask(
    volume: LabelVolume, target: Target, space: SliceSpace, heights: NDArray[np.float64], pixel_mm: float
) -> tuple[NDArray[np.bool_], float]:
    """The structure on all slices, on one coarse grid around the origin.

    Parameters
    ----------
    volume : LabelVolume
        The volume that the slices cross.
    target : Target
        The structure of the sample.
    space : SliceSpace
        Positions of the slices.
    heights : (S,) float64
        Positions of the slices in mm.
    pixel_mm : float
        Size of a pixel of the volume.

    Returns
    -------
    (S, C, C) bool, float
        Mask, and the size of its pixels in mm.
    """
    half = 1.15 * target.reach_mm + 2 * pixel_mm
    coarse_mm = max(2 * half / _COARSE, 0.6 * pixel_mm)
    count = int(np.ceil(2 * half / coarse_mm)) | 1
    line = (np.arange(count) - (count - 1) / 2) * coarse_mm
    lines = np.broadcast_to(line, (len(heights), count))
    points = space.points(heights, lines, lines)
    _, mask = target.applied(_nearest_labels(volume, points), points, coarse_mm, len(volume.tissue))
    return mask, coarse_mm


def rendered_slices(
    volume: LabelVolume,
    target: Target,
    space: SliceSpace,
    heights: NDArray[np.float64],
    centres: NDArray[np.float64],
    sides: NDArray[np.float64],
    pixel_mm: float,
    rng: np.random.Generator,
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Intensities and reference masks in the crops.

    Parameters
    ----------
    volume : LabelVolume
        The volume that the slices cross.
    target : Target
        The structure of the sample.
    space : SliceSpace
        Positions of the slices.
    heights : (S,) float64
        Positions of the slices in mm.
    centres : (S, 2) float64
        Middle of each crop in mm.
    sides : (S,) float64
        Side of each crop in mm.
    pixel_mm : float
        Size of a pixel of the volume.
    rng : numpy.random.Generator
        Source of all random choices.
    size : int
        Side of the crops in model pixels.

    Returns
    -------
    (S, N, N) float32, (S, N, N) bool
    """
    step_mm = float(sides[0]) / size
    finer = _FINE if volume.image is None else int(np.clip(np.ceil(step_mm / pixel_mm - 0.2), 1, 4))
    fine = size * finer
    if volume.image is not None:
        points = space.points(heights, *_lines(centres, sides, fine))
        return _sampled(volume, target, points, finer)
    native = int(np.ceil(float(sides[0]) / (0.9 * pixel_mm)))
    count = min(native, fine)
    thick = 2 if rng.random() < 0.3 else 1
    thickness_mm = abs(float(heights[1])) / 2 if thick == 2 else 0.0
    images, references = [], []
    rows, columns = _lines(centres, sides, count)
    tissues = target.with_added_tissues(volume.tissue, rng)
    layers = []
    for layer in range(thick):
        points = space.points(heights + (layer - (thick - 1) / 2) * thickness_mm, rows, columns)
        layers.append(
            target.applied(_nearest_labels(volume, points), points, float(sides[0]) / count, len(volume.tissue))
        )
    # All layers are painted at once, so that a label has the same intensity in all of them.
    labels = np.concatenate([smoothly_finer(labels, fine) for labels, _ in layers])
    image = painted(labels, tissues, rng, pixel_mm=float(sides[0]) / fine, alike=volume.tissues)
    weights = upsampling(count, fine)
    for layer_image, (_, mask) in zip(np.split(image, thick), layers, strict=True):
        share = mask.astype(np.float32)
        share = np.asarray(weights @ share @ weights.T) if count < fine else share
        references.append(block_mean(share, finer))
        images.append(block_mean(layer_image, finer))
    return np.mean(images, axis=0, dtype=np.float32), np.mean(references, axis=0) > 0.5


def _lines(
    centres: NDArray[np.float64], sides: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, count) rows and columns of the pixels of each crop, in mm."""
    relative = ((np.arange(count) + 0.5) / count - 0.5)[None] * sides[:, None]
    return relative + centres[:, :1], relative + centres[:, 1:]


def _sampled(
    volume: LabelVolume, target: Target, points: NDArray[np.float32], finer: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A real image and the mask of the structure, interpolated linearly."""
    at = np.moveaxis(points, -1, 0) / np.asarray(volume.spacing_mm, dtype=np.float32)[:, None, None, None]
    low = np.clip(np.floor(at.reshape(3, -1).min(1)).astype(int) - 1, 0, np.array(volume.labels.shape) - 1)
    high = np.clip(np.ceil(at.reshape(3, -1).max(1)).astype(int) + 2, low + 1, volume.labels.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    local = at - low.astype(np.float32)[:, None, None, None]
    assert volume.image is not None
    image = ndimage.map_coordinates(volume.image[box], local, order=1, mode="nearest", prefilter=False)
    mask = np.isin(volume.labels[box], target.labels).astype(np.float32)
    share = ndimage.map_coordinates(mask, local, order=1, mode="constant", prefilter=False)
    return block_mean(image, finer), block_mean(share, finer) > 0.5
