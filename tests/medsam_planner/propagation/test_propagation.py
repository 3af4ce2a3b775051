"""Propagation on analytic solids, with a model whose answers are known by hand."""

from __future__ import annotations

from dataclasses import replace

import highdicom
import numpy as np
import pytest

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.propagation.front import StopRules, Visit
from medsam_planner.propagation.structure import StructureTracker
from medsam_planner.propagation.volume import cut_at_end, meeting_slice
from medsam_planner.provenance import SliceRecord, SliceRole, StopReason
from prompts import Box, Click, Scribble
from tests.medsam_planner.propagation.threshold_model import ThresholdModel

SIDE = 48


def ball(affine, centre_index, radius_mm, shape=(SIDE, SIDE, SIDE)):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    offset = lps_from_index(affine, index) - lps_from_index(affine, centre_index)
    return np.linalg.norm(offset, axis=-1) <= radius_mm


def tracker_of(solid, affine, rules=None):
    """A tracker over a volume that is 1000 in the solid and 0 outside."""
    volume = highdicom.Volume((solid * 1000.0).astype(np.float32), affine, "PATIENT")
    model = ThresholdModel(SIDE)
    segmenter = SliceSegmenter(volume, model, normalisation_for(volume, (500.0, 1000.0), "full"), EmbeddingCache(10**8))
    return StructureTracker(segmenter, rules or StopRules()), model


def box_around(solid, affine, index, axis=0):
    section = np.argwhere(np.take(solid, index, axis=axis))
    low, high = (np.insert(corner, axis, index) for corner in (section.min(0), section.max(0)))
    return Box(lps_from_index(affine, low), lps_from_index(affine, high))


def click_at(affine, index, positive=True):
    return Click(lps_from_index(affine, index), positive=positive)


@pytest.fixture(params=["plain_affine", "oblique_affine"])
def affine(request):
    return request.getfixturevalue(request.param)


def test_one_box_fills_a_ball_and_both_fronts_end_where_it_ends(affine):
    solid = ball(affine, (24, 24, 24), 14.0)
    tracker, _ = tracker_of(solid, affine)
    made = tracker.run([box_around(solid, affine, 24)])
    assert np.array_equal(made.probability > 0.5, solid)
    stops = {record.stop for record in made.by_axis[0].trace.records if record.stop}
    assert stops == {StopReason.EMPTY}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_on_any_plane_propagates_across_that_plane(affine, axis):
    solid = ball(affine, (24, 24, 24), 12.0)
    tracker, _ = tracker_of(solid, affine)
    made = tracker.run([box_around(solid, affine, 24, axis)])
    assert made.axis == axis
    assert np.array_equal(made.probability > 0.5, solid)


def test_a_rod_that_leaves_its_own_shadow_between_two_slices_is_followed(plain_affine):
    # Two voxels wide and two further on every slice: no section overlaps the one before.
    solid = np.zeros((SIDE, SIDE, SIDE), dtype=bool)
    for index in range(20, 30):
        solid[index, 20:26, 2 * index - 24 : 2 * index - 22] = True
    tracker, _ = tracker_of(solid, plain_affine)
    made = tracker.run([box_around(solid, plain_affine, 24)])
    assert np.array_equal(made.probability > 0.5, solid)


def test_what_vanished_is_not_seeded_again(plain_affine):
    near, far = ball(plain_affine, (12, 24, 24), 7.0), ball(plain_affine, (34, 24, 24), 7.0)
    tracker, _ = tracker_of(near | far, plain_affine)
    made = tracker.run([box_around(near, plain_affine, 12)])
    assert np.array_equal(made.probability > 0.5, near)


def test_a_box_on_each_part_finds_both_and_the_fronts_between_them_stop(plain_affine):
    near, far = ball(plain_affine, (12, 24, 24), 7.0), ball(plain_affine, (34, 24, 24), 7.0)
    tracker, _ = tracker_of(near | far, plain_affine)
    made = tracker.run([box_around(near, plain_affine, 12), box_around(far, plain_affine, 34)])
    assert np.array_equal(made.probability > 0.5, near | far)
    assert made.by_axis[0].trace.anchors() == (12, 34)


def test_fronts_of_two_anchors_meet_in_the_middle(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 15.0)
    tracker, _ = tracker_of(solid, plain_affine)
    made = tracker.run([box_around(solid, plain_affine, 18), box_around(solid, plain_affine, 29)])
    met = [record.index for record in made.by_axis[0].trace.records if record.stop is StopReason.MET]
    assert met == [23, 24]
    assert np.array_equal(made.probability > 0.5, solid)


