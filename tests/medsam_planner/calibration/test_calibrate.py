from __future__ import annotations

import json
import math

import numpy as np
import pytest

from medsam_planner.calibration import Calibration, calibrate, read_calibration, write_calibration
from medsam_planner.calibration.record import CalibrationPatient, CalibrationStructure
from medsam_planner.calibration.segmented import Settings
from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError, TooFewPatientsError
from tests.medsam_planner.calibration.conftest import SETTINGS
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
        score = nonconformity_score(maps["truth"], maps["predicted"], u, (3.0, 1.0, 1.0))
    assert calibration.patients[0].structures[0].outer_score == pytest.approx(score)


def test_an_interrupted_calibration_goes_on_and_another_setting_starts_anew(calibration, patients, kept, monkeypatch):
    before = {place: place.stat().st_mtime_ns for place in kept.iterdir()}
    broken = next(iter(before))
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    again = calibrate(patients, SCALES["combined"], settings=SETTINGS, keep=kept)
    assert again == calibration
    assert [place for place in before if place.stat().st_mtime_ns != before[place]] == [broken]
    calibrate(patients, SCALES["combined"], settings=Settings(samples=3), only=("case_0",), keep=kept)
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
    with pytest.raises(ConfigError, match="cannot be read"):
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


def test_probabilities_are_judged_near_the_surface_by_modality(calibration):
    assert set(calibration.reliability) == {"CT", "MR"}
    for found in calibration.reliability.values():
        assert 0 < found.ece < 0.5
        assert 0 < found.brier < 0.5
        assert sum(found.count) == found.voxels < 14 * 40 * 40 * 2


def test_patients_the_weights_were_trained_on_are_left_out(patients, calibration, monkeypatch, kept):
    from medsam_planner.engine.compact import CompactModel

    before = CompactModel.__init__

    def trained_on_case_2(self, path):
        before(self, path)
        self.metadata = {**self.metadata, "trained_on": '["case_2"]'}

    monkeypatch.setattr(CompactModel, "__init__", trained_on_case_2)
    made = calibrate(patients, SCALES["combined"], settings=SETTINGS, keep=kept)
    assert [patient.subject for patient in made.patients] == ["patient 0"]
    assert made.left_out == {"shared": "the weights were trained on this patient"}
    with pytest.raises(ConfigError, match="not trained on"):
        calibrate(patients, SCALES["combined"], settings=SETTINGS, only=("case_1", "case_2"), keep=kept)


def test_the_command_writes_the_file_and_refuses_an_unknown_scale(patients, kept, tmp_path, capsys):
    out = tmp_path / "calibration.json"
    arguments = ["calibrate", str(patients), "--out", str(out), "--samples", "2", "--keep", str(kept)]
    assert run(arguments) == 0
    assert "2 patients" in capsys.readouterr().out
    assert json.loads(out.read_text())["policy"] == "first-box-1"
    assert run([*arguments, "--scale", "guess"]) == 2
    assert "uniform, spread, entropy, combined" in capsys.readouterr().err.replace("\n", " ")
