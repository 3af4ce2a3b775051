from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.calibration import calibrated_margin
from medsam_planner.calibration.record import MedianVolume, ScaleEntry
from medsam_planner.errors import ConfigError, TooFewPatientsError
from medsam_planner.geometry import acquisition_axis, spacing_mm
from medsam_planner.io import load_volume
from medsam_planner.volumes import volume_like
from prompts import Click
from prompts.annotator import first_box
from tests.medsam_planner.calibration.conftest import ball
from tests.medsam_planner.calibration.test_calibrate import with_scores
from xai.margin_scale import SCALES
from xai.weighted_distance import widened_mask


@pytest.fixture(scope="module")
def segmented(patients):
    study = load_volume(patients / "case_0" / "image.nii.gz", modality="MR")
    session = mp.Session(study)
    session.add(first_box(ball(8.0), study.affine, acquisition_axis(study.affine), seed=1), structure="vessel")
    return session, session.segment(structure="vessel", samples=2)


@pytest.fixture
def known(calibration, segmented):
    """A calibration on ten patients and all that a margin needs."""
    session, result = segmented
    return {
        "calibration": with_scores(calibration, [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 9.0]),
        "structure": "vessel",
        "mask": result.mask,
        "boundary_spread_mm": result.boundary_spread_mm,
        "entropy_bits": result.uncertainty,
        "provenance": result.provenance,
        "log": session.log("vessel"),
        "study": session.volume,
        "alpha": 0.2,
    }


def test_the_margin_is_q_times_u_and_says_so(known):
    made = calibrated_margin(**known)
    assert made.quantile == 2.6  # k = ceil(11 * 0.8) = 9 of 10
    assert made.applies
    inside = known["mask"].array > 0
    u = (
        known["calibration"]
        .scale.scale()
        .on_surface(inside, known["boundary_spread_mm"].array, known["entropy_bits"].array)
    )
    assert made.margin_mm.array == pytest.approx(2.6 * u, rel=1e-6)
    assert (made.margin_mm.array >= np.float64(2.6) * u.astype(np.float64)).all()
    assert "10 patients" in made.in_words()
    assert "80 % confidence" in made.in_words()
    assert made.statement().as_entry()["guarantee_applies"]
    assert made.statement().as_entry()["confidence"] == 0.8


def test_the_planner_and_the_score_widen_alike(known):
    """Everything the statistics call inside, the planner's margin field calls inside: D <= 0."""
    from medsam_planner.planning.field_construction import build_distance_field
    from medsam_planner.planning.structures import Avoid

    made = calibrated_margin(**known)
    mask, inside = known["mask"], known["mask"].array > 0
    spacing = spacing_mm(mask.affine)
    u = (
        known["calibration"]
        .scale.scale()
        .on_surface(inside, known["boundary_spread_mm"].array, known["entropy_bits"].array)
    )
    widened = widened_mask(inside, u, made.quantile, spacing)
    corners = mp.geometry.lps_from_index(mask.affine, np.array([[0, 0, 0], np.array(inside.shape) - 1]))
    field = build_distance_field(Avoid("vessel", mask, made.margin_mm), corners)
    value, _ = field.read(field.index(mp.geometry.lps_from_index(mask.affine, np.argwhere(widened))).T)
    assert value.max() <= 1e-3
    assert widened.sum() > inside.sum()


def test_a_corridor_is_narrowed_by_its_own_scores(known):
    made = calibrated_margin(**known, inner=True)
    assert made.quantile == 0.0
    assert "the whole narrowed structure lies inside the true one" in made.in_words()


def with_usual_size(known, usual_ml: float | None):
    """All that a margin needs, with the size scale and a usual size of the vessel."""
    usual = {} if usual_ml is None else {"vessel": MedianVolume(median_ml=usual_ml, trained_on=90, set_aside=7)}
    scale = ScaleEntry.of(SCALES["size"], usual)
    return {**known, "calibration": known["calibration"].model_copy(update={"scale": scale})}


def test_where_a_third_of_the_usual_volume_was_found_the_margin_is_2_1_times_as_wide_and_says_why(known):
    mask = known["mask"]
    found_ml = float((mask.array > 0).sum()) * 2 / 1000  # voxels of 2 mm³
    made = calibrated_margin(**with_usual_size(known, 3 * found_ml))
    assert made.margin_mm.array == pytest.approx(2.6 * (1 + math.log(3)), rel=1e-6)
    said = (
        f"It is 2.1 times as wide as it would otherwise be, because only {found_ml:.1f} ml were segmented and the "
        f"population median is {3 * found_ml:.1f} ml (97 patients)."
    )
    assert said in made.in_words()
    entry = made.statement().as_entry()
    assert (entry["found_ml"], entry["usual_ml"]) == pytest.approx((found_ml, 3 * found_ml))
    assert entry["usual_size_patients"] == 97
    assert entry["times_as_wide_for_its_size"] == pytest.approx(1 + math.log(3))


