"""Results are checked for before the work, kept as soon as they are there, and never lost to what is optional."""

from __future__ import annotations

import json

import highdicom
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.io import save_nifti
from medsam_planner.io.dicom_writer import write_ct_series
from medsam_planner.segmentation.session import Session
from medsam_planner.workflow import dicom_results, plan_request
from medsam_planner.workflow import segment as segmenting
from medsam_planner.workflow.run_folder import PLAN_NAMES, segmentation_names
from prompts import Box, PromptFile, PromptLog, write_prompt_file
from prompts.names import DICOM_SUFFIX, RESULT_NAMES

SHAPE = (8, 32, 32)


def affine():
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * np.array([2.0, 1.5, 1.5])
    matrix[:3, 3] = (-23.0, -23.0, 40.0)
    return matrix


def lps(*index):
    return tuple(float(value) for value in affine()[:3, :3] @ index + affine()[:3, 3])


def log(name, *, begun=False):
    made = PromptLog(name)
    made.add(Box(lps(4, 10, 10), lps(4, 21, 21)))
    if begun:
        made.clear()
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A DICOM series of a ball in a body, a mask beside it, a plan file, and prompt files."""
    folder = tmp_path_factory.mktemp("place")
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    body = (((index - (4, 16, 16)) / (30, 14, 14)) ** 2).sum(-1) < 1
    ball = (((index - (4, 16, 16)) / (3, 5, 5)) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    volume = highdicom.Volume(np.where(ball, 150.0, np.where(body, 20.0, -900.0)) + noise, affine(), "PATIENT")
    write_ct_series(volume, folder / "ct")
    save_nifti(highdicom.Volume(ball, affine(), "PATIENT"), folder / "ball.nii.gz")
    write_prompt_file(folder / "one.json", PromptFile((log("ball"),)))
    write_prompt_file(folder / "begun.json", PromptFile((log("ball"), log("later", begun=True), PromptLog("empty"))))
    write_prompt_file(folder / "empty.json", PromptFile((log("later", begun=True),)))
    write_prompt_file(folder / "two.json", PromptFile((log("ball"), log("other"))))
    (folder / "plan.toml").write_text(plan_text())
    return folder


def plan_text(**changes):
    text = f"""
