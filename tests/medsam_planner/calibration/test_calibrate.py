from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

from medsam_planner.calibration import Calibration, read_calibration, write_calibration
from medsam_planner.calibration.record import CalibrationPatient, CalibrationStructure, MedianVolume, ScaleEntry
from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError, TooFewPatientsError
from medsam_planner.lab.calibration import calibrate
from medsam_planner.lab.calibration.median_volumes import median_volumes
from medsam_planner.lab.calibration.segment_cases import SegmentationSettings
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.propagation.memory_propagation import MEMORY_PROPAGATION_VERSION
from tests.medsam_planner.calibration.conftest import SETTINGS, SPACING, ball, write_patient
from xai.conformal import nonconformity_score
from xai.margin_scale import SCALES


def with_scores(calibration: Calibration, scores: list[float]) -> Calibration:
    patients = [
        CalibrationPatient(
            subject=str(number),
            modalities=["MR"],
            scanners=[],
            structures=[
                CalibrationStructure(
                    name="vessel",
                    case=str(number),
                    outer_score=score if math.isfinite(score) else None,
                    inner_score=0.0,
                    dice=0.8,
                    missed=math.isinf(score),
                )
            ],
        )
        for number, score in enumerate(scores)
    ]
    return calibration.model_copy(update={"patients": patients})


def test_studies_of_one_subject_are_one_patient_with_the_largest_score(calibration):
    assert [patient.subject for patient in calibration.patients] == ["patient 0", "shared"]
    shared = calibration.patients[1]
    assert shared.modalities == ["CT", "MR"]
    assert len(shared.structures) == 2
    assert shared.score(inner=False) == max(part.outer_score for part in shared.structures)


def test_scores_are_those_of_the_masks_that_were_kept(calibration, kept):
    (place,) = kept.glob("case_0.*")
    with np.load(place) as maps:
        u = SCALES["combined"].on_surface(maps["predicted"], maps["boundary_spread_mm"], maps["entropy_bits"])
        score = nonconformity_score(maps["truth"], maps["predicted"], u, SPACING)
    assert calibration.patients[0].structures[0].outer_score == pytest.approx(score)


def test_an_interrupted_calibration_goes_on_and_another_setting_starts_anew(calibration, patients, kept, monkeypatch):
    before = {place: place.stat().st_mtime_ns for place in kept.iterdir()}
    broken = next(iter(before))
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    again = calibrate(patients, SCALES["combined"], settings=SETTINGS, keep=kept)
    assert again == calibration
    assert [place for place in before if place.stat().st_mtime_ns != before[place]] == [broken]
    calibrate(patients, SCALES["combined"], settings=SegmentationSettings(samples=3), only=("case_0",), keep=kept)
    assert len(list(kept.iterdir())) == len(before) + 1


def test_a_calibration_says_for_how_many_patients_it_speaks(calibration):
    assert "2 patients (CT, MR; vessel)" in calibration.in_words()
    assert calibration.smallest_alpha == pytest.approx(1 / 3)
    assert calibration.quantile(0.34) == max(calibration.scores())
    with pytest.raises(TooFewPatientsError, match="at least 9"):
        calibration.quantile(0.1)


def test_missed_structures_count_and_survive_the_file(calibration, tmp_path):
    made = with_scores(calibration, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, math.inf])
    write_calibration(tmp_path / "c.json", made)
    read = read_calibration(tmp_path / "c.json")
    assert read == made
    assert read.quantile(0.2) == 8.0
    assert read.quantile(0.1) == math.inf
    assert "1 structures were missed" in read.in_words()


