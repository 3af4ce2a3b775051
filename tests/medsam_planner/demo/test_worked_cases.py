"""The worked cases find what is known to be there: the way between two ribs, the pedicle, the column."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.cli.app import run
from medsam_planner.demo.implicit_shapes import tube
from medsam_planner.demo.liver_needle import RIB_RADIUS_MM, RIB_X_LPS_MM, chest_wall_phantom
from medsam_planner.demo.pedicle_screw import vertebra_phantom
from medsam_planner.demo.pelvis_bones import lumbar_vertebra
from medsam_planner.demo.real_cases import real_case
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import save_nifti
from medsam_planner.planning import (
    EntryRequest,
    Limits,
    PlanRequest,
    SearchSettings,
    SpreadRule,
    StructureRequest,
    StructureRole,
    TargetRequest,
    Tool,
    ToolRequest,
)
from medsam_planner.planning.screw import gertzbein_robbins, grade_screws
from medsam_planner.planning.structures import StayInside
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.plan import Plan

NEEDLE = Tool(radius_mm=0.92, entry_error_mm=1.0, target_error_mm=1.5)


def planned_needle(gap_mm: float) -> Plan:
    study, masks = chest_wall_phantom(gap_mm=gap_mm)
    request = PlanRequest(
        tools=(
            ToolRequest(
                NEEDLE,
                TargetRequest((-60.0, 5.0, 0.0), 3.0),
                EntryRequest(centre_lps_mm=(-122.0, 0.0, 0.0), radius_mm=gap_mm / 2),
            ),
        ),
        structures=tuple(StructureRequest(name, margin=SpreadRule(base_mm=0.5)) for name in ("ribs", "bundle")),
        limits=Limits(max_length_mm=150.0, max_entry_angle_deg=20.0),
        search=SearchSettings(candidates=3000, alternatives=2, hit_draws=10),
    )
    return mp.plan(request, StudyVolume.from_volume(study, None), masks)


def test_a_needle_passes_between_two_ribs_and_keeps_the_distance_that_it_certifies() -> None:
    made = planned_needle(14.0)
    assert made.feasible
    for path in next(iter(made.joint.plans.values())).alternatives:
        entry, target = np.array(path.entry_lps_mm), np.array(path.target_lps_mm)
        share = (RIB_X_LPS_MM - entry[0]) / (target[0] - entry[0])
        assert abs((entry + share * (target - entry))[2]) < 7.0, "in the gap"
        places = entry + np.linspace(0, 1, 2001)[:, None] * (target - entry)
        axes = np.array([-12.0, 12.0])  # of both ribs: 14 / 2 + 5
        distance = np.hypot(places[:, :1] - RIB_X_LPS_MM, places[:, 2:] - axes).min() - RIB_RADIUS_MM
        assert distance - NEEDLE.radius_mm >= path.clearance_mm_by_structure["ribs"] + 0.5 + 1.0  # margin, error


def test_no_needle_passes_where_the_ribs_are_too_close() -> None:
    made = planned_needle(5.0)  # 5 / 2 < 0.92 + 0.5 + 1.0 + the voxels
    assert not made.feasible


def test_a_screw_through_the_pedicle_has_the_grade_that_the_shape_itself_gives() -> None:
    study, vertebra, canal = vertebra_phantom(spacing_mm=1.0)
    tool = Tool(radius_mm=2.5, entry_error_mm=0.3, target_error_mm=0.3)
    request = PlanRequest(
        tools=(
            ToolRequest(
                tool, TargetRequest((9.0, 6.0, 119.0), 4.0), EntryRequest("vertebra", (21.0, 46.0, 125.0), 9.0)
            ),
        ),
        structures=(
            StructureRequest("vertebra", StructureRole.INSIDE, SpreadRule(base_mm=0.0), 10.0),
            StructureRequest("canal", margin=SpreadRule(base_mm=0.5)),
        ),
        limits=Limits(min_length_mm=25.0, max_length_mm=60.0, max_entry_angle_deg=75.0),
        search=SearchSettings(candidates=4000, alternatives=1, hit_draws=10),
    )
    made = mp.plan(request, StudyVolume.from_volume(study, None), {"vertebra": vertebra, "canal": canal})
    (best,) = next(iter(made.joint.plans.values())).alternatives
    (grade,) = best.screw_grades
    entry, target = np.array(best.entry_lps_mm), np.array(best.target_lps_mm)
    length = np.linalg.norm(target - entry)
    path = entry + np.linspace(10.0 / length, 1, 400)[:, None] * (target - entry)
    breach_mm = max(0.0, float((lumbar_vertebra().distance_mm(path) + tool.radius_mm).max()))
    assert (grade.planned, breach_mm) == ("A", 0.0)
    assert tube([(0, 45, 90), (0, 43, 120), (0, 41, 156)], 8.0).distance_mm(path).min() > tool.radius_mm
    off = np.array([[entry, target]]) + np.array((8.0, 0.0, 0.0))  # beside the pedicle
    true_mm = float((lumbar_vertebra().distance_mm(off[0, 0] + (path - entry)) + tool.radius_mm).max())
    corridor = made.inputs.problem.structures[0]
    assert isinstance(corridor, StayInside)
    (moved,) = grade_screws(off, corridor, tool, draws=1)
    assert moved.breach_mm == pytest.approx(true_mm, abs=1.0)
    assert moved.planned == gertzbein_robbins(moved.breach_mm)


def test_the_part_of_a_real_case_is_where_it_was_and_its_mask_is_that_of_its_labels(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -2.0, 10], [0, 1.5, 0, -4], [3.0, 0, 0, 1], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(0, 4, (6, 8, 10))
    folder = tmp_path / "cases/known"
    folder.mkdir(parents=True)
    for name in ("image", "labels"):
        save_nifti(highdicom.Volume(values.astype(np.int16), affine, "PATIENT"), folder / f"{name}.nii.gz")
    case = real_case(tmp_path, "known")
    assert case is not None
    part = case.cropped((-5.0, -1.0, 4.0), (6.0, 5.0, 13.0))
    places = lps_from_index(part.study.affine, np.argwhere(np.ones(part.study.spatial_shape)))
    assert (places >= (-5, -1, 4)).all() and (places <= (6, 5, 13)).all() and len(places) == 6 * 5 * 4
    found = lps_from_index(part.study.affine, np.argwhere(part.mask([2, 3]).array))
    whole = lps_from_index(case.study.affine, np.argwhere(case.mask([2, 3]).array))
    inside = whole[((whole >= (-5, -1, 4)) & (whole <= (6, 5, 13))).all(axis=1)]
    assert sorted(map(tuple, found.round(3))) == sorted(map(tuple, inside.round(3)))
    with pytest.raises(ConfigError, match="found none"):
        case.cropped((100.0, 0, 0), (120.0, 9, 9))
    with pytest.raises(ConfigError, match="Expected voxels of the labels"):
        case.mask([9])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pedicle-screw", "liver-needle", "column-screw", "seeg"])
def test_each_case_is_one_command_with_a_report_and_its_bone_quality(name: str, tmp_path: Path) -> None:
    assert run(["demo", name, "--out", str(tmp_path)]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["alternatives"] and (tmp_path / "report.html").is_file()
    if name.endswith("screw"):
        assert plan["alternatives"][0]["screw_grades"][0]["planned"] == "A"
        quality = json.loads((tmp_path / "bone_quality.json").read_text())
        assert len(quality["screws"]) == len(plan["alternatives"]) and "no force" in quality["caution"]
        assert all(100 < one["pullout_proxy_n"] < 20_000 for one in quality["screws"])
        assert (tmp_path / "bone_quality.svg").read_text().startswith("<?xml")


def test_data_without_the_case_and_data_for_a_procedural_case_are_refused(tmp_path: Path, capsys) -> None:
    for name, told in (("liver-needle", "Expected the case ct_trunk_totalseg_siemens"), ("seeg", "Expected no --data")):
        assert run(["demo", name, "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
