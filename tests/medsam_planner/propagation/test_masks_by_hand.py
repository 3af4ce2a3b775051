"""Initial masks and edits on analytic solids, with a model whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError, OperationCancelledError, PromptError
from medsam_planner.propagation.front import StopRules
from medsam_planner.provenance import SliceRole, StopReason
from prompts import Edit, InitialMask, Scribble, VoxelMask
from tests.medsam_planner.propagation.test_propagation import COLUMN, SIDE, ball, box_around, click_at, tracker_of

OTHER = np.zeros((SIDE, SIDE, SIDE), dtype=bool)
OTHER[:, 34:40, 30:42] = True
"""A second column, apart from the first."""


@pytest.fixture(params=["plain_affine", "oblique_affine"])
def affine(request):
    return request.getfixturevalue(request.param)


def initial(inside, affine):
    return InitialMask(VoxelMask.from_array(inside, affine))


def edit(inside, affine, *, positive=True):
    return Edit(VoxelMask.from_array(inside, affine), positive=positive)


def on_slices(inside, first, last):
    kept = np.zeros_like(inside)
    kept[first : last + 1] = inside[first : last + 1]
    return kept


def mask_of(tracker, prompts, **options):
    return tracker.run(prompts, **options).probability > 0.5


def roles(tracker, prompts):
    (made,) = tracker.run(prompts).by_axis.values()
    return {record.index: record.role for record in made.trace.records}


@pytest.mark.parametrize("triplanar", [False, True])
def test_an_initial_mask_alone_is_the_mask_and_asks_the_model_nothing(affine, triplanar):
    solid = ball(affine, (24, 24, 24), 12.0)
    given = np.zeros_like(solid)
    given[20:24, 10:20, 12:30] = given[30:33, 3:8, 3:8] = True  # two parts, an empty gap, and little of the ball
    tracker, model = tracker_of(solid, affine)
    assert np.array_equal(mask_of(tracker, [initial(given, affine)], triplanar=triplanar), given)
    assert triplanar or model.decoded == 0
    assert roles(tracker, [initial(given, affine)]) == dict.fromkeys([20, 21, 22, 23, 30, 31, 32], SliceRole.GIVEN)


def test_a_prompt_on_a_slice_of_the_initial_mask_changes_that_slice_and_no_other(affine):
    given = on_slices(COLUMN, 10, 30)
    given[:, 14:16] = False  # two rows of the column are missing
    tracker, _ = tracker_of(COLUMN, affine)
    for index in (10, 20, 30):  # at both ends, and between
        after = mask_of(tracker, [initial(given, affine), click_at(affine, (index, 15, 18))])
        assert np.array_equal(after[index], COLUMN[index])
        assert np.array_equal(np.delete(after, index, axis=0), np.delete(given, index, axis=0))


def test_a_negative_click_takes_a_part_out_of_one_slice_of_the_initial_mask(affine):
    solid = COLUMN | OTHER
    tracker, _ = tracker_of(solid, affine)
    given = on_slices(solid, 10, 30)
    after = mask_of(tracker, [initial(given, affine), click_at(affine, (20, 36, 36), positive=False)])
    assert np.array_equal(after[20], COLUMN[20])
    assert np.array_equal(np.delete(after, 20, axis=0), np.delete(given, 20, axis=0))


def test_a_click_beyond_the_initial_mask_continues_the_structure_from_there(affine):
    given = on_slices(COLUMN, 10, 20)
    tracker, _ = tracker_of(COLUMN, affine)
    after = mask_of(tracker, [initial(given, affine), click_at(affine, (26, 18, 18))])
    assert np.array_equal(after, on_slices(COLUMN, 10, SIDE - 1))  # the gap and what lies beyond; nothing below 10


def test_what_the_initial_mask_leaves_empty_stays_empty_after_a_negative_click(affine):
    given = on_slices(COLUMN, 10, 20)
    tracker, _ = tracker_of(COLUMN, affine)
    for index in (5, 26):
        assert np.array_equal(
            mask_of(tracker, [initial(given, affine), click_at(affine, (index, 18, 18), positive=False)]), given
        )


def test_the_last_initial_mask_replaces_all_before_it(affine):
    first, second = on_slices(COLUMN, 10, 20), on_slices(OTHER, 30, 35)
    tracker, _ = tracker_of(COLUMN | OTHER, affine)
    prompts = [box_around(COLUMN, affine, 24), initial(first, affine), initial(second, affine)]
    assert np.array_equal(mask_of(tracker, prompts[1:]), second)


@pytest.mark.parametrize("positive", [True, False])
def test_an_edit_sets_or_clears_its_voxels_and_its_slice_keeps_the_rest_of_what_was_there(affine, positive):
    solid = ball(affine, (24, 24, 24), 14.0)
    tracker, _ = tracker_of(solid, affine)
    box = box_around(solid, affine, 24)
    painted = np.zeros_like(solid)
    painted[27, 20:25, 20:40] = True  # partly in the ball, partly beyond it
    before = mask_of(tracker, [box])
    after = mask_of(tracker, [box, edit(painted, affine, positive=positive)])
    expected = before[27] | painted[27] if positive else before[27] & ~painted[27]
    assert np.array_equal(after[27], expected)
    assert np.array_equal(after[24], before[24])
    assert roles(tracker, [box, edit(painted, affine, positive=positive)])[27] is SliceRole.GIVEN


def test_the_propagated_slices_follow_from_an_edited_one(affine):
    tracker, _ = tracker_of(COLUMN | OTHER, affine)
    box = box_around(COLUMN, affine, 10)
    after = mask_of(tracker, [box, edit(on_slices(OTHER, 30, 30), affine)])
    assert np.array_equal(after[30:], (COLUMN | OTHER)[30:])
    assert np.array_equal(after[:11], COLUMN[:11])


def test_painting_alone_says_where_the_structure_is(affine):
    tracker, _ = tracker_of(COLUMN, affine)
    assert np.array_equal(mask_of(tracker, [edit(on_slices(COLUMN, 20, 20), affine)]), COLUMN)
    with pytest.raises(PromptError, match="positive click, scribble or edit, or an initial mask"):
        tracker.run([edit(on_slices(COLUMN, 20, 20), affine, positive=False)])


def test_an_edited_slice_lets_the_front_run_as_far_as_a_boxed_one(affine):
    """A mask by hand has no predicted IoU: that of the model must not be measured against it."""
    tracker, model = tracker_of(COLUMN, affine, StopRules(max_iou_loss_mm=0.3))
    model.quality = 0.7
    assert np.array_equal(mask_of(tracker, [edit(on_slices(COLUMN, 20, 20), affine)]), COLUMN)


def test_an_edit_on_a_slice_across_another_axis_is_kept_on_every_slice_that_it_crosses(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    painted = np.zeros_like(COLUMN)
    painted[18:23, 24:28, 20] = True
    prompts = [box_around(COLUMN, plain_affine, 12), edit(painted, plain_affine)]
    after = mask_of(tracker, prompts)
    assert np.array_equal(after[18:23], (COLUMN | painted)[18:23])
    assert [index for index, role in roles(tracker, prompts).items() if role is SliceRole.GIVEN] == [18, 19, 20, 21, 22]


def test_all_slices_of_an_edit_start_from_what_was_there_before_it(plain_affine):
    """Slice 22 is not predicted from the painted slice 21, which would carry the second column there."""
    tracker, _ = tracker_of(COLUMN | OTHER, plain_affine)
    painted = on_slices(OTHER, 21, 21)
    painted[22, 2:4, 2:4] = True
    after = mask_of(tracker, [box_around(COLUMN, plain_affine, 12), edit(painted, plain_affine)])
    assert np.array_equal(after[22], COLUMN[22] | painted[22])


def test_erasing_where_nothing_is_leaves_the_mask_as_it_is(affine):
    tracker, _ = tracker_of(COLUMN, affine, StopRules())
    solid = on_slices(COLUMN, 10, 30)
    tracker, _ = tracker_of(solid, affine)
    box = box_around(solid, affine, 20)
    nothing = np.zeros_like(solid)
    nothing[36, 5:9, 5:9] = True
    assert np.array_equal(mask_of(tracker, [box, edit(nothing, affine, positive=False)]), solid)
    assert 36 not in roles(tracker, [box, edit(nothing, affine, positive=False)])


def test_erasing_all_of_a_slice_ends_the_structure_before_it(affine):
    tracker, model = tracker_of(COLUMN, affine)
    model.quality = 1.0
    box = box_around(COLUMN, affine, 20)
    (made,) = tracker.run([box, edit(on_slices(COLUMN, 30, 30), affine, positive=False)]).by_axis.values()
    assert np.array_equal(made.probability(COLUMN.shape) > 0.5, on_slices(COLUMN, 0, 29))
    assert StopReason.NOT_HERE not in {record.stop for record in made.trace.records}


def test_a_later_prompt_predicts_an_edited_slice_anew_from_its_mask(affine):
    tracker, _ = tracker_of(COLUMN | OTHER, affine)
    prompts = [box_around(COLUMN, affine, 20), edit(on_slices(OTHER, 20, 20), affine)]
    half = [*prompts, edit(on_slices(COLUMN, 20, 20), affine, positive=False)]
    assert np.array_equal(mask_of(tracker, half)[20], OTHER[20])
    again = [*half, click_at(affine, (20, 18, 18))]
    assert np.array_equal(mask_of(tracker, again)[20], (COLUMN | OTHER)[20])
    assert roles(tracker, again)[20] is SliceRole.ANCHOR
    away = [*prompts, click_at(affine, (20, 36, 36), positive=False)]
    assert np.array_equal(mask_of(tracker, away)[20], COLUMN[20])


def test_painted_voxels_stay_where_boxed_slices_of_two_planes_cross_and_the_rest_of_the_slice_too(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 12.0)
    tracker, _ = tracker_of(solid, plain_affine)
    boxes = [box_around(solid, plain_affine, 24, 0), box_around(solid, plain_affine, 24, 2)]
    before = tracker.run(boxes).probability
    for at in (np.s_[26, 2:5, 22:27], np.s_[20:28, 2:5, 24]):  # on a slice of the first plane, and on the second box's
        painted = np.zeros_like(solid)
        painted[at] = True
        for positive in (True, False):
            after = tracker.run([*boxes, edit(painted, plain_affine, positive=positive)]).probability
            assert np.array_equal(after[painted] > 0.5, np.full(painted.sum(), positive))
            beside = ~painted[:, :, 24]
            assert np.array_equal(after[:, :, 24][beside], before[:, :, 24][beside])


def test_a_box_on_another_plane_beside_an_initial_mask_changes_only_its_slice(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 12.0)
    given = solid.copy()
    given[:, :20] = False
    tracker, _ = tracker_of(solid, plain_affine)
    prompts = [initial(given, plain_affine), box_around(solid, plain_affine, 24, 2)]
    expected = given.copy()
    expected[:, :, 24] = solid[:, :, 24]
    assert np.array_equal(mask_of(tracker, prompts), expected)
    prompts.append(box_around(solid, plain_affine, 22, 0))
    expected[22] = solid[22]
    assert np.array_equal(mask_of(tracker, prompts), expected)
    made = tracker.run(prompts, triplanar=True)
    assert np.array_equal(made.probability > 0.5, expected)
    painted = np.zeros_like(solid)
    painted[20, 2:5, 22:27] = True  # crosses slice 24 across the last axis
    expected |= painted
    assert np.array_equal(mask_of(tracker, [*prompts, edit(painted, plain_affine)]), expected)


def test_a_box_on_another_plane_leaves_what_was_propagated_beyond_the_initial_mask(plain_affine):
    given = on_slices(COLUMN, 10, 20)
    tracker, _ = tracker_of(COLUMN, plain_affine)
    prompts = [
        initial(given, plain_affine),
        box_around(COLUMN, plain_affine, 30, 0),
        box_around(COLUMN, plain_affine, 18, 1),
    ]
    expected = on_slices(COLUMN, 10, SIDE - 1)
    expected[:, 18] = COLUMN[:, 18]
    for options in ({}, {"triplanar": True}):
        assert np.array_equal(mask_of(tracker, prompts, **options), expected)


def test_triplanar_propagation_changes_no_slice_of_the_initial_mask_and_none_that_it_leaves_empty(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 12.0)
    given = on_slices(solid, 20, 28)
    tracker, _ = tracker_of(solid, plain_affine)
    after = mask_of(tracker, [initial(given, plain_affine), click_at(plain_affine, (22, 24, 24))], triplanar=True)
    assert np.array_equal(after, given)


def test_a_mask_drawn_on_other_voxels_is_refused(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    with pytest.raises(GeometryError, match="voxels that the mask was drawn on"):
        tracker.run([initial(COLUMN, plain_affine * [[1.1], [1], [1], [1]])])


def test_masks_by_hand_have_no_candidates(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    box, mask = box_around(COLUMN, plain_affine, 20), on_slices(COLUMN, 20, 20)
    scribble = Scribble([click_at(plain_affine, (20, 18, 18)).position_lps_mm])
    for last, words in (
        (scribble, "a scribble"),
        (edit(mask, plain_affine), "an edit"),
        (initial(mask, plain_affine), "an initial mask"),
    ):
        with pytest.raises(PromptError, match=f"{words} has no candidates"):
            tracker.candidate_masks([box, last])


def test_the_mask_is_a_function_of_the_log_and_taking_an_edit_back_costs_nothing(affine):
    prompts = [
        initial(on_slices(COLUMN, 10, 20), affine),
        click_at(affine, (26, 18, 18)),
        edit(on_slices(OTHER, 23, 24), affine),
        click_at(affine, (15, 2, 2), positive=False),
    ]
    eager, model = tracker_of(COLUMN | OTHER, affine)
    for count in range(1, len(prompts) + 1):
        stepwise = eager.run(prompts[:count])
    lazy, _ = tracker_of(COLUMN | OTHER, affine)
    assert np.array_equal(stepwise.probability, lazy.run(prompts).probability)
    before = model.decoded
    eager.run(prompts[:2])
    assert model.decoded == before


class StopAfter:
    """Cancels after so many slices of a stage."""

    def __init__(self, stage, steps):
        self.stage, self.steps, self.reports = stage, steps, []

    def update(self, stage, done, total):
        self.reports.append((stage, done, total))

    @property
    def is_cancelled(self):
        return sum(stage == self.stage for stage, *_ in self.reports) > self.steps


@pytest.mark.parametrize("ask", ["anchors", "candidate_masks", "run"])
def test_what_a_late_click_needs_is_reported_and_can_be_stopped_within_a_slice(plain_affine, ask):
    prompts = [box_around(COLUMN, plain_affine, 5), click_at(plain_affine, (40, 18, 18))]
    tracker, model = tracker_of(COLUMN, plain_affine)
    tracker.anchors(prompts[:1])
    before = model.decoded
    progress = StopAfter("propagating", 3)
    with pytest.raises(OperationCancelledError, match="during 'propagating'"):
        getattr(tracker, ask)(prompts, progress=progress)
    assert 0 < model.decoded - before < 10  # of 42
    assert ("prompted slices", 1, 2) in progress.reports or ask == "candidate_masks"
    fresh, _ = tracker_of(COLUMN, plain_affine)
    assert np.array_equal(mask_of(tracker, prompts), mask_of(fresh, prompts))
