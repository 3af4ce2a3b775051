"""Initial masks, edits and removals in a session, with and without a memory, and with the shipped weights."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.errors import GeometryError, OperationCancelledError, PromptError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io.nifti import save_nifti
from medsam_planner.planning.request import SpreadRule, StructureRequest
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import StructureRole
from medsam_planner.propagation.front import StopRules
from medsam_planner.provenance import SliceRole, made_by_hand
from medsam_planner.report.table_rows import prompt_rows, stop_rows
from medsam_planner.workflow.dicom_results import result_segments
from medsam_planner.workflow.plan import margins_statement
from medsam_planner.workflow.plan_request import build_structure
from medsam_planner.workflow.replay import replay_log
from medsam_planner.workflow.segment import SegmentationOptions, segment_into
from medsam_planner.workflow.study_reading import ReadingOptions, read_study
from prompts import Box, PromptFile, next_click, parse_prompt_file, render_prompt_file
from prompts.by_hand import by_hand

from .memory_studies import (
    AFFINE,
    OTHER,
    PROMPTED,
    SHAPE,
    box_on,
    bytes_of,
    click_on,
    study,
    write_memory_weights,
    write_weights_without_memory,
)

FREE = StopRules(min_quality=0.0)
"""Random weights know nothing of their quality."""
GIVEN = np.zeros(SHAPE, dtype=bool)
GIVEN[3:10, 14:34, 12:32] = True
GIVEN[6, 20:24, 20:24] = False
BRUSH = np.zeros(SHAPE, dtype=bool)
BRUSH[PROMPTED + 1, 5:12, 18:30] = True


@pytest.fixture(scope="module")
def memory_weights(tmp_path_factory):
    return write_memory_weights(tmp_path_factory.mktemp("weights") / "memory.safetensors")


@pytest.fixture(scope="module")
def weights_without_memory(tmp_path_factory):
    return write_weights_without_memory(tmp_path_factory.mktemp("weights") / "without.safetensors")


@pytest.fixture(params=["motion-compensated", "recalling"])
def model(request):
    return str(request.getfixturevalue("memory_weights" if request.param == "recalling" else "weights_without_memory"))


@pytest.fixture
def session(model):
    return mp.Session(study(), model, seed=5, rules=FREE)


def on_study(inside):
    return highdicom.Volume(inside.astype(np.uint8), AFFINE, "PATIENT")


def mask_of(session, **options):
    return session.segment(samples=0, **options).mask.array.copy()


def test_without_prompts_the_mask_is_the_given_one_and_certain(session):
    session.begin_from(on_study(GIVEN))
    result = session.segment(samples=4, saliency=True)
    assert np.array_equal(result.mask.array, GIVEN)
    assert {record.role for record in result.trace.records} == {SliceRole.GIVEN}
    assert all(np.array_equal(result.mask_samples.volume(number).array, GIVEN) for number in range(4))
    assert not result.mutual_information.array.any() and not result.boundary_spread_mm.array.any()
    assert result.uncertainty.array.max() < 0.01  # bit: a temperature leaves nothing quite certain
    assert result.saliency is None  # no model made this mask
    shown = {index: found.mask() for index, found in session.preview()[0].items()}
    assert sorted(shown) == list(range(3, 10)) and all(np.array_equal(shown[one], GIVEN[one]) for one in shown)


@pytest.mark.parametrize("source", ["dropout", "jitter", "augment", "dropout+jitter"])
def test_all_passes_keep_the_slices_by_hand_and_vary_on_a_prompted_one(session, source):
    session.begin_from(on_study(GIVEN))
    session.add(click_on(PROMPTED))
    result = session.segment(samples=4, uncertainty=source)
    roles = {record.index: record.role for record in result.trace.records}
    assert roles == {**dict.fromkeys(range(3, 10), SliceRole.GIVEN), PROMPTED: SliceRole.ANCHOR}
    for number in range(4):
        drawn = result.mask_samples.volume(number).array
        assert np.array_equal(np.delete(drawn, PROMPTED, axis=0), np.delete(GIVEN, PROMPTED, axis=0))
    assert not np.delete(result.mutual_information.array, PROMPTED, axis=0).any()
    assert result.mutual_information.array[PROMPTED].any()


def test_passes_keep_the_mask_by_hand_beside_a_box_on_another_plane(session):
    session.begin_from(on_study(GIVEN))
    session.add(box_on(PROMPTED))
    session.add(Box(lps_from_index(AFFINE, (3, 14, 22)), lps_from_index(AFFINE, (9, 33, 22))))
    result = session.segment(samples=4)
    changed = np.zeros(SHAPE, dtype=bool)
    changed[PROMPTED] = changed[:, :, 22] = True
    for drawn in (result.mask.array, *(result.mask_samples.volume(number).array for number in range(4))):
        assert np.array_equal(drawn[~changed], GIVEN[~changed])


def test_a_prompt_predicts_its_slice_of_the_initial_mask_anew_and_leaves_the_others(session):
    session.begin_from(on_study(GIVEN))
    session.add(click_on(PROMPTED, (18, 18), positive=False))
    after = mask_of(session)
    assert not np.array_equal(after[PROMPTED], GIVEN[PROMPTED])
    assert np.array_equal(np.delete(after, PROMPTED, axis=0), np.delete(GIVEN, PROMPTED, axis=0))
    session.undo()
    assert np.array_equal(mask_of(session), GIVEN)


def test_an_edited_slice_is_what_was_there_with_the_painted_voxels_in_every_pass(session):
    session.add(box_on(PROMPTED))
    before = mask_of(session)
    session.edit(BRUSH)
    session.edit(BRUSH[:, :8], positive=False)
    after = session.segment(samples=4)
    painted = BRUSH.copy()
    painted[:, :8] = False
    erased = BRUSH & ~painted
    edited = PROMPTED + 1
    assert np.array_equal(after.mask.array[edited], (before | painted)[edited] & ~erased[edited])
    assert np.array_equal(after.mask.array[PROMPTED], before[PROMPTED])
    for number in range(4):
        assert np.array_equal(after.mask_samples.volume(number).array[edited], after.mask.array[edited])
    session.undo()
    session.undo()
    assert np.array_equal(mask_of(session), before)


def test_a_part_of_the_grid_is_painted_as_in_the_whole(session):
    session.add(box_on(PROMPTED))
    session.edit(BRUSH)
    whole = session.log().prompts[-1]
    session.edit(BRUSH[7:8, 4:13, 16:31], first_index=(7, 4, 16))
    assert session.log().prompts[-1] == whole


def test_without_one_earlier_prompt_the_mask_is_as_if_it_had_never_been_given(session, model):
    session.add(box_on(PROMPTED))
    session.add(click_on(OTHER, (30, 30)))
    session.add(click_on(2, (20, 20), positive=False))
    all_three = mask_of(session)
    session.remove(1)
    fresh = mp.Session(study(), model, seed=5, rules=session.rules)
    fresh.add(box_on(PROMPTED))
    fresh.add(click_on(2, (20, 20), positive=False))
    assert bytes_of(session.segment(samples=4).uncertainty) == bytes_of(fresh.segment(samples=4).uncertainty)
    session.undo()
    assert np.array_equal(mask_of(session), all_three)
    with pytest.raises(PromptError, match="one of the 3 prompts that hold"):
        session.remove(3)


def test_a_prompt_file_rebuilds_the_same_bytes(session, model):
    session.begin_from(on_study(GIVEN))
    session.add(click_on(PROMPTED, (18, 18), positive=False))
    session.edit(BRUSH)
    session.add(click_on(2, (20, 20), positive=False))
    session.remove(2)
    session.add(click_on(12))
    session.undo()
    text = render_prompt_file(PromptFile((session.log(),)))
    fresh = mp.Session(study(), model, seed=5, rules=session.rules)
    (log,) = parse_prompt_file(text).logs
    fresh.restore(log)
    for steps_redone in range(2):
        first, again = session.segment(samples=4), fresh.segment(samples=4)
        assert bytes_of(first.probability) == bytes_of(again.probability)
        assert bytes_of(first.uncertainty) == bytes_of(again.uncertainty)
        if not steps_redone:
            session.redo()
            fresh.redo()


def test_a_run_is_replayed_byte_for_byte(tmp_path):
    save_nifti(study(), tmp_path / "study.nii.gz")
    read = read_study(tmp_path / "study.nii.gz", ReadingOptions(modality="MR"))
    session = mp.Session(read)
    nifti_order = AFFINE[:, [2, 1, 0, 3]]
    given = highdicom.Volume(GIVEN.transpose(2, 1, 0).astype(np.uint8), nifti_order, "PATIENT")
    session.begin_from(given, structure="ball")
    session.add(click_on(PROMPTED, (18, 18), positive=False), structure="ball")
    session.add(click_on(12), structure="ball")
    made = segment_into(tmp_path / "run", read, [session.log("ball")], SegmentationOptions(samples=0))
    _, again, same = replay_log(tmp_path / "run" / "prompts.json", study_path=tmp_path / "study.nii.gz")
    assert same == {"ball": True}
    assert bytes_of(again.results["ball"].mask) == bytes_of(made.results["ball"].mask)


def test_clicks_take_off_what_leaked_and_keep_the_rest():
    shape = (18, 64, 64)
    k, j, i = np.indices(shape)
    organ = ((k - 9) / 6) ** 2 + ((j - 32) / 14) ** 2 + ((i - 24) / 11) ** 2 <= 1
    leak = (((k - 9) / 6) ** 2 + ((j - 32) / 8) ** 2 + ((i - 42) / 9) ** 2 <= 1) & ~organ
    noise = np.random.default_rng(0).normal(0, 12, shape)
    affine = np.array([[0, 0, 0.8, -20], [0, 0.8, 0, 10], [2.5, 0, 0, 50], [0, 0, 0, 1.0]])
    image = (np.where(organ | leak, 120.0, 20.0) + noise).astype(np.float32)
    session = mp.Session(highdicom.Volume(image, affine, "PATIENT"))
    session.begin_from(highdicom.Volume((organ | leak).astype(np.uint8), affine, "PATIENT"))
    leaked = [(leak & mask_of(session))[9].sum()]
    for _ in range(5):
        on_slice, shown = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        on_slice[9], shown[9] = organ[9], mask_of(session)[9]
        session.add(next_click(on_slice, shown, affine))
        after = mask_of(session)[9]
        leaked.append((leak[9] & after).sum())
        assert (after & organ[9]).sum() > 0.94 * organ[9].sum()
    assert leaked == sorted(leaked, reverse=True)
    assert leaked[-1] < 0.5 * leaked[0]


def test_a_mask_of_another_study_is_refused_and_the_log_stays(session):
    session.add(box_on(PROMPTED))
    with pytest.raises(GeometryError, match="voxels that the mask was drawn on"):
        session.begin_from(highdicom.Volume(GIVEN.astype(np.uint8), AFFINE * [[1], [1.5], [1], [1]], "PATIENT"))
    with pytest.raises(PromptError, match="at least one voxel inside"):
        session.begin_from(on_study(np.zeros(SHAPE)))
    with pytest.raises(PromptError, match=r"reaches .* beyond it"):
        session.edit(BRUSH, first_index=(0, 40, 0))
    with pytest.raises(GeometryError, match="three axes and type bool"):
        session.edit(BRUSH.astype(float))
    assert session.log().history == (box_on(PROMPTED),)


def test_a_forgotten_structure_keeps_its_prompts_and_leads_to_the_same_bytes(session):
    session.add(box_on(PROMPTED))
    session.edit(BRUSH)
    before = bytes_of(session.segment(samples=0).probability)
    session.forget("structure")
    session.forget("never begun")
    assert len(session.log()) == 2
    assert list(session.logs) == ["structure"]
    assert bytes_of(session.segment(samples=0).probability) == before


def test_two_sessions_on_one_study_encode_each_crop_once(model):
    cache = EmbeddingCache(10**9)
    masks, encoded = [], []
    for _ in range(2):
        session = mp.Session(study(), model, cache=cache)
        session.add(box_on(PROMPTED))
        masks.append(mask_of(session))
        encoded.append(cache.misses)
    assert encoded[1] == encoded[0] > 0
    assert np.array_equal(*masks)


def test_a_preview_that_needs_the_propagation_is_reported_and_can_be_stopped(session):
    class Stopped:
        stages: tuple[str, ...] = ()

        def update(self, stage, done, total):
            self.stages = (*self.stages, stage)

        @property
        def is_cancelled(self):
            return self.stages.count("propagating") > 2

    session.add(box_on(PROMPTED))
    session.add(click_on(OTHER, (30, 30)))
    progress = Stopped()
    with pytest.raises(OperationCancelledError, match="'propagating'"):
        session.preview(progress=progress)
    assert progress.stages[0] == "prompted slices"
    with pytest.raises(OperationCancelledError):
        session.candidate_masks(progress=progress)
    assert sorted(session.preview()[0]) == [PROMPTED, OTHER]


@pytest.mark.parametrize(
    ("begins", "edits", "told"),
    [
        (False, 0, ""),
        (True, 0, "begun from a given mask"),
        (True, 1, "begun from a given mask and edited by hand (1 edit)"),
        (False, 2, "edited by hand (2 edits)"),
    ],
)
def test_a_result_and_its_margin_say_what_of_the_mask_was_made_by_hand(session, begins, edits, told):
    if begins:
        session.begin_from(on_study(GIVEN))
    else:
        session.add(box_on(PROMPTED))
    for _ in range(edits):
        session.edit(BRUSH)
    result = session.segment(samples=4)
    assert result.by_hand == told
    by_trace = made_by_hand(None, result.trace)
    assert bool(by_trace) == bool(told)
    rule = StructureRequest("structure", StructureRole.AVOID, SpreadRule(base_mm=1.0, factor=2.0, cap_mm=5.0))
    _, statement = build_structure(rule, StructureEvidence.of_result(result), session.volume)
    assert ("the margin's guarantee does not cover it" in statement.explanation) == bool(told)
    assert statement.as_entry().get("by_hand", "") == told
    assert (told in margins_statement((), (statement,))) or not told
    (segment,) = result_segments({"structure": result})
    assert segment.remark == ("Edited by hand: not covered by a margin's guarantee" if told else "")


def test_a_whole_mask_that_takes_the_place_of_prompts_is_an_edit(session):
    session.add(box_on(PROMPTED))
    session.begin_from(on_study(GIVEN))
    assert by_hand(session.log()) == "edited by hand (1 edit)"
    session.undo()
    assert by_hand(session.log()) == ""


def test_tables_and_the_page_say_what_was_done_by_hand(session):
    from ui.html_parts import trace_sentences

    session.begin_from(on_study(GIVEN))
    session.edit(BRUSH, positive=False)
    session.add(click_on(PROMPTED))
    rows = prompt_rows(session.log(), AFFINE, SHAPE)
    assert [(row.kind, row.sign, row.coordinates, row.slice) for row in rows[:2]] == [
        ("initial mask", "structure", f"{GIVEN.sum()} voxels", "axial slice 4 to 10"),
        ("edit", "background", f"{BRUSH.sum()} voxels", "axial slice 8"),
    ]
    trace = session.segment(samples=0).trace
    assert stop_rows(trace) == ["6 slices with a mask by hand; all stochastic passes keep them, so their spread is 0."]
    assert trace_sentences(trace, ("I", "S")) == [
        "7 slices, propagated from slice 7.",
        "6 with a mask by hand, which all stochastic passes keep.",
    ]
