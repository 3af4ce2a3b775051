"""Propagation from a memory: what is taught on one slice reaches all, and what was prompted stays as asked."""

from __future__ import annotations

import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.errors import OperationCancelledError, PromptError
from medsam_planner.propagation.front import Anchor, StopRules
from medsam_planner.propagation.memory_propagation import (
    CROP_SHIFT,
    PROMPTED_REMEMBERED,
    PROPAGATED_REMEMBERED,
    nearest_prompted,
)
from medsam_planner.provenance import SliceRole, StopReason

from ..memory_studies import OTHER, PROMPTED, SHAPE, box_on, bytes_of, click_on, study, write_memory_weights

FREE = StopRules(min_quality=0.0)
"""Random weights know nothing of their quality."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_memory_weights(tmp_path_factory.mktemp("weights") / "memory.safetensors")


@pytest.fixture
def session(weights):
    made = mp.Session(study(), str(weights), seed=5, rules=FREE)
    made.add(box_on(PROMPTED))
    return made


def _probability(session) -> np.ndarray:
    return session.segment(samples=0).probability.array.copy()


def test_a_correction_above_the_prompted_slice_is_known_below_it(session):
    """Without a memory a walk downwards could not know of it."""
    before = _probability(session)
    session.add(click_on(OTHER, (30, 30)))
    after = _probability(session)
    assert not np.array_equal(before[OTHER], after[OTHER])
    assert not np.array_equal(before[PROMPTED - 2], after[PROMPTED - 2])


def test_a_prompted_slice_keeps_its_prediction_when_others_are_corrected(session):
    boxed = _probability(session)[PROMPTED]
    session.add(click_on(OTHER, (30, 30)))
    clicked = _probability(session)[OTHER]
    session.add(click_on(2, (20, 20), positive=False))
    session.add(box_on(12))
    after = _probability(session)
    assert bytes_of(after[PROMPTED]) == bytes_of(boxed)
    assert bytes_of(after[OTHER]) == bytes_of(clicked)


def test_a_second_correction_of_a_slice_uses_prompts_on_other_slices(session):
    session.add(click_on(PROMPTED, (30, 30), positive=False))
    alone = _probability(session)[PROMPTED]
    session.undo()
    session.add(click_on(OTHER, (30, 30)))
    session.add(click_on(PROMPTED, (30, 30), positive=False))
    assert not np.array_equal(_probability(session)[PROMPTED], alone)


def test_a_slice_is_predicted_from_the_prompted_slices_and_the_last_propagated_ones(session):
    session.add(click_on(PROMPTED + 1, (30, 30)))
    tracker = session._tracker("structure")
    predictions = tracker.run(session.log().prompts).by_axis[0].predictions
    asked = {(one.index, one.prompted) for one in predictions[PROMPTED + 5].memory}
    walked = {(PROMPTED + 5 - step, False) for step in range(1, PROPAGATED_REMEMBERED + 1)}
    assert asked == {(PROMPTED, True), (PROMPTED + 1, True)} | walked


def test_of_many_prompted_slices_the_nearest_are_remembered():
    blank = SlicePrediction(np.zeros((4, 4), np.float32), 1.0, None, SlicePrompt())
    anchors = {index: Anchor(index, blank, str(index)) for index in range(0, 40, 2)}
    found = [one.index for one in nearest_prompted(anchors, 10)]
    assert len(found) == PROMPTED_REMEMBERED
    assert sorted(found) == [4, 6, 8, 12, 14, 16]


def test_the_same_log_gives_the_same_bytes_in_any_order_of_calls(session, weights):
    session.segment(samples=0)
    session.add(click_on(OTHER, (30, 30)))
    session.segment(samples=0)
    session.add(click_on(3, (24, 22), positive=False))
    once = session.segment(samples=6, uncertainty="dropout+jitter+augment")
    fresh = mp.Session(study(), str(weights), seed=5, rules=FREE)
    fresh.restore(session.log())
    again = fresh.segment(samples=6, uncertainty="dropout+jitter+augment")
    for name in ("mask", "probability", "uncertainty", "mutual_information"):
        assert bytes_of(getattr(once, name)) == bytes_of(getattr(again, name)), name
    assert bytes_of(once.mask_samples.masks) == bytes_of(again.mask_samples.masks)


@pytest.mark.parametrize("source", ["dropout", "jitter", "augment"])
def test_every_source_varies_the_passes_and_leaves_the_mask(session, source):
    plain = session.segment(samples=0)
    varied = session.segment(samples=8, uncertainty=source)
    assert bytes_of(varied.mask) == bytes_of(plain.mask)
    assert varied.mask_samples.masks.any(axis=0).sum() > varied.mask_samples.masks.all(axis=0).sum()


def test_undo_and_redo_bring_back_the_very_mask(session):
    boxed = _probability(session)
    session.add(click_on(OTHER, (30, 30)))
    clicked = _probability(session)
    session.undo()
    assert bytes_of(_probability(session)) == bytes_of(boxed)
    session.redo()
    assert bytes_of(_probability(session)) == bytes_of(clicked)


class _StopAfter:
    """A watcher that wants to stop after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def update(self, stage: str, done: int, total: int) -> None:
        self.steps -= 1

    @property
    def is_cancelled(self) -> bool:
        return self.steps <= 0


