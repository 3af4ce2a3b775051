"""Distance to the surface that a mask stands for, between the voxels and without a bias.

Measured to the centres of a mask's voxels a distance is too large, measured to their boxes too small, by up to half a
voxel each way and depending on the direction: a slanting plane becomes stairs whose edges stick out. For a *bound* that
is what is wanted; for a *probability* it is an error of several percent. Here the depth of each outermost voxel below
the surface is estimated from a slightly blurred mask, and the structure becomes the union of the balls that just fit
inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from medsam_planner.planning.distance import distance_transform_mm

__all__ = ["surface_distance_mm"]

_BLUR_VOXELS = 0.6
"""Smallest blur that levels the stairs. The blur of a step edge is a normal distribution function, so its probit is the
depth up to a factor."""
_SATURATED = 0.98
"""Above this a blurred voxel says nothing more about its depth."""
_LEVELS = 8


def surface_distance_mm(
    inside: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Distance of each voxel centre to the estimated surface.

    On planes, balls and cylinders of radius >= 2 mm the mean error at 1 to 5 mm is within 0.15 mm on a 1 mm grid and
    within 0.4 mm on one of 2.5 × 0.7 × 0.9 mm (``tests/medsam_planner/planning/test_soft_surface.py``).

    Parameters
    ----------
    inside : (K, J, I) bool
    spacing_mm : (3,) float

    Returns
    -------
    distance_mm : (K, J, I) float32
        At or below 0 inside.
    largest_depth_mm : float
        Radius of the largest ball used.
    """
    blurred = ndimage.gaussian_filter(inside.astype(np.float32), _BLUR_VOXELS, mode="nearest")
    probit = ndtri(np.clip(blurred, 1e-4, 1 - 1e-4)).astype(np.float32)
    slope = np.sqrt(sum(np.square(part) for part in np.gradient(probit, *spacing_mm)))
    outermost = inside & (blurred < _SATURATED)
    distance = distance_transform_mm(~inside, spacing_mm)
    if not outermost.any():
        return distance, 0.0
    # No voxel lies deeper than the nearest voxel outside is far.
    deepest = distance_transform_mm(inside, spacing_mm)
    depth = np.clip(probit / np.maximum(slope, 1e-6), 0.0, deepest)
    top = float(depth[outermost].max())
    step = top / _LEVELS
    for level in range(1, _LEVELS + 1):
        chosen = outermost & (depth >= (level - 0.25) * step)
        if step > 0 and chosen.any():
            np.minimum(distance, distance_transform_mm(~chosen, spacing_mm) - np.float32(level * step), out=distance)
    return distance, top
