"""The 3D view of a workbench: which surfaces, trajectories and marks there are, and the files that a client draws.

The scene is a small document that comes with every screen; the surfaces are PLY files in LPS mm, each at an address of
the result or plan it was drawn from, so that a client asks for each once.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from medsam_planner.drawing.camera import View
from medsam_planner.errors import MedsamPlannerError, NotThereError, StudyError
from medsam_planner.service.core.drawn_surfaces import DRAWN_FOLDER, LIST_NAME, PlanSurface
from medsam_planner.service.core.view_requests import DrawPicture, Part
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Role, Structure
from medsam_planner.service.workbench import Workbench

__all__ = ["plan_surface_path", "scene_3d", "scene_file", "shows_result", "structure_surface_path"]

_SKIN_COLOUR = "#c8b9a6"
_OPACITY = {PlanSurface.WIDENED: 0.25, PlanSurface.RISK: 0.9, PlanSurface.ENTERED: 0.14}
_CORRIDOR_OPACITY = 0.35
_STALE_OPACITY = 0.5
_NOT_DRAWN: dict[str, Any] = {"surfaces": [], "scale": None}
_GONE = "That surface is of an earlier state. Reload the page."


def scene_3d(workbench: Workbench) -> dict[str, Any]:
    """What the 3D view shows, as plain JSON values; positions in LPS mm.

    Parameters
    ----------
    workbench : Workbench
        With an open study.

    Returns
    -------
    dict
        ``surfaces`` each with ``kind``, ``name``, ``colour``, ``opacity`` and ``address``; ``trajectories`` in the
        order of the alternatives; ``chosen``; ``target`` and ``entry`` or None; ``scale`` of the risk map or None;
        ``is_drawing`` while the surfaces of the plan are still to come.
    """
    now = workbench.snapshot
    drawn = _drawn_of_plan(workbench)
    draft, plan = now.draft, now.plan
    return {
        "address": f"surfaces/{workbench.token}",
        "surfaces": [
            *(_structure_entry(one, workbench.token) for one in now.structures.values() if one.stored is not None),
            *_plan_entries(workbench, drawn),
        ],
        "scale": drawn["scale"],
        "is_drawing": now.is_being_written and drawn is _NOT_DRAWN,
        "trajectories": []
        if plan is None
        else [
            {
                "entry": list(one.entry_lps_mm),
                "target": list(one.target_lps_mm),
                "clearance_mm": round(one.certified_clearance_mm, 1) if abs(one.certified_clearance_mm) < 1e6 else None,
            }
            for one in plan.alternatives
        ],
        "chosen": now.chosen,
        "has_caution": now.assessment is None or now.assessment.verdict.kind != "feasible",
        "radius_mm": draft.tool_radius_mm,
        "target": _ball(draft.target_lps_mm, draft.target_radius_mm),
        "entry": _ball(draft.entry_lps_mm, draft.entry_radius_mm),
    }


def structure_surface_path(workbench: Workbench, job: str) -> Path:
    """PLY file of the surface of a 3D result that is shown; it is drawn where it is not there yet.

    Parameters
    ----------
    workbench : Workbench
    job : str
        Which job made the result.

    Raises
    ------
    NotThereError
        If no structure shows that result, or it is empty.
    MedsamPlannerError
        If no surface can be made of it.
    """
    if job not in _shown_jobs(workbench):
        raise NotThereError(_GONE)
    return workbench.service.computations.draw_surface(workbench.require_work(), job)


def shows_result(workbench: Workbench, job: str) -> bool:
    """Whether the 3D result that a job made is shown, and is still the newest of its structure."""
    return job in _shown_jobs(workbench) & {one.job for one in workbench.require_work().state.results.values()}


def plan_surface_path(workbench: Workbench, job: str, number: int) -> Path:
    """PLY file of a surface of the plan that is shown.

    Parameters
    ----------
    workbench : Workbench
    job : str
        Which job made the plan.
    number : int
        In the order of the document.

    Raises
    ------
    NotThereError
        If that plan is not shown, or has no such surface.
    """
    if job != workbench.snapshot.plan_job or not 0 <= number < len(_drawn_of_plan(workbench)["surfaces"]):
        raise NotThereError(_GONE)
    return _folder(workbench) / f"{number}.ply"


def scene_file(workbench: Workbench, view: View | None) -> bytes:
    """A picture of the scene as PNG from a standard view, or the surfaces as GLB.

    Parameters
    ----------
    workbench : Workbench
    view : View or None
        None for a GLB file, which has the hidden structures, too.

    Raises
    ------
    StudyError
        If there is no surface.
    """
    now = workbench.snapshot
    parts = []
    hidden = {one.name for one in now.structures.values() if one.listed.is_hidden and view is not None}
    for one in now.structures.values():
        if one.stored is not None and one.name not in hidden:
            path = structure_surface_path(workbench, one.stored.job)
            parts.append(Part(path, one.name, one.colour, _opacity(one)))
    for number, entry in enumerate(_plan_entries(workbench, _drawn_of_plan(workbench))):
        if entry["name"] not in hidden:
            parts.append(Part(_folder(workbench) / f"{number}.ply", entry["name"], entry["colour"], entry["opacity"]))
    if not parts:
        raise StudyError("There is no surface yet. Segment a structure in 3D first.")
    plan, chosen = now.plan, now.chosen_trajectory_lps_mm
    shown = () if plan is None or chosen is None else (plan.alternatives[min(now.chosen, len(plan.alternatives) - 1)],)
    with tempfile.TemporaryDirectory(prefix="medsam-planner-view-") as folder:
        target = Path(folder) / ("scene.glb" if view is None else "view.png")
        workbench.service.computations.draw(
            DrawPicture(
                session=now.work,
                parts=tuple(parts),
                paths_lps_mm=tuple((one.entry_lps_mm, one.target_lps_mm) for one in shown),
                radius_mm=max(now.draft.tool_radius_mm, 0.5),
                view=view,
                target=target,
            )
        )
        return target.read_bytes()


def _structure_entry(one: Structure, token: str) -> dict[str, Any]:
    assert one.stored is not None
    return {
        "kind": "structure",
        "name": one.name,
        "colour": one.colour,
        "opacity": _opacity(one),
        "address": f"surfaces/{token}/results/{one.stored.job}",
    }


def _plan_entries(workbench: Workbench, drawn: dict[str, Any]) -> list[dict[str, Any]]:
    now = workbench.snapshot
    colours = {one.name: one.colour for one in now.structures.values()}
    return [
        {
            "kind": one["kind"],
            "name": one["name"],
            "colour": colours.get(one["name"], _SKIN_COLOUR),
            "opacity": _OPACITY[PlanSurface(one["kind"])],
            "address": f"surfaces/{workbench.token}/plans/{now.plan_job}/{number}",
        }
        for number, one in enumerate(drawn["surfaces"])
    ]


def _shown_jobs(workbench: Workbench) -> set[str]:
    """Which jobs made the 3D results that are shown."""
    return {one.stored.job for one in workbench.snapshot.structures.values() if one.stored is not None}


def _opacity(one: Structure) -> float:
    if one.is_stale:
        return _STALE_OPACITY
    return _CORRIDOR_OPACITY if one.role is Role.INSIDE else 1.0


def _folder(workbench: Workbench) -> Path:
    now: Snapshot = workbench.snapshot
    return workbench.service.plan_folder(workbench.require_work(), now.plan_job or "") / DRAWN_FOLDER


def _drawn_of_plan(workbench: Workbench) -> dict[str, Any]:
    """Surfaces of the plan that is shown; none where a plan was made before they were written, or none could be."""
    if workbench.snapshot.plan is None:
        return _NOT_DRAWN
    try:
        found: dict[str, Any] = json.loads((_folder(workbench) / LIST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, MedsamPlannerError):
        return _NOT_DRAWN
    return found


def _ball(centre: tuple[float, float, float] | None, radius_mm: float) -> dict[str, Any] | None:
    return None if centre is None else {"centre": list(centre), "radius_mm": radius_mm}
