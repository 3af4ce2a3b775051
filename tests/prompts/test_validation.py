from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompts import (
    Box,
    Click,
    GeometryError,
    PromptError,
    PromptFile,
    PromptLog,
    Provenance,
    Scribble,
    validate,
    validate_file,
)
from prompts.affine import lps_from_index, nearest_index

SHAPE = (12, 40, 30)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.tuples(*[st.integers(-2 * 8, (n + 2) * 8).map(lambda eighths: eighths / 8 + 1 / 16) for n in SHAPE]))
def test_a_click_is_accepted_exactly_where_a_voxel_holds_it(grid_affine, index):
    click = Click(lps_from_index(grid_affine, index))
    voxel = nearest_index(index)
    if ((voxel >= 0) & (voxel < SHAPE)).all():
        validate(click, grid_affine, SHAPE)
    else:
        with pytest.raises(PromptError, match="Expected a click inside the volume"):
            validate(click, grid_affine, SHAPE)


@pytest.mark.parametrize(
    ("position_lps_mm", "expected"),
    [
        ((5, 5, 14), "2.5 mm to the S of it"),  # the volume ends half a voxel above its last centre, z = 11
        ((5, 5, -3), "2.5 mm to the I of it"),
        ((33, 5, 5), "3.5 mm to the L of it"),
        ((-3.5, 5, 5), "3.0 mm to the R of it"),
        ((33.5, -3.5, 5), "5.0 mm to the A and L of it"),  # 4 mm and 3 mm
    ],
)
def test_a_click_outside_is_told_how_far_and_on_which_side(plain_affine, position_lps_mm, expected):
    with pytest.raises(PromptError, match=expected):
        validate(Click(position_lps_mm), plain_affine, SHAPE)


def test_distance_is_in_millimetres_of_an_oblique_grid(oblique_affine):
    click = Click(lps_from_index(oblique_affine, (11.5 + 4, 5, 5)))
    with pytest.raises(PromptError, match=r"10\.0 mm to the L of it"):  # 4 voxels of 2.5 mm
        validate(click, oblique_affine, SHAPE)


def test_a_scribble_must_lie_wholly_inside(grid_affine):
    validate(Scribble(lps_from_index(grid_affine, [(0, 0, 0), (11, 39, 29), (3, 3, 3)])), grid_affine, SHAPE)
    partly = Scribble(lps_from_index(grid_affine, [(0, 0, 0), (-3, 5, 5), (-9, 5, 5)]))
    with pytest.raises(PromptError, match="2 of 3 positions outside, the farthest at"):
        validate(partly, grid_affine, SHAPE)


def test_the_farthest_position_is_named_where_it_is(plain_affine):
    with pytest.raises(PromptError, match=r"at \(5\.0, 5\.0, -9\.0\) LPS mm, 8\.5 mm to the I"):
        validate(Scribble([(5, 5, 5), (5, 5, -9), (5, 5, 20)]), plain_affine, SHAPE)


def test_a_box_may_reach_out_of_the_volume_and_must_touch_it(grid_affine):
    validate(Box(*lps_from_index(grid_affine, [(-4, 5, 5), (3, 99, 50)])), grid_affine, SHAPE)
    with pytest.raises(PromptError, match="holds at least one voxel of the volume"):
        validate(Box(*lps_from_index(grid_affine, [(-4, 5, 5), (-2, 9, 9)])), grid_affine, SHAPE)


def test_a_box_without_area_is_refused(grid_affine):
    with pytest.raises(PromptError, match="at least two voxels wide"):
        validate(Box(*lps_from_index(grid_affine, [(4, 5, 5), (4, 5, 9)])), grid_affine, SHAPE)


def test_prompts_of_another_frame_of_reference_are_refused(grid_affine):
    click = Click(lps_from_index(grid_affine, (3, 3, 3)))
    with pytest.raises(GeometryError, match=r"frame of reference 1\.2\.4, got prompts in 1\.2\.3"):
        validate(click, grid_affine, SHAPE, frame_of_reference_uid="1.2.3", expected_frame="1.2.4")


@pytest.mark.parametrize("frames", [("1.2.3", "1.2.3"), ("1.2.3", None), (None, "1.2.3"), (None, None)])
def test_an_equal_or_an_unknown_frame_of_reference_is_accepted(grid_affine, frames):
    click = Click(lps_from_index(grid_affine, (3, 3, 3)))
    validate(click, grid_affine, SHAPE, frame_of_reference_uid=frames[0], expected_frame=frames[1])


def test_only_prompts_and_grids_can_be_validated(plain_affine):
    with pytest.raises(PromptError, match="got tuple"):
        validate((0, 0, 0), plain_affine, SHAPE)
    with pytest.raises(GeometryError):
        validate(Click((0, 0, 0)), np.zeros((4, 4)), SHAPE)


