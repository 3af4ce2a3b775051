"""Move a clicked landmark to the nearest extremum: of a mask's surface along a direction, or of the intensity."""

from __future__ import annotations

import math
from collections.abc import Mapping

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.landmarks.landmark_file import Landmark
from prompts.shapes import Click

__all__ = ["DIRECTIONS", "refined_on_image", "refined_on_mask"]

DIRECTIONS: Mapping[str, tuple[float, float, float]] = {
    "left": (1, 0, 0),
    "right": (-1, 0, 0),
    "posterior": (0, 1, 0),
    "anterior": (0, -1, 0),
    "superior": (0, 0, 1),
    "inferior": (0, 0, -1),
}
"""Unit vectors in LPS by name."""
_LARGEST_RADIUS_MM = 30.0
_SMOOTHING_MM = 1.0
"""Noise is no extremum."""


def refined_on_mask(click_lps_mm: ArrayLike, mask: highdicom.Volume, direction: str, radius_mm: float) -> Landmark:
    """The voxel of a mask that lies farthest in a direction, within a ball around the click.

    Parameters
    ----------
    click_lps_mm : (3,) float
    mask : (K, J, I) Volume
        Bool.
    direction : str
        One of :data:`DIRECTIONS`; the ASIS is the most anterior place of the ilium near the click.
    radius_mm : float
        Of the ball, up to 30.

    Returns
    -------
    Landmark
        Voxels that lie equally far (within half a voxel) give their middle.

    Raises
    ------
    ConfigError
        If the mask has no voxel there, or the extremum lies on the ball's edge: then it is no extremum but the way
        to one.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(f"Expected one of {', '.join(DIRECTIONS)}, got {direction!r}.")
    click, index, places = _around(click_lps_mm, mask, radius_mm)
    inside = np.asarray(mask.array)[tuple(index.T)] > 0
    if not inside.any():
        raise ConfigError(f"Expected the mask within {radius_mm:g} mm of the click, found none of it. Click nearer.")
    places = places[inside]
    along = places @ np.array(DIRECTIONS[direction])
    found = places[along >= along.max() - float(spacing_mm(mask.affine).min()) / 2].mean(axis=0)
    if float(np.linalg.norm(found - click)) > radius_mm - float(spacing_mm(mask.affine).max()):
        raise _no_extremum(radius_mm)
    return _refined(found, click, f"most {direction} of the mask within {radius_mm:g} mm")


def refined_on_image(
    click_lps_mm: ArrayLike, study: highdicom.Volume, radius_mm: float, *, brightest: bool
) -> Landmark:
    """The brightest or darkest voxel of a study within a ball around the click, between voxels where it is a peak.

    Raises
    ------
    ConfigError
        If the study has no voxel there, or the extremum lies on the ball's edge.
    """
    click, index, _ = _around(click_lps_mm, study, radius_mm)
    low, high = np.maximum(index.min(axis=0) - 4, 0), index.max(axis=0) + 5
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part = np.asarray(study.array[box], dtype=np.float64) * (1 if brightest else -1)
    smooth = ndimage.gaussian_filter(part, _SMOOTHING_MM / spacing_mm(study.affine), mode="nearest")
    values = smooth[tuple((index - low).T)]
    best = index[int(np.argmax(values))]
    around = tuple(slice(max(at - 1, 0), at + 2) for at in (best - low).tolist())
    if smooth[around].max() > values.max():
        raise _no_extremum(radius_mm)
    peak = best + _between_voxels(smooth, best - low)
    word = "brightest" if brightest else "darkest"
    return _refined(lps_from_index(study.affine, peak), click, f"{word} within {radius_mm:g} mm")


def _around(
    click_lps_mm: ArrayLike, volume: highdicom.Volume, radius_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """The click, and indices and places of the voxels within a ball around it."""
    click = np.array(Click(click_lps_mm).position_lps_mm, dtype=np.float64)
    if not 0 < radius_mm <= _LARGEST_RADIUS_MM:
        raise ConfigError(f"Expected a radius above 0 and up to {_LARGEST_RADIUS_MM:g} mm, got {radius_mm!r}.")
    middle = index_from_lps(volume.affine, click)
    reach = radius_mm / spacing_mm(volume.affine)
    ranges = [
        np.arange(max(0, math.ceil(at - far)), min(count - 1, math.floor(at + far)) + 1)
        for at, far, count in zip(middle, reach, volume.spatial_shape, strict=True)
    ]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    places = lps_from_index(volume.affine, index)
    near = np.linalg.norm(places - click, axis=1) <= radius_mm
    if not near.any():
        raise ConfigError("Expected the click inside the image, got one beyond it.")
    return click, index[near], places[near]


def _no_extremum(radius_mm: float) -> ConfigError:
    return ConfigError(
        f"No extremum lies within {radius_mm:g} mm of the click: the values still rise at the edge. Click nearer to "
        "the landmark, or widen the radius."
    )


def _between_voxels(values: NDArray[np.float64], peak: NDArray[np.int64]) -> NDArray[np.float64]:
    """Offset (3,) of the top of a parabola through the peak and its neighbours on each axis, at most half a voxel."""
    offset = np.zeros(3)
    for axis in range(3):
        if 0 < peak[axis] < values.shape[axis] - 1:
            before, here, after = (values[tuple(peak + step * np.eye(3, dtype=int)[axis])] for step in (-1, 0, 1))
            bend = before - 2 * here + after
            if bend < 0:
                offset[axis] = np.clip((before - after) / (2 * bend), -0.5, 0.5)
    return offset


def _refined(found: NDArray[np.float64], click: NDArray[np.float64], how: str) -> Landmark:
    x, y, z = found.tolist()
    return Landmark((x, y, z), tuple(click.tolist()), how)
