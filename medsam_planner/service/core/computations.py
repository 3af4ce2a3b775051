"""What is computed for a session: slice predictions, 3D results, plans, clearance. None of it changes the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import volume_ml
from medsam_planner.planning.clearance import Clearance, clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core.loaded import LoadedWorks, result_path
from medsam_planner.service.core.options import MOST_LINES, SegmentOptions
from medsam_planner.service.core.work import StoredResult, Work
from medsam_planner.service.saved_result import write_result
from medsam_planner.workflow.plan_request import build_structure, resolve
from medsam_planner.workflow.written_plan import write_plan
from prompts import PromptLog
from prompts.shapes import locates

__all__ = ["measure", "plan", "preview", "segment"]


def preview(loaded: LoadedWorks, work: Work, log: PromptLog) -> dict[int, dict[int, NDArray[np.float32]]]:
    """(H, W) probability on the prompted slices, by array axis and slice index; empty where nothing locates it."""
    if not any(locates(prompt) for prompt in log.prompts):
        return {}
    held = loaded.session(work)
    with held.computing:
        held.session.restore(log)
        by_axis = held.session.preview(structure=log.structure)
    return {axis: {index: one.probability for index, one in found.items()} for axis, found in by_axis.items()}


def segment(
    loaded: LoadedWorks, work: Work, log: PromptLog, options: SegmentOptions, job: str, progress: Progress
) -> dict[str, Any]:
    """Segment a structure in 3D and write the result; gives its summary."""
    held = loaded.session(work, progress=progress)
    with held.computing:
        held.session.restore(log)
        result = held.session.segment(structure=log.structure, progress=progress, **asdict(options))
    write_result(result_path(work, job), result)
    held.results = {**held.results, log.structure: (job, result)}
    loaded.evict()
    return {
        "mask_sha256": result.provenance.mask_sha256,
        "volume_ml": volume_ml(result.mask.array, result.mask.affine),
        **asdict(options),
    }


def plan(
    loaded: LoadedWorks,
    work: Work,
    request: PlanRequest,
    origin: PlanOrigin,
    results: Mapping[str, StoredResult],
    job: str,
    progress: Progress,
) -> dict[str, Any]:
    """Plan and write the folder of the plan; gives its summary."""
    volume = loaded.volume(work.study, progress=progress)
    evidence = {name: _evidence(loaded, work, name, stored) for name, stored in results.items()}
    inputs = resolve(request, volume, evidence, origin=origin)
    folder = work.folder / "plans" / job
    folder.mkdir(parents=True, exist_ok=True)
    written = write_plan(inputs, folder, progress=progress)
    return {"plan": job, "is_feasible": written.feasible, "notes": list(written.notes)}


def measure(
    loaded: LoadedWorks,
    work: Work,
    structures: tuple[StructureRequest, ...],
    tool: Tool,
    lines_lps_mm: ArrayLike,
) -> Clearance:
    """Clearance of given trajectories from segmented structures; see :meth:`Service.clearance`."""
    lines = np.asarray(lines_lps_mm, dtype=np.float64)
    if lines.ndim != 3 or not 1 <= len(lines) <= MOST_LINES:
        raise PlanningError(f"Expected 1 to {MOST_LINES} lines of two positions each, LPS mm.")
    volume = loaded.volume(work.study)
    built = []
    for wanted in structures:
        evidence = _evidence(loaded, work, wanted.name, work.state.result(wanted.name))
        built.append(build_structure(wanted, evidence, volume)[0])
    return clearance(lines, built, tool)


def _evidence(loaded: LoadedWorks, work: Work, structure: str, stored: StoredResult) -> StructureEvidence:
    return StructureEvidence.of_result(loaded.result(work, structure, stored), work.log(structure))
