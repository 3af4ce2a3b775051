"""The pelvic screw, from a procedural CT series to the report, with the true clearance beside the planned one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.demo.case_files import CANCELLOUS_THREAD
from medsam_planner.demo.pelvis_phantom import PelvisPhantom, PhantomScan, pelvis_phantom
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import load_volume
from medsam_planner.io.dicom_writer import slice_name, write_ct_series
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.lab.screw_quality import write_bone_quality
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.request import (
    EntryRequest,
    PlanRequest,
    SpreadRule,
    StructureRequest,
    TargetRequest,
    ToolRequest,
)
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.plan_request import resolve
from medsam_planner.workflow.run_folder import PLAN_NAMES, segmentation_names
from medsam_planner.workflow.segment import SegmentationOptions, Segmented, segment_into, write_segmented_objects
from medsam_planner.workflow.written_plan import WrittenPlan, write_plan, write_plan_objects
from prompts import Box, Click, PromptLog
from prompts.annotator import padded_box

__all__ = ["PELVIC_WINDOW", "pelvic_logs", "run_pelvic_screw"]

_BONE = "supra_acetabular_bone"
_VESSELS = {"external_iliac_artery": "iliac_artery", "external_iliac_vein": "iliac_vein"}
_TRUE_STRUCTURE = {_BONE: "hemipelvis_left", **_VESSELS, "sciatic_nerve": "sciatic_nerve"}
"""Clearance is checked against the whole bone and the whole vessels, not only against the parts that were prompted."""
_BONE_BOXES = 10
"""Coronal: across the corridor, where the bone's section is compact."""
_VESSEL_HEIGHTS_LPS_MM = (78.0, 66.0, 54.0, 42.0, 30.0, 18.0, 6.0)
"""Where axial boxes are drawn on the front branch of each vessel."""
_VESSEL_RANGE_LPS_MM = (86.0, -4.0)
"""Above and below these heights the annotator marks slices as empty: the plan does not need the vessels there."""
_SCREW = Tool(radius_mm=3.25, entry_error_mm=0.5, target_error_mm=0.8)
"""A 6.5 mm cannulated screw; errors as assumed for placement with navigation."""
PELVIC_WINDOW = "100, 300"
"""Low and narrow: marrow saturates, so bone and its cortex look alike, and vessels with contrast medium stand out."""
_SCAN_SHAPE, _SCAN_SPACING_MM = (154, 302, 302), (1.4, 1.1, 1.1)
_BONE_MARGIN = SpreadRule(base_mm=0.0, factor=1.0, cap_mm=2.0)
_VESSEL_MARGIN = SpreadRule(base_mm=2.0, factor=2.0, cap_mm=8.0)
_LIMITS = Limits(max_length_mm=130.0, min_length_mm=60.0, max_entry_angle_deg=60.0)


