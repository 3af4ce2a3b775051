"""One slice of a workbench with its overlays: outlines, maps, prompts, and the marks of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.report.faithfulness import saliency_warning
from medsam_planner.service.display import Plane
from medsam_planner.service.slice_view import Layers, Mark, Outline, OverlayMap, ViewRequest, exact_values, view
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import StudyVolume

__all__ = ["layers", "maps", "slice_values", "slice_view"]


def slice_view(workbench: Workbench, plane: Plane, request: ViewRequest) -> dict[str, Any]:
    """What is drawn over one slice of the open study; see :func:`medsam_planner.service.slice_view.view`.

    Raises
    ------
    StudyError
        If none is open.
    """
    now, _ = _opened(workbench)
    return view(now.displays[plane], request, layers(now))


def slice_values(workbench: Workbench, plane: Plane, index: int) -> NDArray[Any]:
    """(rows, columns) stored values of one slice of the open study, as it is shown; int16 where that is exact.

    Raises
    ------
    StudyError
        If none is open.
    """
    now, study = _opened(workbench)
    display = now.displays[plane]
    return exact_values(display.picture(study.array, display.within(index)))


def _opened(workbench: Workbench) -> tuple[Snapshot, StudyVolume]:
    now = workbench.snapshot
    study = now.study
    if study is None:
        raise StudyError("Open a study first.")
    return now, study


def layers(now: Snapshot) -> Layers:
    """Overlays of every slice of a snapshot."""
    outlines = []
    shown = [one for one in now.structures.values() if not one.listed.is_hidden]
    for one in sorted(shown, key=lambda entry: entry.name == now.active):
        result = one.result
        probability = None if result is None else result.probability.array
        is_active = one.name == now.active
        outlines.append(Outline(one.name, one.colour, probability, one.previews, is_active, one.is_stale, one.hand))
    active = None if now.structure is None or now.structure.listed.is_hidden else now.structure
    return Layers(
        outlines=tuple(outlines),
        maps=maps(active),
        prompts=() if active is None else active.prompts,
        marks=_marks(now),
    )


def maps(structure: Structure | None) -> tuple[OverlayMap, ...]:
    """Scalar maps of the structure's 3D result that can be laid over a slice; none before there is one."""
    result = None if structure is None else structure.result
    if structure is None or result is None:
        return ()
    found = [OverlayMap("probability", "probability", "0–1", result.probability.array, 0.0, 1.0, "viridis")]
    if result.uncertainty is not None:
        found.append(OverlayMap("uncertainty", "uncertainty", "bit", result.uncertainty.array, 0.0, 1.0, "magma"))
    if result.boundary_spread_mm is not None:
        spread = result.boundary_spread_mm.array
        widest = float(np.ceil(2 * structure.widest_spread_mm) / 2) or 0.5
        found.append(OverlayMap("boundary_spread_mm", "boundary spread", "mm", spread, 0.0, widest, "plasma"))
    if result.saliency is not None:
        saliency, warning = result.saliency.array, saliency_warning(result.faithfulness)
        found.append(OverlayMap("saliency", "saliency", "share of maximum", saliency, 0.0, 1.0, "inferno", warning))
    return tuple(found)


def _marks(now: Snapshot) -> tuple[Mark, ...]:
    draft = now.draft
    marks = []
    if draft.target_lps_mm is not None:
        place = np.array([draft.target_lps_mm])
        marks.append(Mark("target", "target", place, draft.target_radius_mm))
    if draft.entry_lps_mm is not None:
        marks.append(Mark("entry", "entry", np.array([draft.entry_lps_mm]), draft.entry_radius_mm))
    trajectory = now.chosen_trajectory_lps_mm
    if trajectory is not None:
        has_caution = now.assessment is None or now.assessment.verdict.kind != "feasible"
        marks.append(Mark("path", "", trajectory, draft.tool_radius_mm, has_caution))
    return tuple(marks)