[study]
path = "ct"
[tool]
radius_mm = 0.5
entry_error_mm = 0.0
target_error_mm = 0.0
[target]
point_lps_mm = {list(lps(4, 26, 16))}
[entry]
skin = true
[[structures]]
name = "ball"
role = "avoid"
MASK
[search]
candidates = 100
alternatives = 1
hit_draws = 5
"""
    return text.replace("MASK", changes.get("mask", ""))


def segment(place, prompts, out, *more):
    return run(["segment", str(place / "ct"), str(place / prompts), "--out", str(out), "--samples", "0", *more])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_name_of_a_result_is_kept_from_structures():
    names = {name.split("/")[0] for name in (*segmentation_names(["x"]), *PLAN_NAMES)}
    assert {name for name in names if not name.endswith(DICOM_SUFFIX)} <= RESULT_NAMES


def test_what_is_optional_and_fails_is_a_note_and_costs_nothing_else(place, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise ValueError("an anonymiser left this")

    monkeypatch.setenv("MEDSAM_PLANNER_LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(dicom_results, "save_segments", fails)
    monkeypatch.setattr(dicom_results, "save_parametric_map", fails)
    monkeypatch.setattr(segmenting, "surface_from_probability", fails)
    monkeypatch.setattr("medsam_planner.workflow.plan_objects.save_plan_sr", fails)
    out = tmp_path / "out"
    arguments = [str(place / name) for name in ("ct", "one.json", "plan.toml")]
    assert run(["run", *arguments, "--out", str(out), "--samples", "0"]) == 0
    told = capsys.readouterr().out
    assert files(out) == sorted(
        [
            *("files.json", "mask.nii.gz", "plan.json", "probability.nii.gz", "prompts.json", "report.html"),
            *("result.json", "plan_seg.dcm", "key_image.dcm", "report.pdf.dcm"),
        ]
    )
    notes = json.loads((out / "result.json").read_text())["notes"]
    assert any("seg.dcm could" in note for note in notes) and any("surface of 'ball'" in note for note in notes)
    assert "plan.dcm" in json.loads((out / "plan.json").read_text())["notes"][-1]
    for what in ("seg.dcm could", "probability_ball.dcm could", "surface of 'ball'", "plan.dcm"):
        assert what in told and "an anonymiser left this" in told
    assert len(list((tmp_path / "logs").iterdir())) == 4


def test_a_structure_that_is_done_is_kept_when_the_next_one_fails(place, tmp_path, monkeypatch):
    whole = Session.segment

    def fails(self, *, structure, **options):
        if structure == "other":
            raise KeyboardInterrupt
        return whole(self, structure=structure, **options)

    monkeypatch.setattr(Session, "segment", fails)
    assert segment(place, "two.json", tmp_path / "out") == 130
    assert list(json.loads((tmp_path / "out" / "result.json").read_text())["structures"]) == ["ball"]
    monkeypatch.undo()
    assert run(["replay", str(tmp_path / "out" / "prompts.json"), "--study", str(place / "ct")]) == 0
    assert segment(place, "two.json", tmp_path / "out") == 0
    assert (tmp_path / "out" / "other" / "mask.nii.gz").is_file()


def test_a_structure_without_a_prompt_is_left_out_with_a_note(place, tmp_path, capsys):
    assert segment(place, "begun.json", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "Note: 'later' has no prompts in begun.json" in told and "'empty'" in told
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())["notes"]) == 3
    assert (tmp_path / "out" / "mask.nii.gz").is_file()
    assert not (tmp_path / "out" / "saliency.nii.gz").exists()
    assert segment(place, "empty.json", tmp_path / "none") == 2
    assert "empty.json" in capsys.readouterr().err


def test_a_run_finds_every_mistake_before_it_segments(place, tmp_path, monkeypatch, capsys):
    def works(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(segmenting, "Session", works)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no mask")
    away = affine()
    away[:3, 3] += 900
    save_nifti(highdicom.Volume(np.ones(SHAPE, dtype=bool), away, "PATIENT"), tmp_path / "away.nii.gz")
    (tmp_path / "file").touch()
    mask = f'mask = "{place / "ball.nii.gz"}"\n'
    vein = '[[structures]]\nname = "vein"\nrole = "avoid"\nmask = "MASK"\n'
    text = plan_text().replace('path = "ct"', f'path = "{place / "ct"}"')
    texts = {
        "broken mask": (text + vein.replace("MASK", str(broken)), "broken.nii.gz"),
        "mask elsewhere": (text + vein.replace("MASK", str(tmp_path / "away.nii.gz")), "away.nii.gz"),
        "spread of nothing": (
            text.replace('role = "avoid"\n', f'role = "avoid"\n{mask}spread = "{broken}"\n'),
            "broken.nii.gz",
        ),
        "calibration of nothing": (
            text.replace('role = "avoid"\n', f'role = "avoid"\ncalibration = "{broken}"\n'),
            "broken.nii.gz",
        ),
        "target outside": (text.replace(str(list(lps(4, 26, 16))), "[0.0, 900.0, 0.0]"), "inside the study"),
        "no entry": (text.replace("skin = true", "skin = true\ncentre_lps_mm = [900, 0, 0]\nradius_mm = 1.0"), "entry"),
        "a structure called skin": (
            text + vein.replace("vein", "skin").replace("MASK", str(place / "ball.nii.gz")),
            "skin",
        ),
    }
    for name, (content, told) in texts.items():
        path = tmp_path / "plan.toml"
        path.write_text(content)
        arguments = ["run", str(place / "ct"), str(place / "one.json"), str(path), "--out", str(tmp_path / "out")]
        assert run(arguments) == 2, name
        assert told in capsys.readouterr().err, name
        assert not (tmp_path / "out").exists(), name
    for out in (tmp_path / "file", place / "ct", place / "ct" / "deep"):
        assert segment(place, "one.json", out) == 2
        assert "Name a" in capsys.readouterr().err


def test_a_run_computes_the_margins_of_given_masks_and_the_body_once(place, tmp_path, monkeypatch):
    counted = []

    def count_calls(name):
        original = getattr(plan_request, name)

        def counting(*arguments, **options):
            counted.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(plan_request, name, counting)

    count_calls("margin_from_spread")
    count_calls("body_mask")
    path = tmp_path / "plan.toml"
    path.write_text(
        plan_text(mask=f'mask = "{place / "ball.nii.gz"}"').replace('path = "ct"', f'path = "{place / "ct"}"')
    )
    arguments = ["run", str(place / "ct"), str(place / "one.json"), str(path), "--out", str(tmp_path / "out")]
    assert run([*arguments, "--samples", "0"]) in (0, 1)
    assert sorted(counted) == ["body_mask", "margin_from_spread"]


def test_a_prompted_structure_cannot_have_a_name_of_what_a_plan_finds_by_itself(place, tmp_path, capsys):
    write_prompt_file(tmp_path / "skin.json", PromptFile((log("skin"),)))
    arguments = ["segment", str(place / "ct"), str(tmp_path / "skin.json"), "--out", str(tmp_path / "out")]
    assert run(arguments) == 2
    assert "'skin'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_plan_beside_its_masks_leaves_them_and_a_new_segmentation_takes_the_plan_away(place, tmp_path):
    out = tmp_path / "out"
    assert segment(place, "one.json", out) == 0
    path = tmp_path / "plan.toml"
    path.write_text(
        plan_text(mask=f'mask = "{out / "mask.nii.gz"}"').replace('path = "ct"', f'path = "{place / "ct"}"')
    )
    before = (out / "mask.nii.gz").read_bytes()
    for _ in range(2):
        assert run(["plan", str(path), "--out", str(out)]) == 0
    assert (out / "mask.nii.gz").read_bytes() == before
    assert segment(place, "one.json", out) == 0
    assert not any((out / name).exists() for name in PLAN_NAMES)
    assert (out / "mask.nii.gz").read_bytes() == before
    assert run(["segment", str(place / "ct"), str(out / "prompts.json"), "--out", str(out), "--samples", "0"]) == 2


def test_a_calibration_replaces_nothing_but_a_calibration_and_an_evaluation_stays_out_of_its_cases(tmp_path, capsys):
    mine = tmp_path / "mine.json"
    mine.write_text('{"kind": "mine"}')
    (tmp_path / "cases").mkdir()
    assert run(["calibrate", str(tmp_path / "cases"), "--out", str(mine)]) == 2
    assert mine.read_text() == '{"kind": "mine"}' and "mine.json" in capsys.readouterr().err
    for out in ("cases", "cases/out"):
        arguments = ["evaluate", str(tmp_path / "cases"), "--protocol", "box", "--out", str(tmp_path / out)]
        assert run(arguments) == 2
        assert "outside" in capsys.readouterr().err