def run_pelvic_screw(
    out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None, progress: Progress | None = None
) -> WrittenPlan:
    """Segment bone and vessels of a phantom, and plan a supra-acetabular screw inside the bone and past the vessels.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
        Seed of the noise, the stochastic passes and the planner.
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    slices = [f"study/{slice_name(k)}" for k in range(_SCAN_SHAPE[0])]
    with OutputFolder(out, [*slices, *segmentation_names([_BONE, *_VESSELS]), *PLAN_NAMES]) as folder:
        written = _run(folder, seed, say, progress)
    write_bone_quality(out, written.made.inputs.study, written, CANCELLOUS_THREAD)
    return written


def _run(folder: OutputFolder, seed: int, say: Callable[[str], None], progress: Progress | None) -> WrittenPlan:
    say("1/5 Building the pelvis phantom and writing it as a DICOM series.")
    phantom = pelvis_phantom(PhantomScan(shape=_SCAN_SHAPE, spacing_mm=_SCAN_SPACING_MM, seed=seed), progress=progress)
    write_ct_series(phantom.volume_hu, folder / "study", series_description="Pelvis phantom, oblique", seed=seed)
    say("2/5 Reading the series back.")
    study = load_volume(folder / "study", progress=progress)
    say("3/5 Segmenting bone and vessels from boxes, with 16 stochastic passes.")
    segmented = segment_into(
        folder, study, pelvic_logs(phantom), SegmentationOptions(seed=seed, window=PELVIC_WINDOW), progress=progress
    )
    for name, result in segmented.results.items():
        share = _share_inside(result.mask.array, _reference(phantom, name, study).array)
        say(f"    {name}: {share:.0%} of the mask lies in the true structure")
    say("4/5 Planning a 6.5 mm screw in the supra-acetabular corridor.")
    inputs = resolve(
        _request(phantom, segmented, seed),
        study,
        {**segmented.evidence(), "sciatic_nerve": StructureEvidence(_reference(phantom, "sciatic_nerve", study))},
        surfaces=segmented.surfaces,
        origin=PlanOrigin(demo="pelvic-screw"),
    )
    say("5/5 Writing the report.")
    true_clearance_mm = partial(_true_clearance_mm, phantom)
    written = write_plan(inputs, folder, true_clearance_mm=true_clearance_mm, with_objects=False, progress=progress)
    for note in write_segmented_objects(folder, segmented):
        say(f"    Note: {note}")
    written = write_plan_objects(written, folder)
    if written.plan.feasible:
        best = written.plan.alternatives[0]
        trajectory = np.array([best.entry_lps_mm, best.target_lps_mm])
        for name, true_mm in _true_clearance_mm(phantom, trajectory).items():
            planned = best.clearance_mm_by_structure[name]
            say(f"    {name}: certified {planned:.1f} mm beyond margin and tool error, true clearance {true_mm:.1f} mm")
    return written


def pelvic_logs(phantom: PelvisPhantom) -> tuple[PromptLog, ...]:
    """Simulated prompts for the bone and both vessels."""
    return (_bone_log(phantom), *(_vessel_log(phantom, name) for name in _VESSELS))


def _bone_log(phantom: PelvisPhantom) -> PromptLog:
    log = PromptLog(_BONE)
    for box in phantom.boxes("corridor_bone", axis=1, count=_BONE_BOXES):
        log.add(box)
    return log


def _vessel_log(phantom: PelvisPhantom, structure: str) -> PromptLog:
    """Simulated prompts on the front branch of a vessel, from the reference masks of the phantom."""
    mask = phantom.reference[_VESSELS[structure]]
    log = PromptLog(structure)
    for height in _VESSEL_RANGE_LPS_MM:
        low, high = _front_section(mask, height)
        log.add(Click((low + high) / 2, positive=False))
    for height in _VESSEL_HEIGHTS_LPS_MM:
        log.add(Box(*_front_section(mask, height)))
    return log


def _front_section(mask: highdicom.Volume, height_lps_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Opposite corners, one pixel loose, of the section nearest the front of the body on the slice at a height."""
    middle = (np.array(mask.array.shape) - 1) / 2
    slices = np.stack([np.arange(mask.array.shape[0]), *(np.full(mask.array.shape[0], m) for m in middle[1:])], axis=1)
    heights = lps_from_index(mask.affine, slices)[:, 2]
    index = int(np.argmin(np.abs(heights - height_lps_mm)))
    parts, count = ndimage.label(mask.array[index])
    sections = [parts == part for part in range(1, count + 1)]
    front = min(sections, key=lambda section: float(np.nonzero(section)[0].mean()))  # rows run from front to back
    low, high = padded_box(front, 1)
    return lps_from_index(mask.affine, (index, *low)), lps_from_index(mask.affine, (index, *high))


def _reference(phantom: PelvisPhantom, structure: str, study: StudyVolume) -> highdicom.Volume:
    """A reference mask on the grid of the study, whose slices may have been stored in another order."""
    return phantom.reference[_TRUE_STRUCTURE[structure]].match_geometry(study)


def _share_inside(found: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    return float((found & reference).sum()) / max(float(found.sum()), 1.0)


def _request(phantom: PelvisPhantom, segmented: Segmented, seed: int) -> PlanRequest:
    corridor = phantom.corridor
    vessels = [name for name in _VESSELS if segmented.results[name].mask.array.any()]
    return PlanRequest(
        title="Pelvic screw: supra-acetabular corridor, left (demonstration on a phantom)",
        tools=(
            ToolRequest(
                _SCREW,
                TargetRequest(corridor.target_lps_mm, corridor.target_radius_mm),
                EntryRequest(_BONE, corridor.entry_lps_mm, corridor.entry_radius_mm),
                name="screw",
            ),
        ),
        structures=(
            StructureRequest(_BONE, StructureRole.INSIDE, _BONE_MARGIN, corridor.free_entry_mm),
            *(StructureRequest(name, margin=_VESSEL_MARGIN) for name in vessels),
            StructureRequest("sciatic_nerve", margin=SpreadRule(base_mm=3.0)),
        ),
        limits=_LIMITS,
        weights=Weights(bone_density=0.3, clearance_scale_mm=4.0),
        search=SearchSettings(seed=seed, min_separation_mm=3.0),
    )


def _true_clearance_mm(phantom: PelvisPhantom, trajectory_lps_mm: NDArray[np.float64]) -> dict[str, float]:
    """Clearance between the surface of the screw and each true surface."""
    entry, target = trajectory_lps_mm
    return {
        name: phantom.true_clearance_mm(
            entry,
            target,
            true_name,
            radius_mm=_SCREW.radius_mm,
            inside=name == _BONE,
            free_entry_mm=phantom.corridor.free_entry_mm if name == _BONE else 0.0,
        )
        for name, true_name in _TRUE_STRUCTURE.items()
    }
