from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from prompts import Box, Click, PromptError, Scribble

PROMPTS = [
    Click((1.5, -2.0, 3.0)),
    Click((1.5, -2.0, 3.0), positive=False),
    Box((0.0, 1.0, 2.0), (3.0, 4.0, 5.0)),
    Scribble([(0, 0, 0), (1, 2, 3)], positive=False),
]


def test_tuples_lists_and_arrays_make_equal_prompts():
    assert Click((1, 2, 3)) == Click([1, 2, 3]) == Click(np.array([1.0, 2.0, 3.0], dtype=np.float32))
    assert Box((0, 0, 0), (1, 2, 3)) == Box(np.zeros(3), [1, 2, 3])
    assert Scribble([(0, 0, 0), (1, 2, 3)]) == Scribble(np.array([[0, 0, 0], [1, 2, 3]]))


def test_a_click_is_positive_unless_told():
    assert Click((0, 0, 0)).positive is True
    assert Click((0, 0, 0), positive=np.bool_(False)).positive is False


def test_prompts_hold_plain_floats_and_do_not_follow_the_array_they_came_from():
    array = np.array([1, 2, 3])
    click = Click(array)
    array[:] = 9
    assert click.position_lps_mm == (1.0, 2.0, 3.0)
    assert all(type(value) is float for value in click.position_lps_mm)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: type(prompt).__name__)
def test_prompts_are_values(prompt):
    assert copy.deepcopy(prompt) == prompt
    assert pickle.loads(pickle.dumps(prompt)) == prompt
    assert replace(prompt) == prompt
    assert len({prompt, copy.copy(prompt)}) == 1
    with pytest.raises((FrozenInstanceError, TypeError)):
        prompt.positive = True


def test_all_prompts_differ_from_each_other():
    assert len(set(PROMPTS)) == len(PROMPTS)


def test_minus_zero_is_zero_to_the_last_bit():
    assert str(Click((-0.0, 0.0, -0.0)).position_lps_mm) == "(0.0, 0.0, 0.0)"


@pytest.mark.parametrize(
    "position",
    [
        (1, 2),
        (1, 2, 3, 4),
        5,
        [],
        (1, 2, float("nan")),
        (1, 2, float("inf")),
        ("1", "2", "3"),
        "abc",
        (1, 2, None),
        (1, 2, 3j),
        [[1], [2, 3]],
        [[1, 2, 3]],
        (True, True, False),
        (1, 2, 1e6),
    ],
    ids=repr,
)
def test_what_is_no_position_is_refused(position):
    with pytest.raises(PromptError, match="position"):
        Click(position)
    with pytest.raises(PromptError, match="corner"):
        Box((0, 0, 0), position)


@pytest.mark.parametrize("positions", [[], [1, 2, 3], [[1, 2]], [[1, 2, 3], [1, 2]], [[1, 2, float("nan")]]], ids=repr)
def test_what_is_no_line_is_refused(positions):
    with pytest.raises(PromptError, match="scribble's positions"):
        Scribble(positions)


def test_a_box_needs_two_corners():
    with pytest.raises(PromptError, match=r"two different corners.*use a click"):
        Box((1, 2, 3), (1, 2, 3))


@pytest.mark.parametrize("flag", [1, 0, "true", None])
def test_positive_is_true_or_false_and_nothing_that_resembles_it(flag):
    with pytest.raises(PromptError, match="positive=True"):
        Click((0, 0, 0), positive=flag)
    with pytest.raises(PromptError, match="positive=True"):
        Scribble([(0, 0, 0)], positive=flag)