def test_a_front_that_stopped_leaves_its_share_of_the_gap_to_the_other(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 15.0)
    solid[16] = False
    solid[16, 23:26, 23:26] = True  # a waist that the front from 12 stumbles over
    tracker, _ = tracker_of(solid, plain_affine, StopRules(min_overlap=0.4))
    made = tracker.run([box_around(solid, plain_affine, 12), box_around(solid, plain_affine, 34)])
    mask = made.probability > 0.5
    assert np.array_equal(mask[17:35], solid[17:35])


def test_a_three_dimensional_box_bounds_the_range(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 15.0)
    tracker, _ = tracker_of(solid, plain_affine)
    low, high = (20, 8, 8), (30, 40, 40)
    made = tracker.run([Box(lps_from_index(plain_affine, low), lps_from_index(plain_affine, high))])
    filled = np.flatnonzero((made.probability > 0.5).any(axis=(1, 2)))
    assert (filled[0], filled[-1]) == (20, 30)
    reasons = {record.index: record.stop for record in made.by_axis[0].trace.records if record.stop}
    assert reasons == {20: StopReason.RANGE_END, 30: StopReason.RANGE_END}


def test_the_end_of_the_volume_is_recorded(plain_affine):
    solid = np.zeros((SIDE, SIDE, SIDE), dtype=bool)
    solid[:, 20:30, 20:30] = True
    tracker, _ = tracker_of(solid, plain_affine)
    made = tracker.run([box_around(solid, plain_affine, 20)])
    reasons = {record.index: record.stop for record in made.by_axis[0].trace.records if record.stop}
    assert reasons == {0: StopReason.VOLUME_END, SIDE - 1: StopReason.VOLUME_END}
    assert np.array_equal(made.probability > 0.5, solid)


def jump_to(solid, index, rows, columns):
    changed = solid.copy()
    changed[index] = False
    changed[index, rows, columns] = True
    return changed


COLUMN = np.zeros((SIDE, SIDE, SIDE), dtype=bool)
COLUMN[:, 14:24, 14:24] = True


@pytest.mark.parametrize(
    ("solid", "rules", "reason"),
    [
        (jump_to(COLUMN, 26, slice(10, 40), slice(10, 40)), StopRules(min_overlap=0.0), StopReason.AREA_JUMP),
        (jump_to(COLUMN, 26, slice(22, 32), slice(22, 32)), StopRules(), StopReason.LOW_OVERLAP),
        (
            jump_to(COLUMN, 26, slice(23, 33), slice(23, 33)),
            StopRules(min_overlap=0.0, max_centroid_drift_mm=10.0),
            StopReason.CENTROID_JUMP,
        ),
        (COLUMN, StopRules(min_quality=0.95), StopReason.LOW_QUALITY),
        (COLUMN, StopRules(max_entropy_bits=1e-4), StopReason.UNCERTAIN),
    ],
)
def test_each_rule_stops_the_front_and_the_slice_stays_empty(plain_affine, solid, rules, reason):
    tracker, _ = tracker_of(solid, plain_affine, rules)
    made = tracker.run([box_around(COLUMN, plain_affine, 24)])
    refused = [record for record in made.by_axis[0].trace.records if record.index > 24 and record.stop]
    assert [record.stop for record in refused] == [reason]
    assert refused[0].role is SliceRole.STOPPED
    assert not (made.probability[refused[0].index :] > 0.5).any()


def test_limits_per_step_widen_with_thick_slices(plain_affine):
    """The same shift in the plane is a jump between slices 1 mm apart and none between slices 9 mm apart."""
    solid = jump_to(COLUMN, 26, slice(18, 28), slice(18, 28))
    thick = plain_affine.copy()
    thick[:3, 0] *= 9.0
    rules = StopRules(min_overlap=0.0, max_centroid_drift_mm=5.0)
    ends = {}
    for name, grid in (("thin", plain_affine), ("thick", thick)):
        tracker, _ = tracker_of(solid, grid, rules)
        made = tracker.run([box_around(COLUMN, grid, 24)])
        ends[name] = made.by_axis[0].trace.records[-1].index
    assert ends == {"thin": 26, "thick": SIDE - 1}


