"""The brain biopsy, from the template to the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medsam_planner.case_masks import surface_of_mask
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
from medsam_planner.pipeline import SegmentationOptions, segment_into, write_segmented_objects
from medsam_planner.plan_inputs import PlanInputs
from medsam_planner.plan_review import ReviewedPlan, review_plan
from medsam_planner.planning.margins import margin_from_spread
from medsam_planner.planning.problem import (
    Limits,
    PlanningProblem,
    SearchSettings,
    entry_region_on_surface,
    points_in_sphere,
)
from medsam_planner.planning.structures import Avoid
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.report import StructureRole
from medsam_planner.run_folder import PLAN_NAMES, segmentation_names
from medsam_planner.segmentation import SegmentationResult

__all__ = ["run_brain_biopsy"]

_NEEDLE = Tool(radius_mm=0.9, entry_error_mm=1.0, target_error_mm=1.5)
"""A 1.8 mm side-cutting needle; errors in the range of frame-based biopsy (about 1 to 2 mm at the target)."""
_LIMITS = Limits(max_length_mm=110.0, max_entry_angle_deg=40.0)
_BASE_MARGIN_MM, _SPREAD_FACTOR, _LARGEST_MARGIN_MM = 1.0, 2.0, 6.0


def run_brain_biopsy(
    out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None, progress: Progress | None = None
) -> ReviewedPlan:
    """Segment the ventricles from two boxes each, and plan a needle from the scalp past them.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
    say : callable
        Told one line for each stage.
    progress : Progress, optional
    """
    say("1/4 Reading the MNI152 T1 template that nilearn carries (skull-stripped; the scalp is modelled).")
    brain = load_brain_study()
    names = segmentation_names([log.structure for log in brain.logs])
    with OutputFolder(out, [*names, *PLAN_NAMES]) as folder:
        return _run(brain, folder, seed, say, progress)


def _run(
    brain: BrainStudy, folder: OutputFolder, seed: int, say: Callable[[str], None], progress: Progress | None
) -> ReviewedPlan:
    say("2/4 Segmenting both lateral ventricles from two boxes each, with 16 stochastic runs.")
    segmented = segment_into(folder, brain.study, brain.logs, SegmentationOptions(seed=seed), progress=progress)
    for name, result in segmented.results.items():
        say(f"    {name}: {float(result.mask.array.sum()) * brain.study.voxel_volume / 1000:.1f} ml")
    say("3/4 Planning a needle to the right thalamus, past the ventricles and the motor strip.")
    lesion = sphere_mask(brain.study, TARGET_LPS_MM, TARGET_RADIUS_MM)
    ventricles = [_avoid(result) for result in segmented.results.values() if result.mask.array.any()]
    problem = PlanningProblem(
        structures=(*ventricles, Avoid("motor_strip", brain.motor_strip, 0.0)),
        tool=_NEEDLE,
        entry=entry_region_on_surface(brain.head, centre_lps_mm=ENTRY_LPS_MM, radius_mm=ENTRY_RADIUS_MM),
        targets_lps_mm=points_in_sphere(TARGET_LPS_MM, TARGET_RADIUS_MM / 2),
        limits=_LIMITS,
        settings=SearchSettings(seed=seed),
    )
    inputs = PlanInputs(
        title="Brain biopsy: needle to the right thalamus (demonstration)",
        study=brain.study,
        problem=problem,
        segmentations=segmented.results,
        prompts=segmented.logs,
        surfaces={
            **segmented.surfaces,
            "motor_strip": surface_of_mask(brain.motor_strip),
            "lesion": surface_of_mask(lesion),
        },
        roles={
            **{structure.name: StructureRole.AVOID for structure in problem.structures},
            "lesion": StructureRole.TARGET,
            "modelled_scalp": StructureRole.ENTRY,
        },
        masks={"motor_strip": brain.motor_strip, "lesion": lesion, "modelled_scalp": brain.head},
        provenance={
            "demo": "brain-biopsy",
            "seed": seed,
            "study": "MNI ICBM152 2009a T1, skull-stripped, from nilearn",
        },
        entry_mask=brain.head,
    )
    say("4/4 Writing the report.")
    reviewed = review_plan(inputs, folder, progress=progress)
    for note in write_segmented_objects(folder, segmented):
        say(f"    Note: {note}")
    return reviewed


def _avoid(result: SegmentationResult) -> Avoid:
    margin = margin_from_spread(
        result.boundary_spread_mm, base_mm=_BASE_MARGIN_MM, factor=_SPREAD_FACTOR, cap_mm=_LARGEST_MARGIN_MM
    )
    return Avoid(result.structure, result.mask, margin, result.mask_samples or ())
