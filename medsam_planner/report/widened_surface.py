"""The surface of a structure with its safety margin, from the field that the planner measures against."""

from __future__ import annotations

import highdicom
import numpy as np

from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.planning.field_construction import build_distance_field
from medsam_planner.planning.structures import Avoid, StructureRole
from medsam_planner.report.model import PlanReport
from medsam_planner.volumes import volume_like
from prompts.masks import mask_box

__all__ = ["WIDENED_TRIANGLES", "widened_surface", "widened_surfaces"]

WIDENED_TRIANGLES = 30_000
"""Of one shell at most, as far as it moves by less than half a voxel diagonal."""


def widened_surfaces(report: PlanReport) -> dict[str, Surface]:
    """By structure, the margins of those that must be avoided, are drawn and have one."""
    found = {}
    for name in report.surfaces:
        mask = report.mask(name)
        if report.roles.get(name) is StructureRole.AVOID and mask is not None and mask.array.any():
            made = widened_surface(mask, report.margins_mm.get(name, 0.0))
            if made is not None:
                found[name] = made
    return found


def widened_surface(mask: highdicom.Volume, margin_mm: highdicom.Volume | float) -> Surface | None:
    """Where the margin of a structure to avoid ends.

    The zero level of the planner's margin field, half a voxel further out: the field counts from the voxels' centres,
    and a drawn surface runs about half a voxel beyond those.

    Parameters
    ----------
    mask : highdicom.Volume
        bool, not empty.
    margin_mm : highdicom.Volume or float
        As :class:`~medsam_planner.planning.Avoid` takes it.

    Returns
    -------
    Surface or None
        Closed, also at the edge of the volume; None where there is no margin.
    """
    if isinstance(margin_mm, highdicom.Volume):  # which need not be known away from the structure
        margin_mm = volume_like(mask, np.maximum(np.nan_to_num(margin_mm.array.astype(np.float32)), 0))
        widest = float(margin_mm.array[mask.array > 0].max())
    else:
        widest = float(margin_mm)
    if widest <= 0:
        return None
    spacing = np.linalg.norm(mask.affine[:3, :3], axis=0)
    diagonal = voxel_diagonal_mm(mask.affine)
    box = mask_box(mask.array > 0)
    low, high = np.array([[part.start, part.stop - 1] for part in box]).T
    reach = (widest + 2 * diagonal) / spacing
    corners = lps_from_index(mask.affine, np.stack([low - reach, high + reach]))
    field = build_distance_field(Avoid("widened", mask, margin_mm), corners)
    beyond = field.layers[0].values_mm - np.float32(spacing.min() / 2)
    soft = highdicom.Volume(
        array=np.clip(0.5 - beyond / np.float32(4 * diagonal), 0.0, 1.0),
        affine=field.affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=mask.frame_of_reference_uid,
    )
    return surface_from_probability(soft, smoothing_iterations=0, max_triangles=WIDENED_TRIANGLES)