def test_a_click_on_another_slice_becomes_an_anchor_that_is_never_overwritten(plain_affine):
    solid = COLUMN.copy()
    solid[28:, 30:36, 30:36] = True  # a neighbour nobody asked for yet
    tracker, _ = tracker_of(solid, plain_affine)
    box = box_around(COLUMN, plain_affine, 20)
    more = click_at(plain_affine, (32, 33, 33))
    made = tracker.run([box, more])
    assert made.by_axis[0].trace.anchors() == (20, 32)
    assert np.array_equal(made.probability[32] > 0.5, solid[32])


def test_a_negative_click_where_a_mask_leaked_takes_the_leak_away(plain_affine):
    solid = COLUMN.copy()
    solid[30:, 34:44, 14:24] = True
    tracker, _ = tracker_of(solid, plain_affine)
    box = box_around(COLUMN, plain_affine, 20)
    both = [box, click_at(plain_affine, (36, 38, 18))]
    assert (tracker.run(both).probability[36, 34:44, 14:24] > 0.5).all()
    fixed = tracker.run([*both, click_at(plain_affine, (36, 38, 18), positive=False)])
    assert not (fixed.probability[36, 34:44, 14:24] > 0.5).any()


def test_saying_not_here_on_an_empty_slice_bars_the_way(plain_affine):
    tracker, model = tracker_of(COLUMN, plain_affine)
    model.quality = 1.0  # a model in doubt gives up slices on the way, see below
    barred = [click_at(plain_affine, (30, 2, 2), positive=False), box_around(COLUMN, plain_affine, 20)]
    made = tracker.run(barred)
    assert not (made.probability[30:] > 0.5).any()
    assert np.array_equal(made.probability[:30] > 0.5, COLUMN[:30])


def test_a_new_prompt_decodes_only_the_slices_between_its_neighbouring_anchors(plain_affine):
    tracker, model = tracker_of(COLUMN, plain_affine)
    prompts = [box_around(COLUMN, plain_affine, index) for index in (8, 24, 40)]
    tracker.run(prompts)
    before = model.decoded
    tracker.run([*prompts, click_at(plain_affine, (20, 18, 18))])
    # Anchors at 8, 20, 24: the click itself, what its walks learn from it, and from 20 down to 9 and up to 23; the
    # fronts from 8 and 24 are known.
    assert model.decoded - before == 1 + 1 + 11 + 3
    before = model.decoded
    tracker.run(prompts)
    assert model.decoded == before, "taking the click back costs nothing"


def test_the_mask_is_a_function_of_the_log_and_not_of_the_order_of_calls(affine):
    solid = ball(affine, (24, 24, 24), 14.0)
    prompts = [
        box_around(solid, affine, 24),
        click_at(affine, (22, 24, 24)),
        click_at(affine, (27, 2, 2), positive=False),
    ]
    eager, _ = tracker_of(solid, affine)
    for count in range(1, len(prompts) + 1):
        stepwise = eager.run(prompts[:count])
    lazy, _ = tracker_of(solid, affine)
    assert np.array_equal(stepwise.probability, lazy.run(prompts).probability)


def test_a_scribble_across_slices_prompts_each_of_them(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    ends = [lps_from_index(plain_affine, index) for index in ((18, 18, 18), (22, 18, 18))]
    made = tracker.run([Scribble(np.array(ends))])
    assert made.by_axis[0].trace.anchors() == (18, 19, 20, 21, 22)
    assert np.array_equal(made.probability > 0.5, COLUMN)


def test_triplanar_passes_keep_the_prompted_slice_and_agree_on_a_ball(affine):
    solid = ball(affine, (24, 24, 24), 12.0)
    tracker, _ = tracker_of(solid, affine)
    made = tracker.run([box_around(solid, affine, 24)], triplanar=True)
    assert sorted(made.by_axis) == [0, 1, 2]
    assert np.array_equal(made.probability > 0.5, solid)


def test_boxes_on_two_planes_are_both_anchors(plain_affine):
    solid = ball(plain_affine, (24, 24, 24), 12.0)
    tracker, _ = tracker_of(solid, plain_affine)
    made = tracker.run([box_around(solid, plain_affine, 24, 2), box_around(solid, plain_affine, 24, 0)])
    assert made.axis == 2
    assert made.kept == ((2, (24,)), (0, (24,)))
    assert np.array_equal(made.probability > 0.5, solid)


def test_prompts_that_never_say_where_it_is_are_refused(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    with pytest.raises(PromptError, match="says where the structure is"):
        tracker.run([click_at(plain_affine, (20, 18, 18), positive=False)])


def test_rules_are_values():
    assert replace(StopRules(), min_overlap=0.5) == StopRules(min_overlap=0.5)


def _visits(qualities, first=0):
    empty = SlicePrediction(np.zeros((4, 4), np.float32), 0.0, None, SlicePrompt())
    return [
        Visit(SliceRecord(index, SliceRole.PROPAGATED, index - 1, 1.0, 9.0, 0.0, quality, 0.1), empty)
        for index, quality in enumerate(qualities, start=first)
    ]


@pytest.mark.parametrize(
    ("qualities", "kept"),
    [
        ([0.9, 0.9, 0.9, 0.5, 0.5, 0.5], 3),
        ([0.9, 0.5, 0.5, 0.5, 0.5, 0.5], 1),
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.5], 5),
        ([0.7, 0.7, 0.7, 0.7], 2),
        ([1.0, 1.0, 1.0, 1.0], 4),
        ([], 0),
    ],
)
def test_a_front_towards_an_empty_slice_ends_where_the_predicted_iou_falls(qualities, kept):
    cut = cut_at_end(_visits(qualities))
    assert [visit.record.role for visit in cut].count(SliceRole.PROPAGATED) == kept
    assert all(visit.record.stop is StopReason.NOT_HERE for visit in cut[kept:])


