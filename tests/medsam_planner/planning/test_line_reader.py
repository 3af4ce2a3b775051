"""Lines that a person places: their measures are known for a ball, a wall and a body with a flat skin."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import lps_from_index
from medsam_planner.planning import Avoid, Limits, Tool
from medsam_planner.planning.clearance import build_distance_fields, clearance_in
from medsam_planner.planning.hit import structure_hit_probability
from medsam_planner.planning.line_reader import LineReader
from medsam_planner.planning.problem import EntryRegion, PlanningProblem
from medsam_planner.planning.sample_fields import SampleFields

SHAPE, STEP_MM = (60, 60, 60), 1.0
TOOL = Tool(1.0, 0.5, 1.5)
BALL, RADIUS_MM, MARGIN_MM = np.array([30.0, 30.0, 30.0]), 8.0, 2.0
WALL_X_MM = 50.0
SKIN_Z_MM = 55.0
"""The body lies below."""


def volume(array: NDArray) -> highdicom.Volume:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1]  # array axes run along z, y, x
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


def places() -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return lps_from_index(volume(np.zeros(SHAPE)).affine, index)


def region(*corners: float) -> NDArray[np.float64]:
    low, high = (np.full(3, one) for one in corners)
    return np.array([np.where(corner, high, low) for corner in np.ndindex(2, 2, 2)])


@pytest.fixture(scope="module")
def reader() -> LineReader:
    where = places()
    ball = np.linalg.norm(where - BALL, axis=-1)
    samples = tuple(volume(ball < RADIUS_MM + grown) for grown in (-0.5, 0.0, 0.5, 1.0))
    structures = (
        Avoid("ball", volume(ball < RADIUS_MM), MARGIN_MM, samples),
        Avoid("wall", volume(where[..., 0] > WALL_X_MM), 0.0),
    )
    entry = np.array([[20.0, 30.0, SKIN_Z_MM]])
    problem = PlanningProblem(
        structures, TOOL, EntryRegion(entry, np.array([[0.0, 0.0, 1.0]])), np.array([[20.0, 30.0, 5.0]]), Limits(60.0)
    )
    box = region(2.0, 57.0)
    kept = {one.name: SampleFields(one, box, SampleFields.reach_of(TOOL, one), TOOL.radius_mm) for one in structures}
    with ThreadPoolExecutor(1) as pool:
        for one in kept.values():
            one.build(pool).result()
    return LineReader(problem, build_distance_fields(structures, box), kept, volume(where[..., 2] <= SKIN_Z_MM))


def straight(x: float, y: float = 30.0, top: float = SKIN_Z_MM) -> NDArray[np.float64]:
    return np.array([[x, y, top], [x, y, 5.0]])


@pytest.mark.parametrize("x", [10.0, 14.5, 18.0])
def test_the_clearance_from_a_ball_is_its_distance_less_margin_radius_and_error(reader: LineReader, x: float) -> None:
    """The line passes the ball at depth 25 of 50 mm, where the error is 1 mm; the voxels may cost up to √3 mm."""
    true_mm = (30.0 - x) - RADIUS_MM - MARGIN_MM - TOOL.radius_mm - 1.0
    found = reader.read(straight(x), TOOL).line.clearance_mm_by_structure["ball"]
    assert true_mm - 2 * math.sqrt(3) <= found <= true_mm + 0.3  # the error is not 1 mm on the whole passage


@pytest.mark.parametrize("x", [40.0, 44.0])
def test_the_clearance_from_a_wall_is_limited_where_the_error_is_largest(reader: LineReader, x: float) -> None:
    """A wall of voxel centres from 51 mm on: the distance is 51 − x, the error at the target 1.5 mm."""
    line = reader.read(straight(x, y=5.0), TOOL).line
    true_mm = 51.0 - x - TOOL.radius_mm - TOOL.target_error_mm
    assert line.limiting_structure == "wall"
    assert true_mm - math.sqrt(3) - 0.1 < line.certified_clearance_mm < true_mm - math.sqrt(3) + 0.01
    assert line.limiting_point_lps_mm[2] == pytest.approx(5.0, abs=0.5)


def test_another_tool_is_read_in_the_same_fields(reader: LineReader) -> None:
    thin, thick = (reader.read(straight(12.0), Tool(radius, 0.5, 1.5)).line for radius in (1.0, 3.0))
    assert thin.certified_clearance_mm - thick.certified_clearance_mm == pytest.approx(2.0, abs=0.02)


def test_the_hit_probability_in_kept_fields_is_that_of_the_planner(reader: LineReader) -> None:
    for x in (12.0, 19.0, 21.0, 24.0):
        line = reader.read(straight(x), TOOL).line
        settings = reader.problem.settings
        for structure in reader.problem.structures:
            found = structure_hit_probability(straight(x), structure, TOOL, settings.hit_draws, settings.seed)
            assert line.hit_probability_by_structure[structure.name] == pytest.approx(found.probability, abs=0.01)


def test_a_tool_beyond_the_kept_fields_has_no_hit_probability_until_they_are_built(reader: LineReader) -> None:
    reading = reader.read(straight(12.0), Tool(1.0, 0.5, 9.0))
    assert not reading.is_hit_known
    assert math.isnan(reading.line.hit_probability)
    assert math.isfinite(reading.line.certified_clearance_mm)


def test_an_entry_is_moved_along_its_line_to_the_skin(reader: LineReader) -> None:
    for top in (40.0, 55.2, 59.0):
        snapped = reader.on_surface(straight(12.0, top=top))
        np.testing.assert_allclose(snapped, straight(12.0), atol=0.8)
    reading = reader.read(reader.on_surface(straight(12.0, top=40.0)), TOOL)
    assert reading.is_at_surface
    assert reading.line.entry_angle_deg == pytest.approx(0.0, abs=1.0)


def test_what_lies_before_an_entry_below_the_skin_is_told(reader: LineReader) -> None:
    reading = reader.read(straight(12.0, top=47.0), TOOL)
    assert reading.below_surface_mm == pytest.approx(8.0, abs=0.5)
    assert not reading.is_at_surface


def test_a_limit_that_is_not_kept_is_named(reader: LineReader) -> None:
    short = replace(reader, problem=replace(reader.problem, limits=Limits(max_length_mm=40.0)))
    broken = short.read(straight(29.0), TOOL).broken_limits
    assert any("50.0 mm long" in one for one in broken)
    assert any("certified clearance" in one for one in broken)


def test_one_point_is_no_line(reader: LineReader) -> None:
    with pytest.raises(PlanningError, match="apart from each other"):
        reader.read(np.zeros((2, 3)), TOOL)


def test_a_field_with_a_margin_widened_everywhere_is_the_field_built_with_that_margin(reader: LineReader) -> None:
    ball = reader.problem.structures[0]
    (built,) = build_distance_fields([replace(ball, margin_mm=MARGIN_MM + 1.5)], region(2.0, 57.0))
    shifted = reader.fields[0].widened(1.5)
    lines = np.stack([straight(x, y) for x in np.arange(3.0, 28.0) for y in (22.0, 27.3, 31.0)])
    one, other = (clearance_in((field,), lines, TOOL).certified_mm for field in (built, shifted))
    np.testing.assert_allclose(one, other, atol=0.03)
