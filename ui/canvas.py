"""State of the canvas between two actions, as ``viewer/main.js`` reads it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from medsam_planner.geometry import acquisition_axis
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.patient_identity import identity_rows
from medsam_planner.service.display import Plane
from medsam_planner.service.slice_layers import maps
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure
from medsam_planner.service.view3d import scene_3d
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import StudyVolume
from ui.review_scene import review_scene
from ui.wording import NO_STUDY

__all__ = ["closed_scene", "scene"]


Tool = Literal["box", "target", "entry"]
"""What a click on the canvas does."""


def scene(
    workbench: Workbench, *, shows_path: bool = False, shows_structure: bool = False, tool: Tool | None = None
) -> dict[str, Any]:
    """State of the canvas as a JSON document; the browser requests each slice separately.

    Parameters
    ----------
    workbench : Workbench
    shows_path : bool
        Go to the slices through the target of the trajectory that is shown, if there is one.
    shows_structure : bool
        In the planes it was not prompted on, go to the slices through the middle of the active structure.
    tool : {"box", "target", "entry"}, optional
        What a click does from now on.
    """
    now, number = workbench.snapshot, next(workbench.screen_numbers)
    study = None if workbench.is_waiting else now.study
    if study is None:
        return closed_scene(NO_STUDY) | {"number": number, "token": workbench.token, "work": workbench.key}
    return {
        "is_open": True,
        "number": number,
        "token": workbench.token,
        "version": now.version,
        "prompted": "" if now.structure is None or not now.structure.prompts else now.structure.steps.digest,
        "work": workbench.key,
        "views": f"views/{workbench.token}",
        "slices": f"slices/{workbench.token}",
        "shape": list(study.spatial_shape),
        "affine": np.asarray(study.affine, dtype=np.float64)[:3].tolist(),
        "planes": {plane.value: display.document for plane, display in now.displays.items()},
        "body": now.body,
        "unit": "HU" if volume_modality(study) == "CT" else "",
        "banner": _banner(study),
        "first_plane": _first_plane(now, study).value,
        "windows": now.windows,
        "overlays": _overlays(now.structure),
        "legend": [
            {"name": one.name, "colour": one.colour, "active": one.name == now.active}
            for one in now.structures.values()
            if not one.listed.is_hidden
        ],
        "hidden": [one.name for one in now.structures.values() if one.listed.is_hidden],
        "go_to": _target_slices(now) if shows_path else _middle_slices(now) if shows_structure else None,
        "space": scene_3d(workbench),
        "tool": tool,
        "review": review_scene(workbench),
        "empty_text": "",
    }


def closed_scene(message: str) -> dict[str, Any]:
    """A canvas without a slice, with a message in its place."""
    return {"is_open": False, "version": 0, "empty_text": message, "legend": []}


def _overlays(active: Structure | None) -> list[list[str]]:
    choices = [["outline", "mask outline"], ["fill", "mask filled"]]
    return choices + [[one.key, one.label] for one in maps(active)]


def _banner(study: StudyVolume) -> list[tuple[str, str]]:
    """Whom and what the study is of, as its DICOM files say it; nothing for other files."""
    source = study.source
    if source is None or not source.datasets:
        return []
    wanted = [row for row in identity_rows(study) if row[0] in ("patient", "patient ID", "study date")]
    description = source.series_description.strip()
    return wanted + ([("series", description)] if description else [])


def _first_plane(now: Snapshot, study: StudyVolume) -> Plane:
    """The plane in which the study was acquired, where slices have the best resolution."""
    axis = acquisition_axis(study.affine)
    return next(plane for plane, display in now.displays.items() if display.axis == axis)


def _middle_slices(now: Snapshot) -> dict[str, int] | None:
    """Middle slice of the structure by plane, except the plane it was propagated along; None for an empty structure."""
    result = None if now.structure is None else now.structure.result
    if result is None or not result.mask.array.any():
        return None
    inside = result.mask.array
    middles = [int(np.median(np.flatnonzero(inside.any(axis=others)))) for others in ((1, 2), (0, 2), (0, 1))]
    return {
        plane.value: middles[display.axis]
        for plane, display in now.displays.items()
        if display.axis != result.trace.axis
    }


def _target_slices(now: Snapshot) -> dict[str, int] | None:
    """Slice through the target of the trajectory that is shown, by plane; None without one."""
    trajectory = now.chosen_trajectory_lps_mm
    if trajectory is None:
        return None
    x, y, z = trajectory[1].tolist()
    return {plane.value: now.slice_of(plane, (x, y, z)) for plane in now.displays}
