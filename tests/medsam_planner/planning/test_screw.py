"""Screws in tubes of bone, whose breach is radius + offset − radius of the tube."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medsam_planner.errors import PlanningError
from medsam_planner.planning import StayInside, Tool
from medsam_planner.planning.screw import density_along_hu, density_in_tool_hu, gertzbein_robbins, grade_screws

from .planning_scenes import STEADY, capsule, middle, positions, shape_covering, volume

TUBE_MM = 8.0


def tube_scene(affine, *, axis=(0.3, -0.5, 0.8)):
    """A tube of bone, the middle of it, its axis and a direction across."""
    shape = shape_covering(affine, 60.0)
    centre = middle(shape, affine)
    along = np.array(axis) / np.linalg.norm(axis)
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    bone = capsule(shape, affine, centre - 22 * along, centre + 22 * along, TUBE_MM)
    return bone, centre, along, across


def line_at(centre, along, across, offset_mm, half_mm=12.0):
    return np.array([centre + offset_mm * across - half_mm * along, centre + offset_mm * across + half_mm * along])


def test_grades_change_at_two_four_and_six_millimetres():
    grades = gertzbein_robbins([0.0, 0.1, 1.99, 2.0, 3.99, 4.0, 5.99, 6.0, 40.0])
    assert "".join(grades) == "ABBCCDDEE"
    assert gertzbein_robbins(0.5) == "B"
    for wrong in (-0.1, np.nan):
        with pytest.raises(PlanningError, match=">= 0"):
            gertzbein_robbins(wrong)


@pytest.mark.parametrize(
    ("offset", "grade"), [(0.0, "A"), (4.0, "A"), (7.0, "B"), (9.0, "C"), (11.0, "D"), (14.0, "E")]
)
def test_a_screw_off_the_axis_of_a_tube_has_the_breach_that_geometry_gives(any_affine, offset, grade):
    bone, centre, along, across = tube_scene(any_affine)
    line = line_at(centre, along, across, offset)
    (found,) = grade_screws([line], StayInside("bone", bone), Tool(2.0, **STEADY), draws=2)
    assert found.breach_mm == pytest.approx(max(2.0 + offset - TUBE_MM, 0.0), abs=0.7)
    assert found.planned == grade
    assert found.share_by_grade[grade] == 1.0 and found.mask_samples == 0


def test_shares_follow_the_error_of_the_tool(plain_affine):
    """Beside the middle of the tube: breach > t exactly when the displaced axis is farther than R − r + t from it."""
    bone, centre, along, across = tube_scene(plain_affine)
    sigma, radius = 2.5, 3.0
    tool = Tool(radius, sigma, sigma)
    (found,) = grade_screws([line_at(centre, along, across, 2.0, 5.0)], StayInside("bone", bone), tool, 4000, 1)

    def within(room):
        return stats.ncx2.cdf((room / sigma) ** 2, 2, (2.0 / sigma) ** 2)

    edges = [0.0, *(within(TUBE_MM - radius + breach) for breach in (0.0, 2.0, 4.0, 6.0)), 1.0]
    exact = dict(zip("ABCDE", np.diff(edges), strict=True))
    assert sum(found.share_by_grade.values()) == pytest.approx(1.0)
    for grade, share in exact.items():
        assert found.share_by_grade[grade] == pytest.approx(share, abs=0.05), grade
    assert found.acceptable_share == pytest.approx(exact["A"] + exact["B"], abs=0.05)


def test_shares_follow_the_mask_samples(plain_affine):
    bone, centre, along, across = tube_scene(plain_affine)
    thin = capsule(bone.array.shape, plain_affine, centre - 22 * along, centre + 22 * along, 4.0)
    corridor = StayInside("bone", bone, mask_samples=(bone, bone, bone, thin))
    (found,) = grade_screws([line_at(centre, along, across, 0.0)], corridor, Tool(5.0, **STEADY), 3)
    assert found.planned == "A" and found.mask_samples == 4
    assert found.share_by_grade == {"A": 0.75, "B": 0.25, "C": 0.0, "D": 0.0, "E": 0.0}


def test_the_way_in_is_not_graded_when_it_is_free(any_affine):
    bone, centre, along, _ = tube_scene(any_affine)
    line = np.array([centre - 36 * along, centre])
    tool = Tool(1.0, **STEADY)
    assert grade_screws([line], StayInside("bone", bone), tool, 1)[0].planned == "E"
    assert grade_screws([line], StayInside("bone", bone, free_entry_mm=12.0), tool, 1)[0].planned == "A"


def test_a_screw_where_there_is_no_bone_is_grade_e(plain_affine):
    bone, centre, along, across = tube_scene(plain_affine)
    (found,) = grade_screws([line_at(centre, along, across, 300.0)], StayInside("bone", bone), Tool(1.0, **STEADY), 1)
    assert found.planned == "E"


def test_the_same_seed_gives_the_same_shares_and_no_draw_is_refused(plain_affine):
    bone, centre, along, across = tube_scene(plain_affine)
    lines = [line_at(centre, along, across, offset) for offset in (0.0, 5.0)]
    corridor, tool = StayInside("bone", bone), Tool(2.0, 2.0, 2.0)
    assert grade_screws(lines, corridor, tool, 50, 3) == grade_screws(lines, corridor, tool, 50, 3)
    assert grade_screws(np.zeros((0, 2, 3)), corridor, tool) == ()
    with pytest.raises(PlanningError, match="one draw"):
        grade_screws(lines, corridor, tool, 0)


def test_density_of_a_linear_ramp_is_that_of_the_middle_of_the_path(any_affine):
    shape = shape_covering(any_affine, 50.0)
    centre = middle(shape, any_affine)
    ramp = volume(((positions(shape, any_affine) - centre) @ [10.0, 4.0, -3.0]).astype(np.float32), any_affine)
    line = centre + np.array([(-8.0, 2.0, 1.0), (12.0, -2.0, 3.0)])
    expected = (line.mean(axis=0) - centre) @ [10.0, 4.0, -3.0]
    assert density_along_hu(ramp, line) == pytest.approx(expected, abs=0.5)
    assert density_in_tool_hu(ramp, line, 3.0) == pytest.approx(expected, abs=1.5)


def test_a_tool_partly_in_dense_bone_has_the_share_of_its_circle_and_its_axis_does_not_tell(plain_affine):
    """Dense beyond a wall 1 mm beside the axis: a circular segment, (acos k − k √(1 − k²)) / π with k = 1/4."""
    shape = shape_covering(plain_affine, 50.0)
    centre = middle(shape, plain_affine)
    beside = positions(shape, plain_affine)[..., 0] - centre[0]
    split = volume(np.where(beside > 1.0, 1000.0, 0.0), plain_affine)
    line = centre + np.array([(0.0, -10.0, 0.0), (0.0, 10.0, 0.0)])
    assert density_along_hu(split, line) == 0.0
    segment = (np.arccos(0.25) - 0.25 * np.sqrt(1 - 0.25**2)) / np.pi
    assert density_in_tool_hu(split, line, 4.0) == pytest.approx(1000 * segment, abs=30.0)
    assert density_in_tool_hu(split, line[[0, 0]], 4.0) == 0.0
