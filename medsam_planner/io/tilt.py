"""A sheared stack of slices (gantry tilt) on a straight grid.

The slices stay where they are. Only within its plane is each one shifted, by linear interpolation, so that a pixel of
the next slice lies straight behind the same pixel of this one; the field grows so that nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import GeometryError, StudyError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.io.slice_stack import POSITION_TOLERANCE_MM, SlicePlane, Stack

__all__ = ["straighten", "straighten_array"]


def straighten(
    frames: NDArray[np.float32], planes: Sequence[SlicePlane], frame_of_reference_uid: str | None
) -> tuple[highdicom.Volume, dict[str, Any]]:
    """Resample `frames` (K, rows, columns), in stacking order as `planes`, to a straight grid.

    Returns
    -------
    volume, operation
        The straight volume, and the record of what was done.

    Raises
    ------
    StudyError
        If the slices are not evenly spaced and evenly shifted.
    """
    stack = Stack.of(planes)
    positions = np.asarray([plane.position_lps_mm for plane in planes])
    step = stack.normal * stack.steps_mm.mean() + stack.shift_mm
    astray = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(planes)), step), axis=1)
    if astray.max() > POSITION_TOLERANCE_MM:
        worst = planes[int(astray.argmax())].name
        raise StudyError(
            f"A tilted stack can be straightened when its slices are evenly shifted; {worst} "
            f"lies {astray.max():.2f} mm from where an even shift puts it (at most {POSITION_TOLERANCE_MM} mm)."
        )
    orientation = np.asarray(planes[0].orientation)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = orientation[3:] * planes[0].pixel_spacing_mm[0]
    affine[:3, 2] = orientation[:3] * planes[0].pixel_spacing_mm[1]
    affine[:3, 3] = positions[0]
    array, straight, operation = straighten_array(frames, affine)
    volume = highdicom.Volume(
        array=array, affine=straight, coordinate_system="PATIENT", frame_of_reference_uid=frame_of_reference_uid
    )
    return volume, operation


def straighten_array(
    array: NDArray[np.float32], sheared_affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Resample `array` (K, J, I), whose axis 0 is not perpendicular to the other two, to perpendicular axes.

    Returns
    -------
    array, affine, operation
        (K, J', I') float32; its affine to LPS mm; the record of what was done.

    Raises
    ------
    GeometryError
        If axes 1 and 2 are not perpendicular, or the result's voxels are not where its affine puts them.
    """
    columns = sheared_affine[:3, :3]
    unit = columns / np.linalg.norm(columns, axis=0)
    if abs(unit[:, 1] @ unit[:, 2]) > 1e-3:
        raise GeometryError(
            "Expected a stack of slices with perpendicular rows and columns, got a grid sheared within its slices."
        )
    normal = np.cross(columns[:, 1], columns[:, 2])
    normal /= np.linalg.norm(normal)
    straight = sheared_affine.copy()
    straight[:3, 0] = normal * (columns[:, 0] @ normal)
    # Rows and columns to walk in slice 0 to be where pixel (0, 0) of slice k is.
    drift = index_from_lps(straight, lps_from_index(sheared_affine, [[k, 0, 0] for k in range(array.shape[0])]))[:, 1:]
    first = np.floor(np.minimum(drift.min(axis=0), 0.0) + 1e-6).astype(int)
    last = np.ceil(np.maximum(drift.max(axis=0), 0.0) - 1e-6).astype(int) + np.array(array.shape[1:]) - 1
    straight[:3, 3] = lps_from_index(straight, [0, *first])
    shape = (array.shape[0], *(last - first + 1))
    fill = float(array.min())
    result = np.empty(shape, dtype=np.float32)
    for k, frame in enumerate(array):
        # "nearest" and not "constant": rounding must not push the outermost pixels out of their own slice.
        result[k] = ndimage.affine_transform(
            frame, np.ones(2), offset=first - drift[k], output_shape=shape[1:], order=1, mode="nearest"
        )
        rows, columns = (np.arange(shape[axis + 1]) + first[axis] - drift[k, axis] for axis in (0, 1))
        result[k, (rows < -0.5) | (rows > frame.shape[0] - 0.5), :] = fill
        result[k, :, (columns < -0.5) | (columns > frame.shape[1] - 0.5)] = fill
    error = _largest_error_mm(sheared_affine, straight, drift - first, shape)
    if error > 1e-3:
        raise GeometryError(
            f"Straightening put voxels up to {error:.4f} mm from their place; expected at most 0.001 mm."
        )
    tilt = float(np.rad2deg(np.arccos(np.clip(unit[:, 0] @ normal, -1.0, 1.0))))
    operation = {
        "name": "resample_tilt",
        "tilt_deg": round(min(tilt, 180.0 - tilt), 4),
        "interpolation": "linear",
        "fill_value": fill,
        "shape_before": [int(n) for n in array.shape],
        "shape_after": [int(n) for n in shape],
        "largest_position_error_mm": float(f"{error:.1e}"),
    }
    return result, straight, operation


def _largest_error_mm(
    sheared: NDArray[np.float64], straight: NDArray[np.float64], drift: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Distance between where a result voxel claims to be and where its value was taken from, over all slice corners."""
    errors = []
    for k in range(shape[0]):
        corners = np.array([(k, j, i) for j in (0, shape[1] - 1) for i in (0, shape[2] - 1)], dtype=np.float64)
        taken_from = corners - np.array([0.0, *drift[k]])
        difference = lps_from_index(straight, corners) - lps_from_index(sheared, taken_from)
        errors.append(np.linalg.norm(difference, axis=1).max())
    return float(max(errors))
