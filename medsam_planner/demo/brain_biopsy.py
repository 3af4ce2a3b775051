"""The brain biopsy, from the template to the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medsam_planner.demo.brain_study import (
    ENTRY_LPS_MM,
    ENTRY_RADIUS_MM,
    TARGET_LPS_MM,
    TARGET_RADIUS_MM,
    BrainStudy,
    load_brain_study,
    sphere_mask,
)
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.planning.problem import Limits, SearchSettings
from medsam_planner.planning.request import (
    EntryRequest,
    PlanRequest,
    SpreadRule,
    StructureRequest,
    TargetRequest,
    ToolRequest,
)
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.workflow.plan_request import resolve
from medsam_planner.workflow.run_folder import PLAN_NAMES, segmentation_names
from medsam_planner.workflow.segment import SegmentationOptions, Segmented, segment_into, write_segmented_objects
from medsam_planner.workflow.written_plan import WrittenPlan, write_plan, write_plan_objects

__all__ = ["run_brain_biopsy"]

_NEEDLE = Tool(radius_mm=0.9, entry_error_mm=1.0, target_error_mm=1.5)
"""A 1.8 mm side-cutting needle; errors in the range of frame-based biopsy (about 1 to 2 mm at the target)."""
_LIMITS = Limits(max_length_mm=110.0, max_entry_angle_deg=40.0)
_MARGIN = SpreadRule(base_mm=1.0, factor=2.0, cap_mm=6.0)
_SCALP = "modelled_scalp"


def run_brain_biopsy(
    out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None, progress: Progress | None = None
) -> WrittenPlan:
    """Segment the ventricles from two boxes each, and plan a needle from the scalp past them.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    say("1/4 Reading the MNI152 T1 template that nilearn carries (skull-stripped; the scalp is modelled).")
    brain = load_brain_study()
    names = segmentation_names([log.structure for log in brain.logs])
    with OutputFolder(out, [*names, *PLAN_NAMES]) as folder:
        return _run(brain, folder, seed, say, progress)


def _run(
    brain: BrainStudy, folder: OutputFolder, seed: int, say: Callable[[str], None], progress: Progress | None
) -> WrittenPlan:
    say("2/4 Segmenting both lateral ventricles from two boxes each, with 16 stochastic passes.")
    segmented = segment_into(folder, brain.study, brain.logs, SegmentationOptions(seed=seed), progress=progress)
    for name, result in segmented.results.items():
        say(f"    {name}: {float(result.mask.array.sum()) * brain.study.voxel_volume / 1000:.1f} ml")
    say("3/4 Planning a needle to the right thalamus, past the ventricles and the motor strip.")
    inputs = resolve(
        _request(segmented, seed),
        brain.study,
        {
            **segmented.evidence(),
            "motor_strip": StructureEvidence(brain.motor_strip),
            "lesion": StructureEvidence(sphere_mask(brain.study, TARGET_LPS_MM, TARGET_RADIUS_MM)),
            _SCALP: StructureEvidence(brain.head),
        },
        surfaces=segmented.surfaces,
        origin=PlanOrigin(demo="brain-biopsy", study="MNI ICBM152 2009a T1, skull-stripped, from nilearn"),
    )
    say("4/4 Writing the report.")
    written = write_plan(inputs, folder, with_objects=False, progress=progress)
    for note in write_segmented_objects(folder, segmented):
        say(f"    Note: {note}")
    written = write_plan_objects(written, folder)
    return written


def _request(segmented: Segmented, seed: int) -> PlanRequest:
    found = [name for name, result in segmented.results.items() if result.mask.array.any()]
    return PlanRequest(
        title="Brain biopsy: needle to the right thalamus (demonstration)",
        tools=(
            ToolRequest(
                _NEEDLE,
                TargetRequest(TARGET_LPS_MM, TARGET_RADIUS_MM / 2, "lesion"),
                EntryRequest(_SCALP, ENTRY_LPS_MM, ENTRY_RADIUS_MM),
                name="needle",
            ),
        ),
        structures=(
            *(StructureRequest(name, margin=_MARGIN) for name in found),
            StructureRequest("motor_strip", margin=SpreadRule(base_mm=0.0)),
        ),
        limits=_LIMITS,
        search=SearchSettings(seed=seed),
    )