def test_a_cancelled_propagation_goes_on_to_the_same_bytes(session, weights):
    with pytest.raises(OperationCancelledError):
        session.segment(samples=0, progress=_StopAfter(4))
    with pytest.raises(OperationCancelledError):
        session.segment(samples=4, progress=_StopAfter(18))
    fresh = mp.Session(study(), str(weights), seed=5, rules=FREE)
    fresh.add(box_on(PROMPTED))
    assert bytes_of(session.segment(samples=4).uncertainty) == bytes_of(fresh.segment(samples=4).uncertainty)


def test_the_predicted_iou_ends_a_front(weights):
    strict = mp.Session(study(), str(weights), rules=StopRules(min_quality=1.0))
    strict.add(box_on(PROMPTED))
    records = strict.segment(samples=0).trace.records
    assert [record.index for record in records] == [PROMPTED - 1, PROMPTED, PROMPTED + 1]
    assert {record.stop for record in records if record.role is SliceRole.STOPPED} == {StopReason.LOW_QUALITY}


def test_a_slice_that_holds_nothing_is_remembered_as_such(weights):
    """The walk ends before it, so nothing lies there when "not here" is said; what it teaches reaches the rest."""
    session = mp.Session(study(), str(weights), rules=StopRules(min_quality=1.0))
    session.add(box_on(PROMPTED))
    session.add(click_on(OTHER, positive=False))
    assert not session.segment(samples=0).mask.array[OTHER].any()
    walked = session._tracker("structure")._propagator(0)
    front = walked._method.front(
        session._tracker("structure").anchors(session.log().prompts)[0], PROMPTED, -1, is_between=False
    )
    (visit,) = front.reach(PROMPTED - 1)
    assert [(one.index, one.prompted) for one in visit.prediction.memory] == [(PROMPTED, True), (OTHER, True)]


def test_a_second_plane_and_all_planes_are_predicted_too(session):
    one = session.segment(samples=0)
    three = session.segment(samples=4, triplanar=True, uncertainty="triplanar")
    assert bytes_of(three.probability) != bytes_of(one.probability)
    assert bytes_of(three.probability.array[PROMPTED]) == bytes_of(one.probability.array[PROMPTED])


def test_a_field_stays_while_the_structure_stays_and_is_opened_anew_where_it_moves(session):
    tracker = session._tracker("structure")
    tracker.run(session.log().prompts)
    method = tracker._propagator(0)._method
    front = method.front(tracker.anchors(session.log().prompts)[0], PROMPTED, +1, is_between=False)

    def opened(row: int, radius: int) -> Crop:
        rows, columns = np.indices(SHAPE[1:])
        disc = (np.hypot(rows - row, columns - 22) <= radius).astype(np.float32)
        return front._crop(SlicePrediction(disc, 0.9, Crop((24.0, 22.0), (38.0, 38.0), 32), SlicePrompt()))

    known = Crop((24.0, 22.0), (38.0, 38.0), 32)
    assert opened(24, 10) == known
    assert opened(24 + int(CROP_SHIFT * 38), 10) == known
    assert opened(24 + int(CROP_SHIFT * 38) + 2, 10).centre_rc == (30.0, 22.0)
    assert opened(24, 4).side_rc[0] < 38.0
    assert opened(24, 16).side_rc[0] > 38.0


def test_a_choice_beyond_what_is_offered_is_refused(session):
    session.log().choose(7)
    with pytest.raises(PromptError, match="among 3 candidates"):
        session.segment(samples=0)
