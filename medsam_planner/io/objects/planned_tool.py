"""The planned tools as segments of the study, because every viewer shows segments and few show coordinates.

They lie in an object of their own, ``plan_seg.dcm``: a tool passes through structures, and a label map holds no two
segments in one voxel. The margin is the shell that the placement error allows around the tool, without the tool.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import highdicom
import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.io.objects.concepts import private
from medsam_planner.io.objects.identity import LONGEST_TEXT
from medsam_planner.io.objects.segmentation import Algorithm, Segment
from medsam_planner.io.objects.structure_codes import StructureCodes, structure_codes
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = ["margin_label", "planned_segments", "tool_label"]

_TOOL_COLOURS = ("#ffffff", "#8cafff")
"""Of the first tool and of all others, as in the report's pictures."""
_MARGIN_COLOUR = "#6ecbff"
_STEPS_PER_VOXEL = 4
_SEARCH = Algorithm("MedSAM Planner trajectory search")


def tool_label(name: str) -> str:
    """Label of a tool's segment."""
    return f"{name}: planned tool"[-LONGEST_TEXT:]


def margin_label(name: str) -> str:
    """Label of the segment of a tool's placement error."""
    return f"{name}: placement error"[-LONGEST_TEXT:]


def planned_segments(document: Mapping[str, Any], study: StudyVolume) -> list[Segment]:
    """Each tool of a plan on its best path, and what its placement error adds, on the grid of the study.

    A voxel is of the tool when its centre is within the radius of the path, or the path itself passes through it: a
    thin tool stays whole. No voxel is in two segments: tools come before margins, and earlier ones before later ones.

    Parameters
    ----------
    document
        What ``plan.json`` holds.
    study : (K, J, I) StudyVolume

    Returns
    -------
    list of Segment
        Those that have a voxel; tools first.
    """
    planned = [tool for tool in document["tools"] if tool["alternatives"]]
    taken = np.zeros(study.spatial_shape, dtype=bool)
    segments = []
    for is_margin, (number, tool) in itertools.product((False, True), enumerate(planned)):
        mask = _swept(tool, study, with_error=is_margin) & ~taken
        taken |= mask
        if mask.any():
            colour = _MARGIN_COLOUR if is_margin else _TOOL_COLOURS[min(number, 1)]
            label = margin_label(tool["name"]) if is_margin else tool_label(tool["name"])
            found = _margin_codes() if is_margin else _tool_codes(tool["name"])
            segments.append(Segment(label, volume_like(study, mask), colour, _SEARCH, found, "AUTOMATIC"))
    return segments


def _swept(tool: Mapping[str, Any], study: highdicom.Volume, *, with_error: bool) -> NDArray[np.bool_]:
    """(K, J, I) voxels of the tool, or those within its placement error too."""
    line, size = tool["alternatives"][0], tool["tool"]
    ends = np.array([line["entry_lps_mm"], line["target_lps_mm"]], dtype=np.float64)
    errors = np.array([size["entry_error_mm"], size["target_error_mm"]]) if with_error else np.zeros(2)
    box = _box(ends, size["radius_mm"] + errors.max(), study)
    result = np.zeros(study.spatial_shape, dtype=bool)
    index = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), axis=-1)
    places = lps_from_index(study.affine, index)
    along = ends[1] - ends[0]
    fraction = np.clip((places - ends[0]) @ along / max(along @ along, 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(places - ends[0] - fraction[..., None] * along, axis=-1)
    result[box] = distance <= size["radius_mm"] + errors[0] + fraction * (errors[1] - errors[0])
    steps = int(np.ceil(_STEPS_PER_VOXEL * np.linalg.norm(along) / spacing_mm(study.affine).min())) + 1
    on_path = np.rint(index_from_lps(study.affine, np.linspace(ends[0], ends[1], steps))).astype(int)
    inside = ((on_path >= 0) & (on_path < study.spatial_shape)).all(axis=1)
    result[tuple(on_path[inside].T)] = True
    return result


def _box(ends: NDArray[np.float64], reach_mm: float, study: highdicom.Volume) -> tuple[slice, ...]:
    """Slices of the grid outside which nothing is within `reach_mm` of the path."""
    index = index_from_lps(study.affine, ends)
    # Half the width of the ball's image along each array axis: row norms of the inverse.
    reach = reach_mm * np.linalg.norm(np.linalg.inv(study.affine[:3, :3]), axis=1)
    low = np.clip(np.floor(index.min(axis=0) - reach), 0, study.spatial_shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + reach) + 1, 0, study.spatial_shape).astype(int)
    return tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))


def _tool_codes(name: str) -> StructureCodes:
    """Those of a device that the table has, such as a needle."""
    found = structure_codes(name)
    physical = CodedConcept.from_code(codes.SCT.PhysicalObject)
    if found.is_known and found.category == physical:
        return found
    return StructureCodes(physical, private("PlannedTool"))


def _margin_codes() -> StructureCodes:
    spatial = CodedConcept.from_code(codes.SCT.SpatialAndRelationalConcept)
    return StructureCodes(spatial, private("PlacementMargin"))
