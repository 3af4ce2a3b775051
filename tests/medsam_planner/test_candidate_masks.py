"""Several answers to one prompt: offered best first, chosen as a step of the log, rebuilt from a prompt file."""

from __future__ import annotations

import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.engine.memory_model import open_compact
from medsam_planner.errors import PromptError
from medsam_planner.io.nifti import save_nifti
from medsam_planner.propagation.front import StopRules
from medsam_planner.workflow.replay import replay_log
from medsam_planner.workflow.segment import SegmentationOptions, segment_into
from medsam_planner.workflow.study_reading import ReadingOptions, read_study
from prompts import Box, Choice, PromptFile, PromptLog, Scribble, parse_prompt_file, render_prompt_file

from .memory_studies import (
    OTHER,
    PROMPTED,
    box_on,
    bytes_of,
    click_on,
    study,
    write_memory_weights,
    write_weights_without_memory,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_memory_weights(tmp_path_factory.mktemp("weights") / "memory.safetensors")


@pytest.fixture
def session(weights):
    made = mp.Session(study(), str(weights), rules=StopRules(min_quality=0.0))
    made.add(box_on(PROMPTED))
    return made


def _answer(session) -> np.ndarray:
    return session.preview()[0][PROMPTED].probability


@pytest.mark.parametrize("prompt", [box_on(PROMPTED), click_on(PROMPTED)], ids=["box", "lone click"])
def test_a_box_and_a_single_click_have_three_candidates_best_first(weights, prompt):
    session = mp.Session(study(), str(weights))
    session.add(prompt)
    offered = session.candidate_masks()
    assert (offered.axis, offered.slice_index, offered.chosen) == (0, PROMPTED, 0)
    qualities = [answer.quality for answer in offered.predictions]
    assert len(qualities) == 3 and qualities == sorted(qualities, reverse=True)
    assert bytes_of(offered.predictions[0].probability) == bytes_of(_answer(session))


def test_the_chosen_prediction_stands_and_undo_brings_back_the_best(session):
    offered = session.candidate_masks()
    session.choose(2)
    assert bytes_of(_answer(session)) == bytes_of(offered.predictions[2].probability)
    assert session.candidate_masks().chosen == 2
    assert session.log().history == (box_on(PROMPTED), Choice(2))
    session.choose(1)
    assert bytes_of(_answer(session)) == bytes_of(offered.predictions[1].probability)
    session.undo()
    session.undo()
    assert bytes_of(_answer(session)) == bytes_of(offered.predictions[0].probability)
    assert len(session.log()) == 1


def test_the_choice_reaches_the_other_slices(session):
    best = session.segment(samples=0).probability.array.copy()
    session.choose(1)
    assert not np.array_equal(session.segment(samples=0).probability.array[OTHER], best[OTHER])


def test_the_first_correction_corrects_the_chosen_prediction(session):
    session.choose(1)
    chosen = session.preview()[0][PROMPTED]
    session.add(click_on(PROMPTED, (30, 30), positive=False))
    corrected = session.preview()[0][PROMPTED]
    known = np.clip(np.log(chosen.probability) - np.log1p(-chosen.probability), -13.8155, 13.8155)
    from medsam_planner.engine.zoom import extract

    np.testing.assert_allclose(corrected.previous_logits, extract(known, corrected.crop), atol=1e-2)
    assert len(session.candidate_masks().predictions) == 1


def test_a_correction_elsewhere_leaves_the_chosen_prediction(session):
    session.choose(2)
    chosen = bytes_of(_answer(session))
    session.add(click_on(OTHER, (30, 30)))
    assert bytes_of(_answer(session)) == chosen


def test_the_passes_are_of_the_chosen_prediction(session):
    session.choose(2)
    result = session.segment(samples=8)
    asked = session.preview()[0][PROMPTED]
    band = (asked.probability > 0.02) & (asked.probability < 0.98)
    mean = np.mean([result.mask_samples.volume(run).array[PROMPTED] for run in range(8)], axis=0)
    others = [answer.probability for answer in session.candidate_masks().predictions[:2]]
    away = [np.abs(mean - one)[band].mean() for one in (asked.probability, *others)]
    assert away[0] == min(away)


def test_what_is_not_offered_cannot_be_chosen(session):
    with pytest.raises(PromptError, match="among 3 candidates"):
        session.choose(3)
    session.add(Scribble([click_on(PROMPTED).position_lps_mm, click_on(PROMPTED, (30, 24)).position_lps_mm]))
    with pytest.raises(PromptError, match="scribble"):
        session.choose(0)
    assert len(session.log().history) == 2


def test_a_model_without_candidates_offers_its_prediction_and_refuses_another(tmp_path):
    weights = write_weights_without_memory(tmp_path / "without.safetensors")
    session = mp.Session(study(), str(weights), rules=StopRules(min_quality=0.0))
    session.add(box_on(PROMPTED))
    offered = session.candidate_masks()
    assert len(offered.predictions) == 1
    before = session.segment(samples=0)
    with pytest.raises(PromptError, match="among 1 candidates"):
        session.choose(1)
    session.choose(0)
    assert bytes_of(session.segment(samples=0).probability) == bytes_of(before.probability)
    session.log().choose(1)
    with pytest.raises(PromptError, match="has one"):
        session.segment(samples=0)


def test_a_box_in_another_plane_has_candidates_there(session):
    affine = session.volume.affine
    from medsam_planner.geometry import lps_from_index

    session.add(Box(lps_from_index(affine, (2, 24, 10)), lps_from_index(affine, (10, 24, 34))))
    offered = session.candidate_masks()
    assert (offered.axis, offered.slice_index) == (1, 24)
    assert len(offered.predictions) == 3


def test_a_prompt_file_keeps_the_choice(session, weights):
    session.choose(1)
    session.add(click_on(OTHER, (30, 30)))
    text = render_prompt_file(PromptFile((session.log(),)))
    assert '{"kind": "choice", "answer": 1}' in text
    fresh = mp.Session(study(), str(weights), rules=StopRules(min_quality=0.0))
    (log,) = parse_prompt_file(text).logs
    fresh.restore(log)
    first, again = session.segment(samples=4), fresh.segment(samples=4)
    assert bytes_of(first.probability) == bytes_of(again.probability)
    assert bytes_of(first.uncertainty) == bytes_of(again.uncertainty)


def test_a_replay_rebuilds_a_chosen_mask_byte_for_byte(weights, tmp_path, monkeypatch):
    """With these weights in the place of the shipped ones."""
    monkeypatch.setattr("medsam_planner.segmentation.session.open_model", lambda name, **_: open_compact(weights))
    save_nifti(study(), tmp_path / "study.nii.gz")
    read = read_study(tmp_path / "study.nii.gz", ReadingOptions(modality="MR"))
    masks = {}
    for name, answer in (("best", None), ("third", 2)):
        log = PromptLog("ball")
        log.add(box_on(PROMPTED))
        if answer is not None:
            log.choose(answer)
        made = segment_into(tmp_path / name, read, [log], SegmentationOptions(samples=0))
        masks[name] = bytes_of(made.results["ball"].mask)
        _, again, same = replay_log(tmp_path / name / "prompts.json", study_path=tmp_path / "study.nii.gz")
        assert same == {"ball": True}
        assert bytes_of(again.results["ball"].mask) == masks[name]
    assert masks["best"] != masks["third"]
