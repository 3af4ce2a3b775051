"""Surgeons' orders and executed lines, with answers that a reader can redo."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError, PlanningError
from medsam_planner.lab.readers.executed_lines import ExecutedLine, error_means, line_error, read_executed_lines
from medsam_planner.lab.readers.plan_orders import Ranking, order_agreement, read_rankings

LINE = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 100.0]])
LINES_HEAD = (
    "patient,tool,plan,executed_entry_x,executed_entry_y,executed_entry_z,"
    "executed_target_x,executed_target_y,executed_target_z,bone,radius_mm\n"
)


def test_a_line_moved_sideways_and_deeper_has_the_errors_of_pythagoras() -> None:
    found = line_error(LINE, LINE + np.array([3.0, 4.0, 12.0]))
    assert found.entry_mm == found.target_mm == 13 and found.entry_lateral_mm == found.target_lateral_mm == 5
    assert found.target_depth_mm == 12 and found.angle_deg == 0


def test_a_line_turned_about_its_entry_has_that_angle_and_no_entry_error() -> None:
    turn = np.radians(3.0)
    found = line_error(LINE, [[0, 0, 0], [100 * np.sin(turn), 0, 100 * np.cos(turn)]])
    assert found.entry_mm == 0 and found.angle_deg == pytest.approx(3)
    assert found.target_mm == pytest.approx(200 * np.sin(turn / 2))
    assert found.target_lateral_mm == pytest.approx(100 * np.sin(turn))
    assert line_error(LINE, LINE[::-1]).angle_deg == pytest.approx(180)


def test_errors_do_not_depend_on_the_frame() -> None:
    random = np.random.default_rng(0)
    executed = LINE + random.normal(0, 2, (2, 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    moved = line_error(LINE @ rotation.T + 7, executed @ rotation.T + 7)
    plain = line_error(LINE, executed)
    assert moved.angle_deg == pytest.approx(plain.angle_deg) and moved.target_mm == pytest.approx(plain.target_mm)


def test_the_mean_is_over_patients_and_not_over_tools() -> None:
    near, far = (line_error(LINE, LINE + np.array([shift, 0, 0])) for shift in (1, 4))
    lines = [ExecutedLine("p", str(number), near, None, None, None) for number in range(3)]
    lines.append(ExecutedLine("q", "1", far, None, None, None))
    assert error_means(lines)["entry_mm"].mean == 2.5


def test_a_line_without_length_is_refused() -> None:
    with pytest.raises(PlanningError, match="got one point for both"):
        line_error(LINE, [[1, 1, 1], [1, 1, 1]])


def test_orders_that_agree_are_1_that_are_reversed_are_minus_1_and_one_swap_is_by_hand() -> None:
    same, back, swap = (1, 2, 3, 4), (4, 3, 2, 1), (2, 1, 3, 4)  # one of six pairs is discordant: (5 - 1) / 6
    found = order_agreement([Ranking("p", "a", same), Ranking("p", "b", back), Ranking("q", "a", swap)])
    assert found.kendall.mean == pytest.approx((1 - 1 + 4 / 6) / 3)
    assert found.same_first.mean == pytest.approx(1 / 3)
    assert found.between_surgeons is not None and found.between_surgeons.mean == -1
    spearman = order_agreement([Ranking("p", "a", swap)]).spearman  # 1 - 6 (1 + 1) / (4 · 15)
    assert spearman.mean == pytest.approx(0.8) and spearman.low is None


def test_orders_without_any_order_are_counted_or_refused() -> None:
    found = order_agreement([Ranking("p", "a", (1, 1)), Ranking("p", "b", (1, 2))])
    assert found.undefined == 1 and found.kendall.mean == 1
    with pytest.raises(ConfigError, match="all paths are tied"):
        order_agreement([Ranking("p", "a", (1, 1))])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("p,a,1,1\np,a,1,2\n", "a has ranked path 1 of p twice"),
        ("p,a,1,1\np,a,3,2\n", r"has ranked the paths \[1, 3\] of p"),
        ("p,a,1,1\np,a,2,2\np,b,1,1\n", r"b has ranked the paths \[1\] of p"),
        ("p,a,1,x\n", "line 2: expected numbers"),
        ("p,a,0,1\n", "count from 1"),
        ("p,,1,1\n", "line 2: surgeon: expected a value"),
        ("", "no row below its heading"),
    ],
)
def test_rankings_that_are_not_complete_are_refused(rows: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "ranks.csv").write_text(f"case,surgeon,alternative,rank\n{rows}", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_rankings(tmp_path / "ranks.csv")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of one screw in a block of bone, 20 mm wide, around the z axis."""
    folder = tmp_path / "plan"
    folder.mkdir()
    alternative = {"entry_lps_mm": [0, 0, 10], "target_lps_mm": [0, 0, 50]}
    document = {"tools": [{"name": "screw", "alternatives": [alternative]}]}
    (folder / "plan.json").write_text(json.dumps(document), encoding="utf-8")
    bone = np.zeros((60, 60, 60), dtype=np.uint8)
    bone[20:40, 20:40, :] = 1
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS, so that LPS is the index less the middle
    affine[:3, 3] = (29.5, 29.5, 0)
    nib.Nifti1Image(bone, affine).to_filename(tmp_path / "bone.nii.gz")
    return tmp_path


