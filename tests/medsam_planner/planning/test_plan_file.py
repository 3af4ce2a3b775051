"""Case files: what is right is read, and each mistake is named with its place."""

from __future__ import annotations

import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.planning.plan_file import read_plan_file

RIGHT = """
title = "Needle"
[study]
path = "study.nii.gz"
[tool]
radius_mm = 1.0
[target]
point_lps_mm = [1.0, 2.0, 3.0]
radius_mm = 2.0
[entry]
skin = true
centre_lps_mm = [0.0, -80.0, 0.0]
radius_mm = 30.0
[[structures]]
name = "vessel"
role = "avoid"
mask = "vessel.nii.gz"
base_margin_mm = 2.0
[limits]
max_length_mm = 100
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("study.nii.gz", "vessel.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def written(folder, text):
    path = folder / "case.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_right_case_is_read_with_absolute_paths_and_defaults(folder):
    case = read_plan_file(written(folder, RIGHT))
    assert case.study.path == folder / "study.nii.gz"
    assert case.structures[0].mask == folder / "vessel.nii.gz"
    assert (case.limits.max_length_mm, case.limits.max_entry_angle_deg) == (100.0, 60.0)


@pytest.mark.parametrize(
    ("find", "put", "told"),
    [
        ("radius_mm = 1.0\n", "", "tool.radius_mm: is missing"),
        ("radius_mm = 1.0\n", "radius_mm = -1.0\n", "tool.radius_mm"),
        ("radius_mm = 1.0\n", 'radius_mm = "thin"\n', "tool.radius_mm"),
        ("radius_mm = 1.0\n", "radius_mm = nan\n", "tool.radius_mm"),
        ("radius_mm = 1.0\n", "radius_mm = 1.0\ndiameter = 2.0\n", "tool.diameter: is no entry"),
        ("[1.0, 2.0, 3.0]", "[1.0, 2.0]", "target.point_lps_mm"),
        ("[1.0, 2.0, 3.0]", "[1.0, 2.0, inf]", "target.point_lps_mm"),
        ("point_lps_mm = [1.0, 2.0, 3.0]\n", "", "exactly one of point_lps_mm"),
        ("skin = true\n", "", "exactly one of skin"),
        ("skin = true\n", 'skin = true\nstructure = "bone"\n', "exactly one of skin"),
        ("radius_mm = 30.0\n", "", "centre_lps_mm and radius_mm together"),
        ('role = "avoid"', 'role = "spare"', "structures.0.role"),
        ('role = "avoid"\n', 'role = "avoid"\nfree_entry_mm = 3.0\n', "free_entry_mm belongs to"),
        ("base_margin_mm = 2.0", "base_margin_mm = 20.0", "max_margin_mm"),
        ('mask = "vessel.nii.gz"', 'mask = "absent.nii.gz"', "do not exist"),
        ('path = "study.nii.gz"', 'path = "absent/"', "do not exist"),
        ("max_length_mm = 100", "max_length_mm = 0", "limits.max_length_mm"),
        ("max_length_mm = 100", "max_length_mm = 1e30", "limits.max_length_mm"),
        ("max_length_mm = 100", "min_clearance_mm = -1e20", "limits.min_clearance_mm"),
        ("base_margin_mm = 2.0", "base_margin_mm = 1e20\nmax_margin_mm = 1e20", "structures.0.base_margin_mm"),
        ("base_margin_mm = 2.0", "max_margin_mm = 1e39", "structures.0.max_margin_mm"),
        ("base_margin_mm = 2.0", "spread_factor = 1e39", "structures.0.spread_factor"),
        ("radius_mm = 1.0\n", "radius_mm = 1.0\nentry_error_mm = 1e20\n", "tool.entry_error_mm"),
        ("radius_mm = 30.0", "radius_mm = 1e20", "entry.radius_mm"),
        ("[1.0, 2.0, 3.0]", "[1.0, 2.0, 1e300]", "target.point_lps_mm"),
        ("max_length_mm = 100", "max_angle = 3", "limits.max_angle: is no entry"),
        ("[limits]", "[limits", "Expected TOML"),
        ("[[structures]]", "[[risks]]", "risks: is no entry"),
    ],
)
def test_each_mistake_is_named_with_its_place(folder, find, put, told):
    assert find in RIGHT
    with pytest.raises(ConfigError, match=r"case\.toml") as caught:
        read_plan_file(written(folder, RIGHT.replace(find, put, 1)))
    assert told in str(caught.value)


def test_two_structures_of_one_name_are_refused(folder):
    twice = RIGHT + '[[structures]]\nname = "vessel"\nrole = "avoid"\n'
    with pytest.raises(ConfigError, match="different names"):
        read_plan_file(written(folder, twice))


SEVERAL = """
title = "Two electrodes"
min_tool_gap_mm = 2.5
[[tools]]
name = "amygdala"
radius_mm = 0.4
target = { point_lps_mm = [1.0, 2.0, 3.0], radius_mm = 1.5 }
entry = { skin = true, centre_lps_mm = [0.0, -80.0, 0.0], radius_mm = 30.0 }
[[tools]]
name = "cingulum"
radius_mm = 0.5
target_error_mm = 2.0
target = { mask = "vessel.nii.gz" }
entry = { mask = "vessel.nii.gz" }
[[structures]]
name = "vessel"
role = "avoid"
mask = "vessel.nii.gz"
"""


def test_one_tool_and_several_are_asked_for_in_the_same_way(folder):
    (only,) = read_plan_file(written(folder, RIGHT)).all_tools()
    assert only.name == "tool" and only.tool.radius_mm == 1.0 and only.target.point_lps_mm == [1.0, 2.0, 3.0]
    case = read_plan_file(written(folder, SEVERAL))
    first, second = case.all_tools()
    assert case.min_tool_gap_mm == 2.5
    assert (first.name, second.name) == ("amygdala", "cingulum")
    assert first.tool.target_error_mm == 2.9 and second.tool.target_error_mm == 2.0
    assert second.target.mask == second.entry.mask == folder.resolve() / "vessel.nii.gz"


def test_one_of_several_tools_is_a_plan_as_well(folder):
    second = SEVERAL[SEVERAL.index('[[tools]]\nname = "cing') : SEVERAL.index("[[structures]]")]
    request = read_plan_file(written(folder, SEVERAL.replace(second, "", 1))).request()
    assert [tool.name for tool in request.tools] == ["amygdala"]


@pytest.mark.parametrize(
    ("find", "put", "told"),
    [
        ("[[structures]]", "[tool]\nradius_mm = 1.0\n[[structures]]", "[[tools]] or [tool]"),
        ('name = "cingulum"', 'name = "amygdala"', "tools with different names"),
        ('name = "cingulum"\n', "", "tools.1.name: is missing"),
        ('target = { mask = "vessel.nii.gz" }', 'target = { mask = "absent.nii.gz" }', "tools[cingulum].target.mask"),
        ("min_tool_gap_mm = 2.5", "min_tool_gap_mm = -1", "min_tool_gap_mm"),
    ],
)
def test_each_mistake_about_several_tools_is_named(folder, find, put, told):
    assert find in SEVERAL
    with pytest.raises(ConfigError) as caught:
        read_plan_file(written(folder, SEVERAL.replace(find, put, 1)))
    assert told in str(caught.value)


@pytest.mark.parametrize("absent", ["tool", "target", "entry"])
def test_a_part_of_the_only_tool_that_is_missing_is_named(folder, absent):
    start = RIGHT.index(f"[{absent}]")
    text = RIGHT[:start] + RIGHT[RIGHT.index("[", start + 1 + len(absent) + 1) :]
    if absent == "target":  # its position holds a bracket too
        text = RIGHT[:start] + RIGHT[RIGHT.index("[entry]") :]
    if absent == "entry":
        text = RIGHT[:start] + RIGHT[RIGHT.index("[[structures]]") :]
    with pytest.raises(ConfigError, match=f"{absent} missing"):
        read_plan_file(written(folder, text))


def test_an_absent_case_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_plan_file(tmp_path / "no.toml")
