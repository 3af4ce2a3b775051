"""What a walk learns on its prompted slice."""

import numpy as np
import pytest

from medsam_planner.engine.logits import logit, sigmoid
from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.propagation.decoding_offsets import LARGEST_SHIFT, best_padding, shift_to_area
from medsam_planner.propagation.front import Anchor, PropagatedClick, SliceGrid, StopRules
from medsam_planner.propagation.motion_compensated import MotionCompensatedFront, fitted_offsets


def disc(radius: float, size: int = 41) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size // 2
    return np.hypot(rows, columns) <= radius


@pytest.mark.parametrize("pixels", [1, 7, 30, 99])
def test_the_shift_gives_the_requested_area(pixels):
    logits = np.random.default_rng(0).permutation(np.linspace(-2.0, 2.0, 100)).reshape(10, 10).astype(np.float32)
    shift = shift_to_area(sigmoid(logits), pixels)
    assert np.count_nonzero(logits + shift > 0) == pixels


def test_the_shift_is_the_least_that_does():
    ramp = np.linspace(-2.0, 2.0, 100, dtype=np.float32).reshape(10, 10)  # 50 inside, steps of 4/99
    assert shift_to_area(sigmoid(ramp), 50) == 0.0
    assert shift_to_area(sigmoid(ramp), 60) == pytest.approx(19 / 99 * 2, abs=0.01)
    assert shift_to_area(sigmoid(ramp), 40) == pytest.approx(-19 / 99 * 2, abs=0.01)


def test_a_shift_that_would_be_another_shape_is_held_back():
    far = np.full((4, 4), sigmoid(np.float32(-9.0)), dtype=np.float32)
    assert shift_to_area(far, 5) == LARGEST_SHIFT
    assert shift_to_area(1 - far, 5) == -LARGEST_SHIFT
    assert logit(far)[0, 0] == pytest.approx(-9.0, abs=1e-3)


def test_a_wider_box_is_taken_only_where_it_is_worth_it():
    truth = disc(10)
    assert best_padding([disc(8), disc(9.4), disc(10)], truth) == 2
    assert best_padding([truth, truth, truth], truth) == 0
    assert best_padding([disc(10), disc(12)], truth) == 0
    assert best_padding([np.zeros_like(truth), disc(3)], truth) == 1


# -- in a walk --------------------------------------------------------------------------------------------------------


class Slices:
    """Slices that all hold the same disc, under a model that answers a propagated mask by `answer`."""

    paddings_px: tuple[float, ...] = ()

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def image(self, index):
        return disc(10).astype(np.float32)

    def segment(self, index, prompt, previous=None, *, logit_shift=0.0):
        self.asked.append((index, prompt, logit_shift))
        return SlicePrediction(sigmoid(self.answer(prompt) + np.float32(logit_shift)), 0.9, None, prompt)


def distance_logits(radius: float, steepness: float = 0.5) -> np.ndarray:
    rows, columns = np.mgrid[:41, :41] - 20
    return ((radius - np.hypot(rows, columns)) * steepness).astype(np.float32)


def anchor_of(radius: float, clicks=()) -> Anchor:
    return Anchor(20, SlicePrediction(sigmoid(distance_logits(radius)), 0.9, None, SlicePrompt()), "said", clicks)


def front_of(anchor: Anchor, slices: Slices) -> MotionCompensatedFront:
    return MotionCompensatedFront(
        anchor, +1, SliceGrid((1.0, 1.0), 1.0), StopRules(), slices, fitted_offsets(anchor, slices)
    )


def test_a_model_that_predicts_too_small_does_not_shrink_along_the_front():
    def smaller(prompt):
        """A disc one pixel smaller than the one propagated."""
        radius = np.sqrt(np.count_nonzero(prompt.mask > 0.5) / np.pi)
        return distance_logits(radius - 1)

    anchor = anchor_of(10)
    slices = Slices(smaller)
    front = front_of(anchor, slices)
    assert front.offsets.logit_shift == pytest.approx(0.5, abs=0.1)  # one pixel, at half a logit a pixel
    last = front.reach(30)[-1].prediction.mask()
    assert np.count_nonzero(last) == pytest.approx(np.count_nonzero(anchor.prediction.mask()), rel=0.05)


def test_the_padding_is_the_one_with_which_the_prompted_slice_comes_back():
    def by_padding(prompt):
        return distance_logits(7 + prompt.padding_px)

    slices = Slices(by_padding)
    slices.paddings_px = (2.0, 3.0, 4.0)
    front = front_of(anchor_of(10), slices)
    assert front.offsets.padding_px == 3.0
    front.reach(21)
    assert slices.asked[-1][1].padding_px == 3.0


def test_a_click_holds_as_far_as_it_reaches():
    clicks = (PropagatedClick(20.0, 12.0, True, reach_mm=3.0), PropagatedClick(25.0, 20.0, False, reach_mm=1.0))
    slices = Slices(lambda prompt: distance_logits(10))
    front_of(anchor_of(10, clicks), slices).reach(25)
    asked = {index: prompt for index, prompt, _ in slices.asked if index > 20}
    assert [None if asked[index].points is None else len(asked[index].points) for index in range(21, 26)] == [
        2,
        1,
        1,
        None,
        None,
    ]
    assert asked[22].points.tolist() == [[20.0, 12.0]]
    assert asked[22].labels.tolist() == [True]