def test_a_damaged_file_and_a_strange_one_are_refused(calibration, tmp_path):
    place = tmp_path / "c.json"
    write_calibration(place, calibration)
    text = place.read_text()
    place.write_text(text.replace('"score": 1', '"score": 0').replace('"dice": 0.', '"dice": 0.1'))
    with pytest.raises(ConfigError, match="changed after it was written"):
        read_calibration(place)
    place.write_text(text[: len(text) // 2])
    with pytest.raises(ConfigError, match="damaged"):
        read_calibration(place)
    place.write_text("{}")
    with pytest.raises(ConfigError, match="calibrate"):
        read_calibration(place)
    with pytest.raises(ConfigError, match="no such file"):
        read_calibration(tmp_path / "absent.json")


def test_other_weights_policies_and_settings_are_refused(calibration):
    same = {"weights_sha256": calibration.weights_sha256, "segmentation": dict(calibration.segmentation)}
    calibration.require_same(**same)
    with pytest.raises(ConfigError, match="weights"):
        calibration.require_same(**{**same, "weights_sha256": "0" * 64})
    with pytest.raises(ConfigError, match="samples: calibrated 2, here 16"):
        calibration.require_same(**{**same, "segmentation": {**calibration.segmentation, "samples": 16}})
    other = {**calibration.segmentation, "uncertainty": "jitter"}
    with pytest.raises(ConfigError, match="uncertainty: calibrated 'dropout', here 'jitter'"):
        calibration.require_same(**{**same, "segmentation": other})
    before = {name: value for name, value in calibration.segmentation.items() if name != "uncertainty"}
    calibration.require_same(**{**same, "segmentation": before})
    older = calibration.model_copy(update={"segmentation": before})
    older.require_same(**same)
    with pytest.raises(ConfigError, match="here 'jitter'"):
        older.require_same(**{**same, "segmentation": other})
    with pytest.raises(ConfigError, match="policy"):
        calibration.model_copy(update={"policy": "clicks-1"}).require_same(**same)
    unsaid = {name: value for name, value in calibration.segmentation.items() if name != "propagation"}
    with pytest.raises(
        ConfigError, match=f"propagation: calibrated 1, here {MEMORY_PROPAGATION_VERSION}"
    ):  # of the first version
        calibration.model_copy(update={"segmentation": unsaid}).require_same(**same)


def test_probabilities_are_judged_near_the_surface_by_modality(calibration):
    assert set(calibration.reliability) == {"CT", "MR"}
    for found in calibration.reliability.values():
        assert 0 < found.ece < 0.5
        assert 0 < found.brier < 0.5
        assert sum(found.count) == found.voxels < 14 * 40 * 40 * 2


def test_patients_the_weights_were_trained_on_are_left_out(patients, calibration, monkeypatch, kept):
    monkeypatch.setattr("medsam_planner.lab.calibration.calibration_run.trained_on", lambda model: ("case_2",))
    made = calibrate(patients, SCALES["combined"], settings=SETTINGS, keep=kept)
    assert [patient.subject for patient in made.patients] == ["patient 0"]
    assert made.left_out == {"shared": "the weights were trained on this patient"}
    sized = calibrate(patients, SCALES["size"], settings=SETTINGS, keep=kept).scale.median_volumes["vessel"]
    assert (sized.trained_on, sized.set_aside) == (1, 0)
    with pytest.raises(ConfigError, match="trained on all"):
        calibrate(patients, SCALES["combined"], settings=SETTINGS, only=("case_1", "case_2"), keep=kept)


def ball_ml(number: int) -> float:
    """Volume of the reference that `write_patient` draws."""
    return ball(8.0 + 0.7 * number).sum() * math.prod(SPACING) / 1000


def test_the_usual_size_is_the_median_over_patients_and_one_of_two_studies_counts_once(tmp_path):
    for number, subject in enumerate((None, "twice", "twice", None)):
        write_patient(tmp_path, number, subject=subject)
    cases = find_cases(tmp_path)
    found = median_volumes(cases[:1], cases[1:])
    once = (ball_ml(1) + ball_ml(2)) / 2  # between those of patients 0 and 3
    assert list(found) == ["vessel"]
    assert found["vessel"].median_ml == pytest.approx(once)
    assert (found["vessel"].trained_on, found["vessel"].set_aside) == (1, 2)
    assert found["vessel"].in_words() == f"{once:.1f} ml (median of 3 patients: 1 trained on, 2 set aside)"
    assert median_volumes(cases, (), labels=("nerve",)) == {}


def test_sizes_come_from_patients_set_aside_and_never_from_those_calibrated_on(patients, tmp_path):
    made = calibrate(patients, SCALES["size"], settings=SETTINGS, keep=tmp_path, set_aside=("case_2",))
    assert [patient.subject for patient in made.patients] == ["patient 0"]
    assert made.left_out == {"shared": "set aside"}
    usual_ml = (ball_ml(1) + ball_ml(2)) / 2  # case_1 is of the same patient
    assert made.scale.median_volumes["vessel"].median_ml == pytest.approx(usual_ml)
    assert (made.scale.median_volumes["vessel"].trained_on, made.scale.median_volumes["vessel"].set_aside) == (0, 1)
    (told,) = made.median_volumes_in_words()
    assert "1 set aside" in told

    (place,) = tmp_path.iterdir()
    with np.load(place) as maps:
        found_ml = maps["predicted"].sum() * math.prod(SPACING) / 1000
        score = nonconformity_score(maps["truth"], maps["predicted"], np.ones_like(maps["entropy_bits"]), SPACING)
    assert found_ml < usual_ml
    structure = made.patients[0].structures[0]
    assert structure.outer_score == pytest.approx(score / (1 + math.log(usual_ml / found_ml)))


def test_without_other_patients_no_size_is_usual_and_the_scale_is_the_uniform_one(patients, kept):
    made = calibrate(patients, SCALES["size"], settings=SETTINGS, keep=kept)
    uniform = calibrate(patients, SCALES["uniform"], settings=SETTINGS, keep=kept)
    assert made.scale.median_volumes == {}
    assert made.patients == uniform.patients
    assert "No population median volume is known for vessel" in made.median_volumes_in_words()[0]
    assert uniform.median_volumes_in_words() == []


def test_a_corridor_that_came_out_too_large_has_the_larger_u():
    usual = {"canal": MedianVolume(median_ml=2.0, trained_on=9, set_aside=0)}
    scale = ScaleEntry.of(SCALES["size"], usual)
    found = ball(10.0)
    for found_ml, outer, inner in ((1.0, 1 + math.log(2), 1.0), (2.0, 1.0, 1.0), (6.0, 1.0, 1 + math.log(3))):
        assert scale.on_surface("canal", found, None, None, found_ml=found_ml, inner=False) == pytest.approx(outer)
        assert scale.on_surface("canal", found, None, None, found_ml=found_ml, inner=True) == pytest.approx(inner)
        assert (scale.on_surface("nerve", found, None, None, found_ml=found_ml, inner=False) == 1.0).all()


def test_patterns_that_set_nobody_or_everybody_aside_are_refused(patients, kept):
    with pytest.raises(ConfigError, match="none of the 3 has a name that matches case_9"):
        calibrate(patients, SCALES["size"], settings=SETTINGS, keep=kept, set_aside=("case_0", "case_9"))
    with pytest.raises(ConfigError, match=r"all 2 .* Set fewer aside"):
        calibrate(patients, SCALES["size"], settings=SETTINGS, keep=kept, set_aside=("*",))


def test_a_file_from_before_sizes_reads_as_it_was(calibration, tmp_path):
    content = calibration.model_dump(mode="json", by_alias=True)
    for name in ("per_size_shortfall", "usual_sizes"):
        del content["scale"][name]
    content["content_sha256"] = hashlib.sha256(
        json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
    (tmp_path / "c.json").write_text(json.dumps(content))
    read = read_calibration(tmp_path / "c.json")
    assert read == calibration
    assert (read.scale.per_size_shortfall, read.scale.median_volumes) == (0.0, {})


def test_median_volumes_survive_the_file(calibration, tmp_path):
    usual = {"vessel": MedianVolume(median_ml=1.5, trained_on=97, set_aside=3)}
    made = calibration.model_copy(update={"scale": ScaleEntry.of(SCALES["size"], usual)})
    write_calibration(tmp_path / "c.json", made)
    assert read_calibration(tmp_path / "c.json") == made
    assert made.scale.scale() == SCALES["size"]


def test_the_command_writes_the_file_and_refuses_an_unknown_scale(patients, kept, tmp_path, capsys):
    out = tmp_path / "calibration.json"
    arguments = ["calibrate", str(patients), "--out", str(out), "--samples", "2", "--keep", str(kept)]
    assert run(arguments) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "2 patients" in told
    assert "No population median volume is known for vessel" in told
    assert json.loads(out.read_text())["policy"] == "first-box-1"
    assert run([*arguments, "--set-aside", "case_0"]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "Left out: 1 patients (set aside)" in told
    assert "vessel 2.1 ml (median of 1 patients: 1 set aside)" in told
    assert run([*arguments, "--scale", "guess"]) == 2
    assert "uniform, spread, entropy, combined, size" in capsys.readouterr().err.replace("\n", " ")
