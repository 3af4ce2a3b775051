"""The most doubtful place of a surface is where the doubt was put."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from prompts.errors import GeometryError
from xai import DoubtfulPlace, EmptyStructureError, UncertaintyError, most_doubtful

SPACING_MM = np.array([3.0, 1.0, 1.5])
SHAPE = (24, 70, 48)
MIDDLE = np.array([12, 35, 24])


def distance_mm(place: tuple[int, ...] | NDArray[np.int_]) -> NDArray[np.float64]:
    """From every voxel to a place."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return np.linalg.norm((grid - np.asarray(place)) * SPACING_MM, axis=-1)


@pytest.fixture(scope="module")
def ball() -> NDArray[np.bool_]:
    return distance_mm(MIDDLE) < 24


def away_mm(place: DoubtfulPlace, other: tuple[int, int, int]) -> float:
    return float(np.linalg.norm((np.array(place.index) - other) * SPACING_MM))


def test_the_largest_doubt_comes_first_and_the_next_one_lies_elsewhere(ball: NDArray[np.bool_]) -> None:
    front, right, top = (12, 35 - 23, 24), (12, 35, 24 + 15), (12 + 7, 35, 24)
    doubt = np.full(SHAPE, 0.2)
    for place, value in ((right, 2.0), (front, 3.0), (top, 1.0)):
        doubt[distance_mm(place) < 9] = value
    found = most_doubtful(doubt, ball, SPACING_MM, count=3)
    assert [one.doubt for one in found] == pytest.approx([3.0, 2.0, 1.0], abs=0.15)
    for one, place in zip(found, (front, right, top), strict=True):
        assert away_mm(one, place) < 9
        assert ball[one.index]


def test_one_noisy_voxel_is_less_than_a_doubtful_patch(ball: NDArray[np.bool_]) -> None:
    noisy, patch = (12, 35 - 23, 24), (12, 35 + 23, 24)
    doubt = np.full(SHAPE, 0.1)
    doubt[noisy] = 5.0
    doubt[distance_mm(patch) < 9] = 1.5
    assert away_mm(most_doubtful(doubt, ball, SPACING_MM)[0], patch) < 9


def test_doubt_away_from_the_surface_counts_nothing_and_places_are_few_where_it_is_small(
    ball: NDArray[np.bool_],
) -> None:
    doubt = np.zeros(SHAPE)
    doubt[distance_mm(MIDDLE) < 12] = 9.0
    assert most_doubtful(doubt, ball, SPACING_MM) == ()
    doubt[:] = 0.1
    doubt[distance_mm((12, 12, 24)) < 9] = 1.0
    assert len(most_doubtful(doubt, ball, SPACING_MM)) == 1


def test_places_keep_their_distance(ball: NDArray[np.bool_]) -> None:
    found = most_doubtful(np.ones(SHAPE), ball, SPACING_MM, count=6, apart_mm=20)
    assert len(found) == 6
    for number, one in enumerate(found):
        assert all(away_mm(one, other.index) >= 20 for other in found[:number])  # type: ignore[arg-type]


def test_a_slice_alone_has_doubtful_places() -> None:
    square = np.zeros((40, 40), dtype=bool)
    square[10:30, 10:30] = True
    doubt = np.zeros((40, 40))
    doubt[8:12, 15:25] = 1.0
    (found,) = most_doubtful(doubt, square, (1.0, 1.0))
    assert found.index[0] == 10 and 15 <= found.index[1] < 25


def test_what_has_no_surface_or_does_not_fit_is_refused(ball: NDArray[np.bool_]) -> None:
    with pytest.raises(EmptyStructureError):
        most_doubtful(np.ones(SHAPE), np.zeros(SHAPE, dtype=bool), SPACING_MM)
    with pytest.raises(GeometryError):
        most_doubtful(np.ones((3, 3, 3)), ball, SPACING_MM)
    with pytest.raises(GeometryError):
        most_doubtful(np.ones(SHAPE), ball, (1.0, 1.0))
    with pytest.raises(UncertaintyError):
        most_doubtful(np.ones(SHAPE), ball, SPACING_MM, count=0)
