"""Maps (uncertainty, spread, risk) sampled on a surface, and turned into colours."""

from __future__ import annotations

from enum import Enum

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import index_from_lps
from medsam_planner.mesh.triangles import Surface

__all__ = ["Colormap", "colour_by", "rgb_from_values", "value_range"]

NO_VALUE_RGB = (128, 128, 128)
"""Grey, which none of the colormaps contains: here the map says nothing."""

_BEYOND_VOXELS = 1.0
"""A surface closed at the volume's border lies up to one voxel outside; there the border voxel's value holds."""


class Colormap(Enum):
    """Perceptually uniform colormaps that stay readable with a colour-vision deficiency."""

    VIRIDIS = "viridis"
    MAGMA = "magma"
    CIVIDIS = "cividis"
    INFERNO = "inferno"
    PLASMA = "plasma"


def colour_by(surface: Surface, volume: highdicom.Volume, *, name: str) -> Surface:
    """Sample `volume` at the vertices (trilinear) and keep the values under `name`.

    Parameters
    ----------
    surface : Surface
    volume : highdicom.Volume
        (K, J, I) scalar map on any grid of the same frame of reference. NaN means "not defined here".
    name : str
        What the values are, with their unit (``"boundary_spread_mm"``).

    Returns
    -------
    Surface
        With NaN at vertices that lie more than a voxel outside the map, or beside NaN voxels only.

    Raises
    ------
    GeometryError
        If the map is not scalar, belongs to another frame of reference, or touches no vertex.
    """
    array = volume.array
    if array.ndim != 3:
        raise GeometryError(f"Expected one scalar map (K, J, I), got an array of shape {array.shape}.")
    uid = volume.frame_of_reference_uid
    if uid is not None and surface.frame_of_reference_uid not in (None, str(uid)):
        raise GeometryError(
            f"The map has frame of reference {uid}, the surface {surface.frame_of_reference_uid}: positions do not "
            "correspond. Register the studies first."
        )
    index = index_from_lps(volume.affine, surface.vertices_lps_mm).T
    limit = np.array(array.shape)[:, None] - 1
    outside = ((index < -_BEYOND_VOXELS) | (index > limit + _BEYOND_VOXELS)).any(axis=0)
    if outside.all():
        raise GeometryError(
            "No vertex of the surface lies in the map's grid. Both must be in LPS mm of one frame of reference."
        )
    numbers = array.astype(np.float64)
    known = np.isfinite(numbers)
    values = ndimage.map_coordinates(np.where(known, numbers, 0.0), index, order=1, mode="nearest")
    if not known.all():
        weight = ndimage.map_coordinates(known.astype(np.float64), index, order=1, mode="nearest")
        values = np.where(weight > 1e-6, values / np.maximum(weight, 1e-6), np.nan)
    values[outside] = np.nan
    return surface.with_values(name, values)


def value_range(values: ArrayLike) -> tuple[float, float]:
    """Lowest and highest finite value, widened when they are equal; (0, 1) without any."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low, low + 1.0)


def rgb_from_values(
    values: ArrayLike, *, limits: tuple[float, float] | None = None, colormap: Colormap = Colormap.VIRIDIS
) -> NDArray[np.uint8]:
    """Colours of `values`.

    Parameters
    ----------
    values : (...) float
        NaN becomes grey.
    limits : (low, high), optional
        Values that take the first and last colour, :func:`value_range` by default. Give them to compare surfaces.
    colormap : Colormap

    Returns
    -------
    (..., 3) uint8

    Raises
    ------
    GeometryError
        If `limits` are not finite with low < high.
    """
    from matplotlib import colormaps

    numbers = np.asarray(values, dtype=np.float64)
    low, high = value_range(numbers) if limits is None else limits
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise GeometryError(f"Expected finite colour limits with low < high, got ({low}, {high}).")
    known = np.isfinite(numbers)
    scaled = np.clip((np.where(known, numbers, low) - low) / (high - low), 0.0, 1.0)
    rgb: NDArray[np.uint8] = colormaps[colormap.value](scaled, bytes=True)[..., :3].copy()
    rgb[~known] = NO_VALUE_RGB
    return rgb