def test_an_executed_screw_is_graded_in_the_bone_of_the_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "p,screw,plan,9,0,10,9,0,50,bone.nii.gz,3\nq,screw,plan,0,0,10,0,0,50,bone.nii.gz,3\n"
    (plan / "lines.csv").write_text(LINES_HEAD + rows, encoding="utf-8")
    off, on = read_executed_lines(plan / "lines.csv")
    assert off.planned_grade == on.executed_grade == "A" and on.error.target_mm == 0
    assert off.error.target_mm == 9 and off.breach_mm == pytest.approx(2, abs=0.6)  # 9 + 3 - 10
    assert off.executed_grade in ("B", "C")
    assert run(["study", "lines", str(plan / "lines.csv"), "--out", str(plan / "out")]) == 0
    assert "2 lines of 2 patients: entry 4.50" in capsys.readouterr().out
    assert "Gertzbein–Robbins" in (plan / "out/lines.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("p,screw,plan,0,0,10,0,0,x,,\n", "expected a number as executed_target_z"),
        ("p,screw,plan,0,0,10,0,0,nan,,\n", "expected a finite number"),
        ("p,screw,plan,0,0,10,0,0,50,,\np,screw,plan,0,0,10,0,0,50,,\n", "the tool screw of p comes twice"),
        ("p,screw,plan,0,0,10,0,0,50,bone.nii.gz,\n", "needs radius_mm"),
    ],
)
def test_lines_that_cannot_be_compared_are_refused(rows: str, said: str, plan: Path) -> None:
    (plan / "lines.csv").write_text(LINES_HEAD + rows, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_executed_lines(plan / "lines.csv")


def test_a_plan_that_is_not_there_and_a_table_without_its_columns_are_refused(plan: Path) -> None:
    (plan / "lines.csv").write_text(LINES_HEAD + "p,screw,other,0,0,10,0,0,50,,\n", encoding="utf-8")
    with pytest.raises(PlanningError, match="Name the folder of a plan"):
        read_executed_lines(plan / "lines.csv")
    (plan / "lines.csv").write_text("patient,tool\np,screw\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="missing: plan, executed_entry_x"):
        read_executed_lines(plan / "lines.csv")


def test_the_command_compares_orders_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"p{case},{who},{path},{path}" for case in range(3) for who in ("a", "b") for path in (1, 2, 3)]
    table = tmp_path / "ranks.csv"
    table.write_text("case,surgeon,alternative,rank\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert run(["study", "orders", str(table), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "2 surgeons, 3 cases: τ-b 1.00 (1.00 to 1.00)" in told and "too narrow" in told
    assert json.loads((tmp_path / "out/orders.json").read_text(encoding="utf-8"))["agreement"]["undefined"] == 0
