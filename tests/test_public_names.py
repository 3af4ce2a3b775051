"""The names that each package publishes are exactly these; a change here is a change of the interface."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]

PUBLIC_NAMES = {
    "prompts": [
        "Box",
        "BoxExtent",
        "Choice",
        "Clear",
        "Click",
        "Edit",
        "Entry",
        "GeometryError",
        "InitialMask",
        "MedsamPlannerError",
        "OutputError",
        "PositionLpsMm",
        "Prompt",
        "PromptError",
        "PromptFile",
        "PromptLog",
        "Provenance",
        "Removal",
        "Scribble",
        "VoxelMask",
        "box_extent",
        "click_index",
        "first_box",
        "next_click",
        "parse_prompt_file",
        "read_prompt_file",
        "render_prompt_file",
        "scribble_indices",
        "validate",
        "validate_file",
        "write_prompt_file",
    ],
    "xai": [
        "CoverageLaw",
        "DoubtfulPlace",
        "EmptyStructureError",
        "Infidelity",
        "ReliabilityDiagram",
        "SaliencyError",
        "ShapValues",
        "StructureOverlap",
        "TooFewPatientsError",
        "UncertaintyError",
        "WeightRandomisation",
        "ZeroVarianceError",
        "active_dropout",
        "area_under_sparsification_error",
        "boundary_spread_mm",
        "brier_score",
        "conformal_quantile",
        "coverage_law",
        "expected_entropy",
        "fit_temperature",
        "grad_cam",
        "inner_nonconformity_score",
        "insert_dropout",
        "joint_score",
        "kernel_shap",
        "measure_infidelity",
        "measure_reliability",
        "most_doubtful",
        "mutual_information",
        "nonconformity_score",
        "normalise_saliency",
        "overlap_with_structure",
        "patients_needed",
        "predictive_entropy",
        "rank_correlation",
        "run_weight_randomisation",
        "signed_distance_mm",
        "smallest_alpha",
        "supervoxels",
    ],
    "medsam_planner": [
        "Plan",
        "PlanRequest",
        "SegmentationResult",
        "Session",
        "load_volume",
        "plan",
        "save_dicom_seg",
        "save_nifti",
        "save_parametric_map",
    ],
    "medsam_planner.deidentification": [
        "Dates",
        "Deidentified",
        "Profile",
        "Pseudonyms",
        "Region",
        "deidentify",
    ],
    "medsam_planner.io": [
        "inspect_study",
        "load_volume",
        "save_dicom_seg",
        "save_nifti",
        "save_parametric_map",
    ],
    "medsam_planner.mesh": [
        "Colormap",
        "ColouredSurface",
        "Surface",
        "SurfaceCheck",
        "WorldFrame",
        "check_surface",
        "colour_by",
        "decimate",
        "require_closed",
        "rgb_from_values",
        "smooth_taubin",
        "surface_deviation_mm",
        "surface_from_probability",
        "value_range",
        "write_scene",
        "write_surface",
    ],
    "medsam_planner.planning": [
        "Avoid",
        "BoneRule",
        "CalibratedRule",
        "Clearance",
        "EntryRequest",
        "HitProbability",
        "Limits",
        "PlanRequest",
        "SearchSettings",
        "SpreadRule",
        "StayInside",
        "StructureRequest",
        "StructureRole",
        "TargetRequest",
        "Tool",
        "ToolRequest",
        "Weights",
        "clearance",
        "hit_probability",
        "margin_from_spread",
        "masks_from_spread",
    ],
    "medsam_planner.calibration": [
        "CalibratedMargin",
        "Calibration",
        "calibrated_margin",
        "read_calibration",
        "write_calibration",
    ],
    "medsam_planner.client": [
        "Client",
        "JobValue",
        "RemoteSession",
        "StructureValue",
        "StudyValue",
    ],
    "medsam_planner.report": [
        "RISK_NAME",
        "PlanReport",
        "PlannedTool",
        "write_report",
    ],
    "medsam_planner.lab.model_card": [
        "DescribedWeights",
        "describe",
        "train_and_describe",
    ],
    "medsam_planner.lab.calibration": [
        "calibrate",
    ],
    "medsam_planner.cli": [
        "main",
    ],
}

WITHOUT_NAMES = [
    "medsam_planner.engine",
    "medsam_planner.registration",
    "medsam_planner.landmarks",
    "medsam_planner.propagation",
    "medsam_planner.segmentation",
    "medsam_planner.drawing",
    "medsam_planner.workflow",
    "medsam_planner.network",
    "medsam_planner.network.fhir",
    "medsam_planner.reading",
    "medsam_planner.io.objects",
    "medsam_planner.lab",
    "medsam_planner.lab.adaptation",
    "medsam_planner.lab.automatic",
    "medsam_planner.lab.evaluation",
    "medsam_planner.lab.project",
    "medsam_planner.lab.readers",
    "medsam_planner.lab.training",
    "medsam_planner.service",
    "medsam_planner.service.core",
    "medsam_planner.service.http",
    "medsam_planner.service.http.nninteractive",
    "medsam_planner.demo",
    "ui",
]
"""Packages whose modules are imported one by one; the package itself publishes nothing."""


def shown_names(module: ModuleType) -> set[str]:
    """Names without an underscore that a package shows, without its modules."""
    modules = {path.stem for path in Path(str(module.__file__)).parent.iterdir()}
    return {name for name in dir(module) if not name.startswith("_")} - modules - {"annotations"}


@pytest.mark.parametrize("package", PUBLIC_NAMES)
def test_a_package_publishes_exactly_these_names(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == PUBLIC_NAMES[package]
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert shown_names(module) <= set(module.__all__)


@pytest.mark.parametrize("package", WITHOUT_NAMES)
def test_a_package_without_names_has_none(package: str) -> None:
    module = import_module(package)
    assert not hasattr(module, "__all__")
    assert not shown_names(module)


def test_every_package_of_the_build_is_listed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert sorted([*PUBLIC_NAMES, *WITHOUT_NAMES, "weights"]) == sorted(setuptools["packages"])


def test_the_types_of_every_package_are_published() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in ("prompts", "xai", "medsam_planner", "ui"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in setuptools["package-data"][package]
