"""The first prompts of the simulated annotator."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.geometry import index_from_lps
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.protocols import Protocol, ellipse_dice, first_prompts, inscribed_ellipse
from medsam_planner.lab.evaluation.references import read_structures
from prompts import Box, Click, box_extent


@pytest.fixture(scope="module")
def structures(cases):
    return list(read_structures(find_cases(cases, ["mr_ball"])[0]))


def test_a_box_lies_on_the_middle_slice_across_the_thick_axis_and_holds_the_section(structures):
    ball = structures[0]
    opening = first_prompts(ball, Protocol.BOX, 0)
    slices = np.flatnonzero(ball.reference.any(axis=(1, 2)))
    assert (opening.axis, opening.slice_index) == (0, slices[len(slices) // 2])
    (box,) = opening.prompts
    extent = box_extent(box, ball.volume.affine, ball.reference.shape)
    assert (extent.axis, extent.low_index[0]) == (0, opening.slice_index)
    section = np.argwhere(ball.reference[opening.slice_index])
    assert (extent.low_index[1:] <= section.min(axis=0)).all() and (extent.high_index[1:] >= section.max(axis=0)).all()


def test_a_click_lies_inside_on_the_middle_slice_and_another_seed_clicks_elsewhere(structures):
    ball = structures[0]
    places = set()
    for seed in range(8):
        opening = first_prompts(ball, Protocol.CLICK, seed)
        (click,) = opening.prompts
        assert isinstance(click, Click) and click.positive
        index = tuple(np.rint(index_from_lps(ball.volume.affine, click.position_lps_mm)).astype(int))
        assert ball.reference[index] and index[0] == opening.slice_index
        places.add(index)
    assert len(places) > 3
    assert first_prompts(ball, Protocol.CLICK, 3) == first_prompts(ball, Protocol.CLICK, 3)


def test_the_challenge_gives_the_range_and_the_box_and_no_box_for_vessels(structures):
    ball, vein = structures
    opening = first_prompts(ball, Protocol.CVPR25, 0)
    whole, section = opening.prompts
    extent = box_extent(whole, ball.volume.affine, ball.reference.shape)
    filled = np.flatnonzero(ball.reference.any(axis=(1, 2)))
    assert (extent.low_index[0], extent.high_index[0]) == (filled[0], filled[-1])
    assert isinstance(section, Box) and box_extent(section, ball.volume.affine, ball.reference.shape).axis == 0
    assert first_prompts(vein, Protocol.CVPR25, 0).prompts == ()
    assert first_prompts(vein, Protocol.BOX, 0).prompts != ()


def test_the_ellipse_touches_the_sides_of_its_box_and_has_its_area():
    ellipse = inscribed_ellipse(np.array([10.0, 20.0, 49.0, 99.0]), (80, 120))
    rows, columns = np.nonzero(ellipse)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (10, 20, 49, 99)
    assert ellipse.sum() == pytest.approx(np.pi * 20 * 40, rel=0.01)


def test_the_ellipse_is_nearly_right_for_an_ellipsoid_and_does_not_exist_without_a_box(structures):
    ball = structures[0]
    assert ellipse_dice(ball, first_prompts(ball, Protocol.BOX, 0)) > 0.95
    assert ellipse_dice(ball, first_prompts(ball, Protocol.CLICK, 0)) is None
