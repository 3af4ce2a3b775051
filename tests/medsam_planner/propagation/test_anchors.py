"""What a correction asks the model, on a slice that was walked to and on one the person boxed."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.propagation.anchors import SliceEvent, fold_anchors
from medsam_planner.propagation.front import SliceGrid, StopRules
from medsam_planner.propagation.motion_compensated import MotionCompensatedMethod

SHAPE = (12, 16)
MASK = np.zeros(SHAPE, dtype=np.float32)
MASK[3:9, 4:12] = 0.9
"""What a walk had put on slice 5: rows 3 to 8, columns 4 to 11."""
PROPAGATED = SlicePrompt(
    box=np.array([2.0, 3.0, 9.0, 12.0]), mask=MASK, reference_slice=np.full(SHAPE, 0.25, dtype=np.float32)
)  # fmt: skip
ANCHOR = SliceEvent(2, box=(3.0, 4.0, 8.0, 11.0))


class RecordingSlices:
    """Stands in for the slices of a study: records every prompt; prompts with a propagated mask find
    `propagated_area`."""

    paddings_px = ()

    def __init__(self, propagated_area: int = 20) -> None:
        self.propagated_area = propagated_area
        self.questions: list[tuple[SlicePrompt, bool]] = []

    def segment(self, index, prompt, previous=None, *, logit_shift=0.0):
        self.questions.append((prompt, previous is not None))
        found = np.zeros(SHAPE, dtype=np.float32)
        area = 30 if prompt.mask is None else self.propagated_area
        found.ravel()[:area] = 0.9
        return SlicePrediction(found, 0.8, None, prompt)

    def image(self, index):
        return np.zeros(SHAPE, dtype=np.float32)


def corrected(slices, *clicks, walked=PROPAGATED):
    """The anchor of slice 5 after clicks on a mask that answered `walked`."""
    found = {5: SlicePrediction(MASK, 0.8, None, walked)}
    events = [ANCHOR, *(SliceEvent(5, points=(place,), labels=(positive,)) for place, positive in clicks)]
    method = MotionCompensatedMethod(slices, SliceGrid((1.0, 1.0), 1.0), StopRules(), SHAPE)
    anchors = fold_anchors(events, method.predict, lambda anchors: {**found}, {})
    return anchors[5]


def test_missing_parts_are_predicted_from_the_propagated_mask_and_not_from_the_last_prediction():
    slices = RecordingSlices()
    anchor = corrected(slices, ((10.0, 6.0), True))
    _, (prompt, with_answer) = slices.questions
    assert not with_answer
    assert prompt.mask is MASK
    assert prompt.reference_slice is PROPAGATED.reference_slice
    np.testing.assert_array_equal(prompt.box, PROPAGATED.box)
    np.testing.assert_array_equal(prompt.points, [(10.0, 6.0)])
    assert anchor.prediction.mask().sum() == 20


def test_surplus_parts_are_removed_from_the_last_prediction_in_a_box_around_it():
    slices = RecordingSlices()
    anchor = corrected(slices, ((5.0, 10.0), False))
    prompt, with_answer = slices.questions[-1]
    assert with_answer
    assert prompt.mask is None
    np.testing.assert_array_equal(prompt.box, [3, 4, 8, 11])
    np.testing.assert_array_equal(prompt.points, [(5.0, 10.0)])
    assert anchor.prediction.mask().sum() == 30


def test_the_slice_is_empty_when_the_propagated_mask_gives_nothing_with_and_without_the_last_prediction():
    slices = RecordingSlices(propagated_area=0)
    anchor = corrected(slices, ((5.0, 10.0), False))
    assert not anchor.prediction.mask().any()
    assert [with_answer for _, with_answer in slices.questions[1:]] == [False, True]


@pytest.mark.parametrize("positive", [True, False])
def test_on_a_slice_that_the_user_boxed_the_last_prediction_is_refined(positive):
    slices = RecordingSlices()
    boxed = SlicePrompt(box=np.array([2.0, 3.0, 9.0, 12.0]))
    corrected(slices, ((5.0, 10.0), positive), walked=boxed)
    prompt, with_answer = slices.questions[-1]
    assert with_answer
    np.testing.assert_array_equal(prompt.box, boxed.box)