# --- a box keeps its meaning only along the axes it was drawn on ---


def turned(affine, angle_deg, *, about):
    """The grid turned about the patient's x (0), y (1) or z (2) axis."""
    angle = np.deg2rad(angle_deg)
    first, second = (about + 1) % 3, (about + 2) % 3
    turn = np.eye(4)
    turn[[first, first, second, second], [first, second, first, second]] = (
        np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
    )  # fmt: skip
    return turn @ affine


@pytest.mark.parametrize("about", [0, 1, 2])
def test_a_box_is_refused_on_a_grid_turned_against_the_one_it_was_drawn_on(plain_affine, about):
    box = Box((20, 20, 20), (40, 40, 20))
    tilted = turned(plain_affine, 10, about=about)
    with pytest.raises(GeometryError, match="a side of the box would move"):
        validate(box, tilted, (60, 60, 60), drawn_on_affine=plain_affine)


def test_how_far_a_side_would_move_is_the_leg_of_a_triangle(plain_affine):
    # A square of 100 mm turned by 10° in its plane: the corners not given reach 100 · sin 10° = 17.4 mm further.
    tilted = turned(plain_affine, 10, about=2)
    with pytest.raises(GeometryError, match=r"would move by 17\.4 voxels"):
        validate(Box((0, 0, 5), (100, 100, 5)), tilted, (60, 300, 300), drawn_on_affine=plain_affine)


def test_a_turn_too_small_to_reach_the_next_voxel_is_no_turn(plain_affine):
    box = Box((0, 0, 5), (50, 50, 5))
    validate(box, turned(plain_affine, 0.1, about=2), (60, 300, 300), drawn_on_affine=plain_affine)  # 0.09 mm
    with pytest.raises(GeometryError, match=r"move by 0\.9 voxels"):
        validate(box, turned(plain_affine, 1.0, about=2), (60, 300, 300), drawn_on_affine=plain_affine)  # 0.87 mm


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_box_is_accepted_on_a_resampled_flipped_or_permuted_copy(grid_affine, order):
    box = Box(*lps_from_index(grid_affine, [(2, 3, 4), (2, 9, 10)]))
    copy = grid_affine[:, [*order, 3]].copy()
    copy[:3, :3] *= 0.5
    copy[:, 3] += copy[:, 1] * 100
    copy[:, 1] *= -1
    validate(box, copy, (200, 200, 200), drawn_on_affine=grid_affine)


def test_clicks_and_scribbles_hold_on_every_grid(plain_affine):
    for prompt in (Click((5, 20, 10)), Scribble([(5, 20, 10), (9, 22, 12)])):
        validate(prompt, turned(plain_affine, 10, about=0), (60, 60, 60), drawn_on_affine=plain_affine)


# --- whole files ---


def file_of(*prompts, **provenance):
    log = PromptLog("liver")
    for prompt in prompts:
        log.add(prompt)
    return PromptFile((PromptLog("spleen"), log), Provenance(**provenance))


def test_a_file_given_on_the_volume_fits_it(grid_affine):
    corners = lps_from_index(grid_affine, [(2, 3, 4), (2, 9, 10)])
    file = file_of(Box(*corners), Click(corners[0]), affine=tuple(map(tuple, grid_affine.tolist())))
    validate_file(file, grid_affine, SHAPE, frame_of_reference_uid="1.2.3")


def test_a_file_that_does_not_fit_says_which_entry_of_which_structure(plain_affine):
    file = file_of(Click((5, 5, 5)), Click((5, 5, 99)))
    with pytest.raises(PromptError, match=r"^'liver', entry 2: Expected a click inside the volume"):
        validate_file(file, plain_affine, SHAPE)


def test_an_undone_prompt_is_checked_because_it_can_be_redone(plain_affine):
    file = file_of(Click((5, 5, 99)))
    file.log("liver").undo()
    with pytest.raises(PromptError, match="'liver', entry 1"):
        validate_file(file, plain_affine, SHAPE)


def test_the_frame_of_reference_and_the_grid_of_a_file_are_checked(plain_affine):
    box = Box((5, 20, 5), (25, 30, 5))
    with pytest.raises(GeometryError, match=r"'liver', entry 1: Expected prompts in the volume's frame"):
        validate_file(file_of(box, frame_of_reference_uid="1.2"), plain_affine, SHAPE, frame_of_reference_uid="1.3")
    file = file_of(box, affine=tuple(map(tuple, plain_affine.tolist())))
    with pytest.raises(GeometryError, match="'liver', entry 1: Expected a volume whose axes run along"):
        validate_file(file, turned(plain_affine, 10, about=0), (60, 60, 60))
