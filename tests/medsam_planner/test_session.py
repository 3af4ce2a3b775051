"""The session with the shipped weights: what every user meets first."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.errors import PromptError, WeightsError
from medsam_planner.geometry import lps_from_index
from medsam_planner.volumes import array_sha256
from prompts import Box, Click, Scribble

SHAPE = (18, 64, 64)
CENTRE = (9, 32, 30)
MAPS = ("probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")


def ellipsoid(affine, radii_voxels=(6, 14, 11)):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    return (((index - np.array(CENTRE)) / np.array(radii_voxels)) ** 2).sum(-1) <= 1


def study_of(solid, affine, seed=0):
    noise = np.random.default_rng(seed).normal(0, 12, SHAPE)
    return highdicom.Volume((np.where(solid, 120.0, 20.0) + noise).astype(np.float32), affine, "PATIENT")


def middle_box(affine, solid, margin=1):
    section = np.argwhere(solid[CENTRE[0]])
    low, high = section.min(0) - margin, section.max(0) + margin
    return Box(lps_from_index(affine, (CENTRE[0], *low)), lps_from_index(affine, (CENTRE[0], *high)))


def dice(first, second):
    return 2 * np.logical_and(first, second).sum() / (first.sum() + second.sum())


@pytest.fixture(scope="module")
def oblique():
    angle = np.deg2rad(20.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn[:, ::-1] * np.array([2.5, 0.8, -0.8])
    affine[:3, 3] = (-20, 35, 100)
    return affine


@pytest.fixture(scope="module")
def segmented(oblique):
    solid = ellipsoid(oblique)
    session = mp.Session(study_of(solid, oblique), seed=3)
    session.add(middle_box(oblique, solid))
    return solid, session, session.segment(samples=4, saliency=True)


def test_one_box_gives_the_structure_in_three_dimensions(segmented):
    solid, _, result = segmented
    assert dice(result.mask.array, solid) > 0.8


def test_every_map_lies_on_the_study_grid(segmented, oblique):
    _, _, result = segmented
    for name in ("mask", *MAPS):
        volume = getattr(result, name)
        assert volume.array.shape == SHAPE, name
        assert np.array_equal(volume.affine, oblique), name
        assert np.isfinite(volume.array).all(), name


def test_uncertainty_is_in_bits_and_highest_at_the_border(segmented):
    solid, _, result = segmented
    entropy = result.uncertainty.array
    assert entropy.min() >= 0 and entropy.max() <= 1
    core = np.zeros(SHAPE, dtype=bool)
    core[CENTRE[0] - 1 : CENTRE[0] + 2, 28:36, 26:34] = True
    padding = np.logical_xor(solid, np.roll(solid, 1, axis=1))
    assert entropy[padding].mean() > entropy[core].mean()
    assert (result.mutual_information.array <= entropy + 1e-5).all()


def test_saliency_comes_with_its_chance_level(segmented):
    _, _, result = segmented
    assert result.saliency.array.max() == pytest.approx(1.0)
    overlap = result.faithfulness["overlap"]
    assert 0 < overlap["chance"] < 1
    assert {"energy_inside", "top_inside"} <= overlap.keys()
    assert {"infidelity", "infidelity_of_chance", "randomisation_rank_correlation"} <= result.faithfulness.keys()


def test_the_same_log_gives_the_same_bytes(segmented, oblique):
    solid, _, result = segmented
    again = mp.Session(study_of(solid, oblique), seed=3)
    again.add(middle_box(oblique, solid))
    repeated = again.segment(samples=4, saliency=True)
    for name in ("mask", *MAPS):
        assert array_sha256(getattr(repeated, name).array) == array_sha256(getattr(result, name).array), name


def test_another_seed_changes_the_uncertainty_and_not_the_mask(segmented, oblique):
    solid, _, result = segmented
    other = mp.Session(study_of(solid, oblique), seed=4)
    other.add(middle_box(oblique, solid))
    repeated = other.segment(samples=4)
    assert np.array_equal(repeated.mask.array, result.mask.array)
    assert not np.array_equal(repeated.uncertainty.array, result.uncertainty.array)


def test_undo_and_redo_bring_back_the_very_mask(segmented, oblique):
    solid, _, result = segmented
    session = mp.Session(study_of(solid, oblique), seed=3)
    session.add(middle_box(oblique, solid))
    session.add(Click(lps_from_index(oblique, (CENTRE[0], 5, 5)), positive=False))
    clicked = session.segment(samples=0).mask.array.copy()
    session.undo()
    assert np.array_equal(session.segment(samples=0).mask.array, result.mask.array)
    session.redo()
    assert np.array_equal(session.segment(samples=0).mask.array, clicked)


def test_provenance_is_enough_to_tell_what_was_done(segmented):
    _, session, result = segmented
    provenance = result.provenance
    assert provenance.mask_sha256 == array_sha256(result.mask.array)
    assert provenance.weights_sha256 == session.model.weights_sha256
    assert provenance.seed == 3
    assert provenance.uncertainty == "dropout"
    assert provenance.temperature == session.model.temperature
    assert provenance.versions["torch"]


def test_two_structures_have_logs_of_their_own(oblique):
    solid = ellipsoid(oblique)
    session = mp.Session(study_of(solid, oblique))
    session.add(middle_box(oblique, solid), structure="organ")
    session.add(Click(lps_from_index(oblique, (CENTRE[0], 32, 30))), structure="lesion")
    assert list(session.logs) == ["organ", "lesion"]
    assert [len(log) for log in session.logs.values()] == [1, 1]


def test_a_prompt_outside_the_study_is_refused_and_nothing_is_lost(oblique):
    solid = ellipsoid(oblique)
    session = mp.Session(study_of(solid, oblique))
    session.add(middle_box(oblique, solid))
    with pytest.raises(PromptError):
        session.add(Click((900.0, 900.0, 900.0)))
    assert len(session.log()) == 1


def test_asking_without_a_prompt_or_for_one_sample_is_refused(oblique):
    session = mp.Session(study_of(ellipsoid(oblique), oblique))
    with pytest.raises(PromptError, match="where the structure is"):
        session.segment()
    session.add(middle_box(oblique, ellipsoid(oblique)))
    with pytest.raises(PromptError, match="at least 2"):
        session.segment(samples=1)
    with pytest.raises(PromptError, match="across three planes"):
        session.segment(samples=2, uncertainty="triplanar")


def test_another_source_changes_the_uncertainty_and_not_the_mask(segmented):
    _, session, result = segmented
    jittered = session.segment(samples=4, uncertainty="jitter")
    assert jittered.provenance.uncertainty == "jitter"
    assert np.array_equal(jittered.mask.array, result.mask.array)
    assert not np.array_equal(jittered.uncertainty.array, result.uncertainty.array)


def test_passes_that_do_not_differ_are_refused(segmented, monkeypatch):
    import medsam_planner.propagation.sources as sources
    from xai.errors import ZeroVarianceError

    _, session, _ = segmented
    monkeypatch.setitem(sources.SOURCES, "jitter", sources.PromptJitter(share=0.0))
    with pytest.raises(ZeroVarianceError):
        session.segment(samples=3, uncertainty="jitter")


def test_a_temperature_raises_the_uncertainty_and_leaves_mask_and_passes(segmented, monkeypatch):
    _, session, result = segmented
    monkeypatch.setitem(session.model.metadata, "temperature", "3.0")
    cooled = session.segment(samples=4)
    assert cooled.provenance.temperature == 3.0
    assert np.array_equal(cooled.mask.array, result.mask.array)
    assert np.array_equal(cooled.mask_samples.masks, result.mask_samples.masks)
    assert cooled.uncertainty.array.mean() > result.uncertainty.array.mean()


def test_unknown_weights_are_named_with_the_known_ones(oblique):
    with pytest.raises(WeightsError, match="compact"):
        mp.Session(study_of(ellipsoid(oblique), oblique), model="no-such-model")


@pytest.mark.parametrize("columns", [range(22, 39), range(27, 34)], ids=["long", "short"])
def test_one_stroke_inside_a_structure_is_enough(oblique, columns):
    solid = ellipsoid(oblique)
    session = mp.Session(study_of(solid, oblique), seed=3)
    session.add(Scribble([lps_from_index(oblique, (9, 32, column)) for column in columns]))
    assert dice(session.segment(samples=0).mask.array, solid) > 0.8
