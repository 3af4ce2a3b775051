"""The box around a mask and its largest part."""

from __future__ import annotations

import numpy as np
import pytest

from prompts.masks import largest_component, mask_box


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_box_holds_the_mask_and_nothing_more(order):
    inside = np.zeros((6, 7, 8), dtype=bool, order=order)
    inside[2:4, 0, 5] = inside[3, 3, 7] = True
    assert mask_box(inside) == (slice(2, 4), slice(0, 4), slice(5, 8))
    assert mask_box(inside, grown=1) == (slice(1, 5), slice(0, 5), slice(4, 8))
    assert mask_box(inside[2]) == (slice(0, 1), slice(5, 6))


def test_the_box_of_an_empty_mask_is_empty():
    inside = np.zeros((3, 4), dtype=bool)
    assert inside[mask_box(inside)].size == 0


def test_parts_that_touch_at_a_corner_are_one_on_request():
    inside = np.zeros((4, 4), dtype=bool)
    inside[0, 0] = inside[1, 1] = inside[2, 2] = True  # three by their corners
    inside[0, 2:] = True
    assert largest_component(inside).sum() == 5  # (1, 1) touches (0, 2)
    np.testing.assert_array_equal(np.argwhere(largest_component(inside, touching=False)), [[0, 2], [0, 3]])
    assert not largest_component(np.zeros((2, 2, 2), dtype=bool)).any()
