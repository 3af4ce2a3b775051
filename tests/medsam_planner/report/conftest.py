"""A small analytic study on the oblique grid: a target ball, a vessel tube beside the path, and a bony shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.planning.alternatives import Alternative, ClearanceProfile
from medsam_planner.planning.multi_tool import JointPlan
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.tool import Tool
from medsam_planner.provenance import PlanOrigin, PlanProvenance, PropagationTrace, SliceRecord, SliceRole, StopReason
from medsam_planner.report.model import PlannedTool, PlanReport
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudySource, StudyVolume, volume_like
from prompts import Box, Click, PromptLog, Scribble
from tests.provenances import provenance

SHAPE = (48, 150, 130)
TOOL = Tool(radius_mm=1.0, entry_error_mm=0.8, target_error_mm=1.5)


def ball_mask(positions: NDArray[np.float64], centre: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    return np.linalg.norm(positions - centre, axis=-1) <= radius_mm


def tube_distance_mm(
    positions: NDArray[np.float64], point: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    offset = positions - point
    along = offset @ direction
    return np.linalg.norm(offset - along[..., None] * direction, axis=-1)


@pytest.fixture(scope="session")
def make_report() -> Callable[..., PlanReport]:
    """Build the example, with any field replaced."""
    fields = _fields(_oblique_affine())

    def make(**changes: Any) -> PlanReport:
        values = {**fields, **changes}
        plan = values.pop("plan")
        joint = JointPlan(plan.feasible, {"tool": plan}, ())
        return PlanReport(tools=(PlannedTool("tool", plan, TOOL),), joint=joint, **values)

    return make


def _oblique_affine() -> NDArray[np.float64]:
    """Oblique, anisotropic and left-handed, like the shared fixture, whose scope is one test."""
    turn = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.3, 0.8, -0.5], [0.1, 0.4, 0.9]]))[0]
    if np.linalg.det(turn) > 0:
        turn[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = turn[:, ::-1] * np.array([2.5, 0.7, 0.9])
    if np.linalg.det(affine) > 0:
        affine[:3, 0] *= -1
    affine[:3, 3] = (-31.0, 12.5, 204.0)
    return affine


def _fields(affine: NDArray[np.float64]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    positions = lps_from_index(affine, np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    target_centre = middle + np.array([12.0, 6.0, -8.0])
    vessel_point = middle + np.array([-4.0, -19.0, 0.0])
    vessel_direction = np.array([0.5, 0.0, 0.8660254])
    target = ball_mask(positions, target_centre, 8.0)
    vessel_mm = tube_distance_mm(positions, vessel_point, vessel_direction)
    vessel = vessel_mm <= 4.0
    body_mm = np.linalg.norm((positions - middle) / np.array([1.0, 0.8, 1.4]), axis=-1)
    hu = np.where(body_mm < 42.0, 35.0, -1000.0)
    hu[target], hu[vessel] = 75.0, 160.0
    hu = hu + rng.normal(0, 12, SHAPE)
    study = StudyVolume.from_volume(
        highdicom.Volume(array=hu.astype(np.float32), affine=affine, coordinate_system="PATIENT"),
        StudySource(path=Path("example"), format="dicom", modality="CT", series_description="analytic example"),
    )
    entry = middle + np.array([-26.0, -24.0, 16.0])
    depth = np.linspace(0.0, 1.0, 60)[:, None]
    line = entry + depth * (target_centre - entry)
    spread = volume_like(study, np.where(vessel, 1.0 + 0.04 * (positions[..., 2] - middle[2]), 0.0).astype(np.float32))
    clearance = tube_distance_mm(line, vessel_point, vessel_direction) - 4.0 - 1.0
    clearance -= TOOL.allowance_mm(depth[:, 0])
    tightest = int(np.argmin(clearance))
    alternative = Alternative(
        entry_lps_mm=tuple(entry.tolist()),
        target_lps_mm=tuple(target_centre.tolist()),
        certified_clearance_mm=float(clearance.min()) - 0.4,
        sampled_clearance_mm=float(clearance.min()),
        limiting_structure="iliac vessel",
        limiting_point_lps_mm=tuple(line[tightest].tolist()),
        clearance_mm_by_structure={"iliac vessel": float(clearance.min()) - 0.4},
        hit_probability=0.013,
        hit_probability_interval=(0.002, 0.046),
        hit_probability_by_structure={"iliac vessel": 0.013},
        length_mm=float(np.linalg.norm(target_centre - entry)),
        entry_angle_deg=18.0,
        score=0.7,
        bone_density_hu=None,
        clearance_profile=ClearanceProfile(
            depth[:, 0] * float(np.linalg.norm(target_centre - entry)), {"iliac vessel": clearance}
        ),
        reason="Has the largest clearance; limited by iliac vessel.",
    )
    logs = {"lesion": PromptLog("lesion"), "iliac vessel": PromptLog("iliac vessel")}
    k, j, i = (int(value) for value in np.array(SHAPE) // 2)
    logs["lesion"].add(Box(*lps_from_index(affine, [[k, j - 10, i - 10], [k, j + 10, i + 10]])))
    logs["lesion"].add(Click(target_centre))
    logs["iliac vessel"].add(Click(vessel_point, positive=False))
    logs["iliac vessel"].add(Scribble(lps_from_index(affine, [[k, j, i], [k, j + 5, i], [k + 1, j + 8, i]])))
    return {
        "title": "Needle to the lesion past the iliac vessel",
        "study": study,
        "segmentations": {
            "lesion": _result("lesion", study, np.linalg.norm(positions - target_centre, axis=-1) - 8.0, rng),
            "iliac vessel": _result("iliac vessel", study, vessel_mm - 4.0, rng),
        },
        "roles": {"lesion": StructureRole.TARGET, "iliac vessel": StructureRole.AVOID},
        "plan": PlanResult(True, (alternative,), (), candidate_count=20000, feasible_count=812),
        "margins_mm": {"iliac vessel": spread},
        "surfaces": {
            "lesion": _surface(study, np.linalg.norm(positions - target_centre, axis=-1) - 8.0, 0.4),
            "iliac vessel": _surface(study, vessel_mm - 4.0, 1.3),
        },
        "prompts": logs,
        "provenance": PlanProvenance(PlanOrigin(), {"title": "ab" * 32}, 0, {"medsam-planner": "0.1.0"}),
    }


def _surface(study: StudyVolume, distance_mm: NDArray[np.float64], spread_mm: float) -> Surface:
    probability = volume_like(study, (1.0 / (1.0 + np.exp(distance_mm))).astype(np.float32))
    surface = surface_from_probability(probability, max_triangles=4000)
    heights = surface.vertices_lps_mm[:, 2]
    return surface.with_values("boundary_spread_mm", spread_mm * (heights - heights.min()) / np.ptp(heights))


def _result(
    name: str, study: StudyVolume, distance_mm: NDArray[np.float64], rng: np.random.Generator
) -> SegmentationResult:
    probability = 1.0 / (1.0 + np.exp(2.0 * distance_mm))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -(probability * np.log2(probability) + (1 - probability) * np.log2(1 - probability))
    saliency = np.exp(-((distance_mm + 2.0) ** 2) / 60.0)
    return SegmentationResult(
        structure=name,
        mask=volume_like(study, distance_mm <= 0),
        probability=volume_like(study, probability.astype(np.float32)),
        trace=_trace(rng),
        uncertainty=volume_like(study, np.nan_to_num(entropy).astype(np.float32)),
        saliency=volume_like(study, saliency.astype(np.float32)),
        faithfulness={
            "slice_index": 24,
            "infidelity": 0.42,
            "infidelity_of_chance": 0.93,
            "randomisation_rank_correlation": 0.04,
            "randomisation_ssim": 0.10,
            "overlap": {"energy_inside": 0.61, "top_inside": 0.74, "top_share": 0.05, "chance": 0.03},
        },
        provenance=provenance(structure=name),
    )


def _trace(rng: np.random.Generator) -> PropagationTrace:
    records = []
    for index in range(14, 34):
        area = 200.0 * np.sqrt(max(1 - ((index - 24) / 10) ** 2, 0.02)) + rng.normal(0, 4)
        is_anchor, is_end = index == 24, index in (14, 33)
        records.append(
            SliceRecord(
                index=index,
                role=SliceRole.ANCHOR if is_anchor else SliceRole.STOPPED if is_end else SliceRole.PROPAGATED,
                source_index=None if is_anchor else index + (1 if index < 24 else -1),
                overlap=None if is_anchor else 0.42 if is_end else float(0.9 - 0.01 * abs(index - 24)),
                area_mm2=float(area),
                centroid_drift_mm=None if is_anchor else 0.4,
                quality=float(0.93 - 0.01 * abs(index - 24)),
                entropy_bits=float(0.1 + 0.01 * abs(index - 24)),
                stop=StopReason.LOW_OVERLAP if is_end else None,
            )
        )
    return PropagationTrace(axis=0, records=tuple(records))
