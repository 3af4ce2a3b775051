"""From patients to a plan whose margin has a stated confidence: the commands in the order a person types them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medsam_planner.calibration import write_calibration
from medsam_planner.cli.app import run
from medsam_planner.geometry import acquisition_axis, lps_from_index
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.volumes import volume_like
from prompts import PromptFile, PromptLog, write_prompt_file
from prompts.annotator import first_box
from tests.medsam_planner.calibration.conftest import ball, write_patient
from tests.medsam_planner.calibration.test_calibrate import with_scores

CASE = """
title = "Needle past the vessel"
[study]
path = "{study}"
[tool]
radius_mm = 0.5
entry_error_mm = 0.0
target_error_mm = 0.0
[target]
point_lps_mm = {target}
[entry]
mask = "{entry}"
[[structures]]
name = "vessel"
role = "avoid"
mask = "{mask}"
calibration = "{calibration}"
alpha = {alpha}
[search]
candidates = 200
alternatives = 1
hit_draws = 20
"""


@pytest.fixture(scope="module")
def place(calibration, tmp_path_factory):
    """A run on a patient, and a calibration on ten others."""
    folder = tmp_path_factory.mktemp("plan")
    image = write_patient(folder, 0, radius_mm=12.0) / "image.nii.gz"
    study = load_volume(image)
    log = PromptLog("vessel")
    log.add(first_box(ball(12.0), study.affine, acquisition_axis(study.affine), seed=1))
    write_prompt_file(folder / "prompts.json", PromptFile((log,)))
    arguments = ["segment", str(image), str(folder / "prompts.json"), "--out", str(folder / "run")]
    assert run([*arguments, "--samples", "2", "--no-saliency"]) == 0
    entry = np.zeros(study.spatial_shape, dtype=bool)
    entry[:, 2:5, :] = True
    save_nifti(volume_like(study, entry), folder / "entry.nii.gz")
    write_calibration(folder / "calibration.json", with_scores(calibration, [0.5 * (n + 1) for n in range(10)]))
    return folder, image, lps_from_index(study.affine, (11.0, 36.0, 20.0)).tolist()


def planned(place, tmp_path, *, mask: str = "run/mask.nii.gz", alpha: float = 0.2) -> tuple[int, dict, str]:
    folder, image, target = place
    text = CASE.format(
        study=image, target=target, entry=folder / "entry.nii.gz", mask=folder / mask,
        calibration=folder / "calibration.json", alpha=alpha,
    )  # fmt: skip
    (tmp_path / "case.toml").write_text(text)
    code = run(["plan", str(tmp_path / "case.toml"), "--out", str(tmp_path / "out")])
    if code == 2:
        return code, {}, ""
    return code, json.loads((tmp_path / "out/plan.json").read_text()), (tmp_path / "out/report.html").read_text()


def test_a_plan_states_the_confidence_of_its_margin_and_the_patients_behind_it(place, tmp_path):
    code, document, page = planned(place, tmp_path)
    assert code in (0, 1)
    (margin,) = document["margins"]
    assert (margin["rule"], margin["confidence"], margin["calibration_patients"]) == ("conformal", 0.8, 10)
    assert margin["quantile"] == pytest.approx(4.5)
    assert margin["guarantee_voided_by"] == []
    assert margin["guarantee_applies"]
    assert "80 % confidence" in page
    assert "10 patients" in page
    assert "no coverage guarantee" not in document["margins_statement"]


def test_an_edited_mask_leaves_the_promise_and_the_page_says_so(place, tmp_path):
    folder = place[0]
    mask = load_volume(folder / "run" / "mask.nii.gz")
    edited = (mask.array > 0) & (np.indices(mask.array.shape)[2] != 20)
    (folder / "edited").mkdir()
    for name in ("result.json", "prompts.json"):
        (folder / "edited" / name).write_bytes((folder / "run" / name).read_bytes())
    save_nifti(volume_like(mask, edited), folder / "edited" / "mask.nii.gz")
    _, document, page = planned(place, tmp_path, mask="edited/mask.nii.gz")
    (margin,) = document["margins"]
    assert not margin["guarantee_applies"]
    assert margin["guarantee_voided_by"][0] == "the mask was changed after it was segmented"
    assert "does not apply here: the mask was changed" in page
    assert "no coverage guarantee" in document["margins_statement"]


def test_more_confidence_than_the_patients_give_is_refused_with_the_number_needed(place, tmp_path, capsys):
    assert planned(place, tmp_path, alpha=0.05)[0] == 2
    assert "at least 19 calibration patients" in capsys.readouterr().err.replace("\n", " ")


def test_a_mask_without_its_run_cannot_be_calibrated(place, tmp_path, capsys):
    folder = place[0]
    (folder / "a" / "b").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "b" / "mask.nii.gz").write_bytes((folder / "run" / "mask.nii.gz").read_bytes())
    assert planned(place, tmp_path, mask="a/b/mask.nii.gz")[0] == 2
    assert "has no result.json and prompts.json" in capsys.readouterr().err.replace("\n", " ")


def test_a_case_names_one_rule_for_a_margin(tmp_path, place, capsys):
    folder, image, target = place
    text = CASE.format(
        study=image, target=target, entry=folder / "entry.nii.gz", mask=folder / "run/mask.nii.gz",
        calibration=folder / "calibration.json", alpha=0.2,
    )  # fmt: skip
    (tmp_path / "case.toml").write_text(text.replace("alpha = 0.2", "alpha = 0.2\nbase_margin_mm = 2.0"))
    assert run(["plan", str(tmp_path / "case.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "either calibration and alpha or base_margin_mm" in capsys.readouterr().err.replace("\n", " ")
