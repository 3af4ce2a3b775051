"""Plans in phantoms whose bones nobody segmented: they keep off them, or say what they go through, in mm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.workflow.mask_files import plan_file_evidence
from medsam_planner.workflow.plan import plan

SHAPE = (40, 60, 60)
SPACING_MM = (2.0, 2.0, 2.0)
RIB_HALF_MM, RIB_DEPTH_MM = 4.0, (6.0, 12.0)
"""Ribs run along z in front of the target: 8 mm wide, from 6 to 12 mm below the skin."""


def affine() -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * np.array(SPACING_MM)
    matrix[:3, 3] = (-59.0, -59.0, -39.0)
    return matrix


def grid() -> tuple[NDArray[np.float64], ...]:
    places = lps_from_index(affine(), np.moveaxis(np.indices(SHAPE), 0, -1))
    return places[..., 0], places[..., 1], places[..., 2]


def chest(gap_mm: float) -> NDArray[np.float64]:
    """A flat body from y = -40 backwards, with ribs (800 HU) that leave gaps; the skin lies at y = -40."""
    x, y, _ = grid()
    hu = np.full(SHAPE, -1000.0)
    hu[(y > -40) & (np.abs(x) < 50)] = 40.0
    pitch = 2 * RIB_HALF_MM + gap_mm
    is_rib = np.abs((x + pitch / 2) % pitch - pitch / 2) <= RIB_HALF_MM
    depth = y + 40.0
    hu[is_rib & (np.abs(x) < 48) & (depth > RIB_DEPTH_MM[0]) & (depth < RIB_DEPTH_MM[1])] = 800.0
    return hu


def spine() -> NDArray[np.float64]:
    """A body with a closed tube of bone along z around a canal of 8 mm radius."""
    x, y, _ = grid()
    hu = np.where((np.abs(x) < 50) & (np.abs(y) < 50), 40.0, -1000.0)
    ring = np.hypot(x, y)
    hu[(ring > 8.0) & (ring < 16.0)] = 600.0
    return hu


CASE = """
title = "Needle"
[study]
path = "study.nii.gz"
[tool]
radius_mm = 1.0
entry_error_mm = 0.0
target_error_mm = 0.0
[target]
point_lps_mm = {target}
[entry]
mask = "body.nii.gz"
centre_lps_mm = {entry}
radius_mm = 12.0
{structures}
[limits]
max_length_mm = 90
[search]
candidates = 1500
alternatives = 2
hit_draws = 20
{more}
"""
VESSEL = """
[[structures]]
name = "vessel"
role = "avoid"
mask = "vessel.nii.gz"
"""


def written(
    folder: Path,
    values: NDArray[np.float64],
    *,
    more: str = "",
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
    entry: tuple[float, float, float] = (0.0, -40.0, 0.0),
    structures: str = VESSEL,
) -> Path:
    """A case: the study, its body, and a vessel far from the way."""
    x, y, _ = grid()
    for name, array in (
        ("study", values.astype(np.float32)),
        ("body", (np.abs(x) < 50) & (y > entry[1])),
        ("vessel", np.hypot(x - 40, y - 30) <= 9.0),
    ):
        save_nifti(highdicom.Volume(array, affine(), "PATIENT"), folder / f"{name}.nii.gz")
    case = folder / "case.toml"
    case.write_text(CASE.format(target=list(target), entry=list(entry), structures=structures, more=more))
    return case


def planned(folder: Path, values: NDArray[np.float64], **options: Any) -> dict[str, Any]:
    """What ``plan.json`` will hold."""
    case = read_plan_file(written(folder, values, **options))
    assert case.study is not None
    study = load_volume(case.study.path)
    document = plan(case.request(), study, plan_file_evidence(case, study)).document()
    return json.loads(json.dumps(document, allow_nan=False))


def slope(line: dict[str, Any]) -> float:
    """Length of a path per mm of depth below the flat skin: 1 / cos of its inclination."""
    along = np.subtract(line["target_lps_mm"], line["entry_lps_mm"])
    return float(np.linalg.norm(along) / along[1])


def texts(plan: dict[str, Any], kind: str) -> list[str]:
    return [one["text"] for one in plan["cautions"] if one["kind"] == kind]


def test_a_path_keeps_off_ribs_that_nobody_segmented(tmp_path):
    """Gaps of 16 mm between ribs of 8: the true clearance from the ribs is at least what is certified."""
    plan = planned(tmp_path, chest(16.0))
    assert plan["feasible"]
    assert plan["checked_against"] == ["vessel", "unsegmented_bone"]
    assert "(checked against vessel and unsegmented bone)" in plan["verdict"]["headline"]
    for line in plan["alternatives"]:
        assert line["crossings"] == []
        certified = line["clearance_mm_by_structure"]["unsegmented_bone"]
        entry, target = np.array(line["entry_lps_mm"]), np.array(line["target_lps_mm"])
        path = entry + np.linspace(0, 1, 2000)[:, None] * (target - entry)
        beside = path[(path[:, 1] > -34) & (path[:, 1] < -28)]
        from_ribs = np.abs((beside[:, 0] + 12) % 24 - 12) - RIB_HALF_MM
        assert 0 <= certified <= from_ribs.min() - 1.0


def test_a_path_that_may_cross_ribs_says_how_much_of_them(tmp_path, capsys):
    """Ribs without a gap are a plate of 6 mm, 5 mm below the centres of the outermost voxels, where paths begin."""
    case = written(tmp_path, chest(0.0), more="[unsegmented_bone]\navoid = false\n")
    assert run(["plan", str(case), "--out", str(tmp_path / "out")]) == 0
    plan = json.loads((tmp_path / "out" / "plan.json").read_text(encoding="utf-8"))
    assert plan["checked_against"] == ["vessel"]
    for line in plan["alternatives"]:
        (crossing,) = line["crossings"]
        assert crossing["kind"] == "bone"
        assert crossing["from_mm"] == pytest.approx(5.0 * slope(line), abs=0.01)
        assert crossing["to_mm"] == pytest.approx(11.0 * slope(line), abs=0.01)
        assert crossing["mean_value"] == pytest.approx(800.0)
    assert plan["verdict"]["kind"] == "unchecked"
    (told,) = texts(plan, "crossing")
    assert "mm of unsegmented bone" in told
    assert told in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert told in capsys.readouterr().out


def test_ribs_without_a_gap_are_in_the_way_and_named(tmp_path):
    plan = planned(tmp_path, chest(0.0))
    assert not plan["feasible"]
    assert plan["nearest_miss"]["structure"] == "unsegmented_bone"
    assert [one["constraint"] for one in plan["relaxations"]] == ["unsegmented_bone"]


def test_a_rib_that_was_segmented_is_avoided_under_its_own_name(tmp_path):
    """The whole plate is the structure: nothing is left that nobody segmented."""
    ribs = highdicom.Volume(chest(0.0) > 500, affine(), "PATIENT")
    save_nifti(ribs, tmp_path / "ribs.nii.gz")
    plan = planned(tmp_path, chest(0.0), structures=VESSEL + VESSEL.replace("vessel", "ribs"))
    assert plan["checked_against"] == ["vessel", "ribs"]
    assert plan["nearest_miss"]["structure"] == "ribs"


def test_a_trunk_to_stay_inside_is_no_bone(tmp_path):
    corridor = VESSEL.replace("vessel", "body").replace("avoid", "inside")
    found = planned(tmp_path, chest(0.0), structures=f"{corridor}free_entry_mm = 20\nbase_margin_mm = 0\n")
    assert not found["feasible"]
    assert found["checked_against"] == ["body", "unsegmented_bone"]


def test_a_target_in_bone_is_refused_for_that_reason(tmp_path):
    plan = planned(tmp_path, chest(0.0), target=(0.0, -31.0, 0.0))
    assert not plan["feasible"]
    assert plan["reasons"] == ["The target lies inside unsegmented bone (unsegmented_bone)."]
    assert plan["relaxations"] == []


def test_a_target_in_the_spinal_canal_is_not_reached_and_its_place_is_told(tmp_path):
    plan = planned(tmp_path, spine(), entry=(0.0, -50.0, 0.0))
    assert not plan["feasible"]
    assert plan["nearest_miss"]["structure"] == "unsegmented_bone"
    (told,) = texts(plan, "target enclosed by bone")
    assert "in 100.0 % of the directions" in told
    assert "The target may lie in the spinal canal" in told


def test_a_canal_open_at_the_back_is_reached_under_an_amber_verdict(tmp_path):
    """A gap of 12 mm in the arch: a path without bone, and still not a free one."""
    x, y, _ = grid()
    hu = spine()
    hu[(np.abs(x) < 6) & (y < 0) & (hu > 500)] = 40.0
    plan = planned(tmp_path, hu, entry=(0.0, -50.0, 0.0))
    assert plan["feasible"]
    assert plan["alternatives"][0]["crossings"] == []
    assert plan["verdict"]["kind"] == "unchecked"
    assert [one["kind"] for one in plan["cautions"] if one["is_unchecked"]] == ["target enclosed by bone"]


def test_air_on_the_way_is_a_caution_with_its_length(tmp_path):
    """A lung from 12 to 28 mm below the skin; paths begin 1 mm below it."""
    x, y, z = grid()
    hu = chest(400.0)
    hu[(np.abs(x) < 30) & (np.abs(z) < 30) & (y > -28) & (y < -12)] = -800.0
    plan = planned(tmp_path, hu, more="[unsegmented_bone]\navoid = false\n")
    line = plan["alternatives"][0]
    (air,) = [one for one in line["crossings"] if one["kind"] == "air"]
    assert (air["from_mm"], air["to_mm"]) == pytest.approx((11.0 * slope(line), 27.0 * slope(line)), abs=0.01)
    assert plan["verdict"]["kind"] == "unchecked"
    assert "of air inside the body" in " ".join(texts(plan, "crossing"))


def test_a_plan_past_nothing_is_amber_and_says_so(tmp_path):
    plan = planned(tmp_path, chest(16.0), structures="")
    assert plan["feasible"]
    assert plan["verdict"]["kind"] == "unchecked"
    assert "was checked against is unsegmented bone" in plan["verdict"]["headline"]


def test_an_mr_says_that_bone_is_not_known(tmp_path):
    values = np.where(chest(16.0) > -500, 300.0, 2.0) + np.abs(np.random.default_rng(0).normal(0, 20, SHAPE))
    with pytest.raises(ConfigError, match="expected a CT"):
        planned(tmp_path, values, more="[unsegmented_bone]\navoid = true\n")
    plan = planned(tmp_path, values)
    assert plan["checked_against"] == ["vessel"]
    assert plan["alternatives"][0]["value_profile"]["unit"] == "normalised intensity"
    assert plan["alternatives"][0]["crossings"] == []


def test_a_mask_of_half_the_study_does_not_speak_for_the_other_half(tmp_path):
    """The vessel was drawn on the slices above z = 21, the path runs around z = 0."""
    case = written(tmp_path, chest(16.0))
    whole = load_volume(tmp_path / "vessel.nii.gz")
    axis = int(np.argmax(np.abs(whole.affine[2, :3])))
    upper = whole[tuple(slice(30, None) if other == axis else slice(None) for other in range(3))]
    save_nifti(upper, tmp_path / "vessel.nii.gz")
    checked = read_plan_file(case)
    study = load_volume(tmp_path / "study.nii.gz")
    document = plan(checked.request(), study, plan_file_evidence(checked, study)).document()
    (told,) = texts(document, "mask of part of the study")
    assert "covers only part of the study, about 25.0 %" in told
    assert "leaves that part (0.0 to" in told
    assert document["verdict"]["kind"] == "unchecked"


SOFT_CORRIDOR = """
[[structures]]
name = "organ"
role = "inside"
mask = "organ.nii.gz"
free_entry_mm = 27.0
"""


def test_a_corridor_of_soft_tissue_does_not_let_a_path_through_bone(tmp_path):
    """A shell of 800 HU without a gap lies before the organ that the tool must stay inside."""
    x, y, _ = grid()
    organ = (np.abs(x) < 20) & (y > -24) & (y < 20)
    save_nifti(highdicom.Volume(organ, affine(), "PATIENT"), tmp_path / "organ.nii.gz")
    found = planned(tmp_path, chest(0.0), structures=SOFT_CORRIDOR)
    assert not found["feasible"]
    assert found["nearest_miss"]["structure"] == "unsegmented_bone"
    through = planned(tmp_path, chest(0.0), structures=SOFT_CORRIDOR, more="[unsegmented_bone]\navoid = false\n")
    assert through["feasible"] and through["verdict"]["kind"] == "unchecked"
    assert "mm of unsegmented bone" in " ".join(texts(through, "crossing"))


def test_a_corridor_of_bone_lets_the_tool_through_its_own_cortex_only(tmp_path):
    """A block of bone with a marrow of 150 HU, entered at its own surface; a rib before it is no part of it."""
    x, y, _ = grid()
    hu = np.where((np.abs(x) < 50) & (y > -40), 40.0, -1000.0)
    block = (np.abs(x) < 16) & (y > -20) & (y < 30)
    hu[block] = 150.0
    hu[block & ((np.abs(x) > 12) | (y < -16))] = 700.0
    corridor = (np.abs(x) < 16) & (y > -20) & (y < 30)
    save_nifti(highdicom.Volume(corridor, affine(), "PATIENT"), tmp_path / "organ.nii.gz")
    alone = planned(tmp_path, hu, structures=SOFT_CORRIDOR)
    assert alone["feasible"] and not texts(alone, "crossing"), alone["cautions"]
    hu[(np.abs(x) < 30) & (y > -36) & (y < -32)] = 800.0
    behind = planned(tmp_path, hu, structures=SOFT_CORRIDOR)
    assert "mm of unsegmented bone" in " ".join(texts(behind, "crossing"))
    assert behind["verdict"]["kind"] == "unchecked"


@pytest.mark.parametrize("above_hu", [100_000.0, -50.0])
def test_no_threshold_can_hide_bone(tmp_path, above_hu):
    with pytest.raises(ConfigError, match="above_hu"):
        planned(tmp_path, chest(0.0), more=f"[unsegmented_bone]\nabove_hu = {above_hu}\n")


def test_bone_below_the_threshold_of_avoidance_is_told_all_the_same(tmp_path):
    """Ribs of 300 HU, avoided from 500 HU: they are crossed, and that is said."""
    hu = chest(0.0)
    hu[hu > 500] = 300.0
    found = planned(tmp_path, hu, more="[unsegmented_bone]\nabove_hu = 500\n")
    assert found["feasible"] and found["verdict"]["kind"] == "unchecked"
    assert "mm of unsegmented bone" in " ".join(texts(found, "crossing"))