@pytest.mark.parametrize(
    ("up", "down", "kept"),
    [
        ([0.8, 0.8, 0.8, 0.8], [0.8, 0.8, 0.8, 0.8], 2),
        ([0.8, 0.8, 0.8, 0.8], [0.5, 0.5, 0.5, 0.5], 4),
        ([0.5, 0.5, 0.5, 0.5], [0.8, 0.8, 0.8, 0.8], 0),
        ([0.9, 0.8, 0.7, 0.6], [0.5, 0.6, 0.7, 0.9], 2),
        ([0.9, 0.9, 0.9], [], 3),
    ],
)
def test_two_fronts_meet_where_the_model_trusts_them_most(up, down, kept):
    """Prompted slices 0 and 5; qualities by slice from below."""
    upward = _visits(up, first=1)
    downward = _visits(down, first=1)[::-1]
    assert meeting_slice(0, 5, upward, downward) == kept


def test_a_click_beyond_the_end_of_a_front_starts_from_the_nearest_cross_section(plain_affine):
    solid = COLUMN.copy()
    solid[26:29] = False  # a gap that stops the walk
    tracker, _ = tracker_of(solid, plain_affine)
    box = box_around(solid, plain_affine, 20)
    far = click_at(plain_affine, (32, 18, 18))
    anchors = tracker.anchors([box, far])[0]
    assert anchors[32].prediction.prompt.mask is not None
    assert np.array_equal(anchors[32].prediction.mask(), solid[32])
    aside = click_at(plain_affine, (32, 1, 1))
    assert tracker.anchors([box, aside])[0][32].prediction.prompt.mask is None


def test_a_click_on_a_prompted_slice_is_predicted_without_propagation(plain_affine):
    tracker, model = tracker_of(COLUMN, plain_affine)
    prompts = [box_around(COLUMN, plain_affine, 20)]
    tracker.anchors(prompts)
    before = model.decoded
    for column in (15, 17, 19):
        prompts.append(click_at(plain_affine, (20, 18, column)))
        tracker.anchors(prompts)
    assert model.decoded - before == 3


def test_a_correction_reaches_as_far_as_it_lies_from_the_border_it_corrects(plain_affine):
    tracker, _ = tracker_of(COLUMN, plain_affine)
    box = box_around(COLUMN, plain_affine, 24)
    section = np.argwhere(COLUMN[24])
    outside = (24, int(section[:, 0].max()) + 5, int(np.median(section[:, 1])))
    (anchors,) = tracker.anchors([box, click_at(plain_affine, outside)]).values()
    (click,) = anchors[24].clicks
    assert (click.row, click.column, click.positive) == (*outside[1:], True)
    assert click.reach_mm == pytest.approx(5.0)
    inside = (24, int(section[:, 0].max()) - 2, int(np.median(section[:, 1])))
    (anchors,) = tracker.anchors([box, click_at(plain_affine, inside, positive=False)]).values()
    assert anchors[24].clicks[0].reach_mm == pytest.approx(3.0)  # to the first pixel that is not of the structure
    (anchors,) = tracker.anchors([box]).values()
    assert anchors[24].clicks == ()
