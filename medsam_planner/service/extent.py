"""How large a mask is in the patient."""

from __future__ import annotations

import highdicom
import numpy as np

from medsam_planner.geometry import spacing_mm
from medsam_planner.service.display import Plane, display_for
from prompts.masks import mask_box

__all__ = ["extent_mm"]

_ACROSS = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
"""Planes across right-left, front-back and feet-head."""


def extent_mm(mask: highdicom.Volume) -> tuple[float, float, float] | None:
    """Size of the box around a mask, outer sides of its voxels, in mm.

    Parameters
    ----------
    mask : (K, J, I) Volume of bool

    Returns
    -------
    (3,) float or None
        Along the array axes nearest to right-left, front-back and feet-head; None for an empty mask.
    """
    box = mask_box(np.asarray(mask.array, dtype=bool))
    if box[0].stop == box[0].start:
        return None
    spacing = spacing_mm(mask.affine)
    axes = [display_for(mask, plane).axis for plane in _ACROSS]
    right_left, front_back, feet_head = (float((box[axis].stop - box[axis].start) * spacing[axis]) for axis in axes)
    return right_left, front_back, feet_head
