"""What may not change a clearance, and what may only ever lower it, over many random scenes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.planning import Avoid, StayInside, Tool, clearance
from medsam_planner.planning.structures import Structure
from tests.medsam_planner.planning.planning_scenes import positions, random_scene, rotation, volume

pytestmark = pytest.mark.guarantee

SCENES, LINES = 150, 40
ROUNDING_MM = 2e-3
"""Distances are float32, and a walk that ends elsewhere by rounding may end one tolerance (0.01 mm) apart at most."""
TOLERANCE_MM = 0.01 + ROUNDING_MM


def _structures(seed: int) -> tuple[list[Structure], Tool, NDArray[np.float64]]:
    """A structure to avoid with a margin that varies along one axis, or a corridor, in turn."""
    generator = np.random.default_rng(seed)
    mask, margin, tool, lines, _, _ = random_scene(generator, lines=LINES)
    tool = Tool(tool.radius_mm, *generator.uniform(0, 2, 2).tolist())
    if seed % 3 == 0:
        return [StayInside("inside", mask, margin / 4)], tool, lines
    if seed % 3 == 1:
        height = positions(mask.array.shape, mask.affine)[..., 2]
        varying = margin * (height - height.min()) / np.ptp(height)
        return [Avoid("avoid", mask, volume(varying.astype(np.float32), mask.affine))], tool, lines
    return [Avoid("avoid", mask, margin)], tool, lines


def _moved(structure: Structure, array_of, affine: NDArray[np.float64]) -> Structure:
    margin = structure.margin_mm
    if not isinstance(margin, int | float):
        margin = volume(array_of(margin.array), affine)
    return type(structure)(structure.name, volume(array_of(structure.mask.array), affine), margin)


def test_rigid_motion_of_everything_changes_no_clearance():
    for seed in range(SCENES):
        structures, tool, lines = _structures(seed)
        before = clearance(lines, structures, tool).certified_mm
        generator = np.random.default_rng(10_000 + seed)
        motion = np.eye(4)
        motion[:3, :3], motion[:3, 3] = rotation(generator), generator.uniform(-200, 200, 3)
        moved = [_moved(one, lambda array: array, motion @ one.mask.affine) for one in structures]
        after = clearance(lines @ motion[:3, :3].T + motion[:3, 3], moved, tool).certified_mm
        np.testing.assert_allclose(after, before, atol=TOLERANCE_MM)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_order_and_direction_of_the_array_axes_change_no_clearance(order: tuple[int, int, int]):
    for seed in range(SCENES // 3):
        structures, tool, lines = _structures(seed)
        flips = [axis for axis in range(3) if (seed >> axis) & 1]
        before = clearance(lines, structures, tool).certified_mm
        affine = structures[0].mask.affine[:, [*order, 3]].copy()
        shape = np.array(structures[0].mask.array.shape)[list(order)]
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
            affine[:3, axis] *= -1

        def turned(array: NDArray, flips: list[int] = flips) -> NDArray:
            return np.flip(np.transpose(array, order), flips)

        after = clearance(lines, [_moved(one, turned, affine) for one in structures], tool).certified_mm
        np.testing.assert_allclose(after, before, atol=TOLERANCE_MM)


def test_a_line_walked_the_other_way_round_has_the_same_clearance():
    for seed in range(SCENES):
        structures, tool, lines = _structures(seed)
        back = Tool(tool.radius_mm, tool.target_error_mm, tool.entry_error_mm)
        before = clearance(lines, structures, tool).certified_mm
        after = clearance(lines[:, ::-1], structures, back).certified_mm
        np.testing.assert_allclose(after, before, atol=TOLERANCE_MM)


def test_a_wider_margin_a_thicker_tool_and_a_larger_error_never_gain_room():
    for seed in range(SCENES):
        structures, tool, lines = _structures(seed)
        one = structures[0]
        room = clearance(lines, [one], tool).certified_mm
        margin = one.margin_mm
        wider = (
            margin + 0.7 if isinstance(margin, int | float) else volume(margin.array + np.float32(0.7), margin.affine)
        )
        less = clearance(lines, [type(one)(one.name, one.mask, wider)], tool).certified_mm
        assert (less <= room + TOLERANCE_MM).all()
        for changed in (
            Tool(tool.radius_mm + 0.5, tool.entry_error_mm, tool.target_error_mm),
            Tool(tool.radius_mm, tool.entry_error_mm + 0.5, tool.target_error_mm),
            Tool(tool.radius_mm, tool.entry_error_mm, tool.target_error_mm + 0.5),
        ):
            assert (clearance(lines, [one], changed).certified_mm <= room + TOLERANCE_MM).all()


def test_a_thicker_tool_loses_exactly_what_it_is_thicker_by():
    for seed in range(SCENES):
        structures, tool, lines = _structures(seed)
        thick = Tool(tool.radius_mm + 1.25, tool.entry_error_mm, tool.target_error_mm)
        lost = clearance(lines, structures, tool).certified_mm - clearance(lines, structures, thick).certified_mm
        np.testing.assert_allclose(lost, 1.25, atol=TOLERANCE_MM)


def test_one_more_structure_never_gains_room():
    for seed in range(0, SCENES, 2):
        structures, tool, lines = _structures(seed)
        mask = structures[0].mask
        other = Avoid("other", volume(np.roll(mask.array, 5, axis=0), mask.affine), 1.0)
        room = clearance(lines, structures, tool).certified_mm
        both = clearance(lines, [*structures, other], tool)
        assert (both.certified_mm <= room + TOLERANCE_MM).all()
        alone = clearance(lines, [other], tool).certified_mm
        np.testing.assert_allclose(both.certified_mm, np.minimum(room, alone), atol=TOLERANCE_MM)