def test_a_structure_as_large_as_usual_has_the_margin_of_one_width(known):
    made = calibrated_margin(**with_usual_size(known, 1e-3))
    assert made.margin_mm.array == pytest.approx(2.6, rel=1e-6)
    assert "times as wide" not in made.in_words()
    assert made.in_words().endswith("in a patient of the same population.")
    assert made.statement().as_entry()["times_as_wide_for_its_size"] == 1.0


def test_a_corridor_twice_as_large_as_usual_is_narrowed_more_and_says_why(known):
    found_ml = float((known["mask"].array > 0).sum()) * 2 / 1000
    made = calibrated_margin(**with_usual_size(known, found_ml / 2), inner=True)
    assert made.size is not None
    assert made.size.times_as_wide == pytest.approx(1 + math.log(2))
    assert (
        f"1.7 times as wide as it would otherwise be, because as much as {found_ml:.1f} ml were segmented"
        in made.in_words()
    )


def test_where_no_usual_size_is_known_the_words_and_the_notes_say_so(known):
    made = calibrated_margin(**with_usual_size(known, None))
    assert made.margin_mm.array == pytest.approx(2.6, rel=1e-6)
    assert "no population median volume of vessel is known" in made.in_words()
    assert any("no population median volume of vessel is known" in note for note in made.notes)
    assert made.statement().as_entry()["usual_ml"] is None
    assert "usual" not in calibrated_margin(**known).in_words()  # a scale that does not ask for it
    assert "usual_ml" not in calibrated_margin(**known).statement().as_entry()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda known: {"mask": volume_like(known["mask"], np.roll(known["mask"].array, 1, axis=1))},
            "mask was changed",
        ),
        (lambda known: {"log": None}, "not known how the structure was prompted"),
        (lambda known: {"structure": "nerve"}, "covers vessel, and not nerve"),
        (
            lambda known: {
                "calibration": known["calibration"].model_copy(
                    update={
                        "patients": [
                            patient.model_copy(update={"modalities": ["CT"]})
                            for patient in known["calibration"].patients
                        ]
                    }
                )
            },
            "the study is MR",
        ),
    ],
)
def test_where_the_guarantee_does_not_apply_the_margin_says_why(known, change, reason):
    made = calibrated_margin(**{**known, **change(known)})
    assert not made.applies
    assert any(reason in void for void in made.voids)
    assert "does NOT apply" in made.in_words()
    assert reason in str(made.statement().as_entry()["guarantee_voided_by"])


def test_a_second_prompt_leaves_the_policy(known, segmented):
    session, _ = segmented
    other = mp.Session(session.volume)
    for prompt in session.log("vessel").prompts:
        other.add(prompt, structure="vessel")
    other.add(Click((20.0, 20.0, 21.0)), structure="vessel")
    made = calibrated_margin(**{**known, "log": other.log("vessel")})
    assert any("1 boxes and 1 other prompts" in void for void in made.voids)


def test_a_mask_by_hand_leaves_the_policy_and_the_margin_says_how(known, segmented):
    session, _ = segmented
    inside = known["mask"].array > 0
    for begun, edits, reasons in (
        (False, 1, ["its mask was edited by hand (1 edit), while the calibration patients"]),
        (False, 2, ["its mask was edited by hand (2 edits)"]),
        (True, 0, ["its mask was edited by hand (1 edit), while the calibration patients"]),
        (True, 1, ["its mask was edited by hand (2 edits)"]),
    ):
        other = mp.Session(session.volume)
        other.add(session.log("vessel").prompts[0], structure="vessel")
        if begun:
            other.begin_from(known["mask"], structure="vessel")
        for _ in range(edits):
            other.edit(inside, structure="vessel")
        made = calibrated_margin(**{**known, "log": other.log("vessel")})
        assert not made.applies
        assert len(made.voids) == len(reasons)
        assert all(any(reason in void for void in made.voids) for reason in reasons)


def test_margins_that_cannot_be_given_are_refused(known):
    with pytest.raises(TooFewPatientsError, match="at least 19"):
        calibrated_margin(**{**known, "alpha": 0.05})
    missed = with_scores(known["calibration"], [1.0] * 8 + [math.inf] * 2)
    with pytest.raises(ConfigError, match="2 of 10"):
        calibrated_margin(**{**known, "calibration": missed, "alpha": 0.1})
    with pytest.raises(ConfigError, match="weights"):
        calibrated_margin(**{**known, "provenance": replace(known["provenance"], weights_sha256="0" * 64)})
