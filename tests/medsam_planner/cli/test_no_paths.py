"""A folder named after a patient leaks through no file that a run leaves; with paths, a replay finds its study."""

from __future__ import annotations

import io
import shutil
import sys

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medsam_planner.cli.app import run
from medsam_planner.io import save_nifti
from medsam_planner.io.dicom_writer import write_ct_series
from medsam_planner.workflow import plan_objects
from prompts import Box, PromptFile, PromptLog, write_prompt_file

TRACER = "TRACERSON_HANS_19500102"
SHAPE = (8, 32, 32)
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.eye(3)[:, ::-1] * np.array([2.0, 1.5, 1.5])
AFFINE[:3, 3] = (-23.0, -23.0, 40.0)


def lps(*index):
    return [float(value) for value in AFFINE[:3, :3] @ index + AFFINE[:3, 3]]


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A folder named after a patient, with a series, a mask, prompts and a plan file."""
    folder = tmp_path_factory.mktemp("archive") / TRACER
    folder.mkdir()
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    body = (((index - (4, 16, 16)) / (30, 14, 14)) ** 2).sum(-1) < 1
    ball = (((index - (4, 16, 16)) / (3, 5, 5)) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    values = np.where(ball, 150.0, np.where(body, 20.0, -900.0)) + noise
    write_ct_series(highdicom.Volume(values, AFFINE, "PATIENT"), folder / "ct")
    vein = np.roll(ball, 9, axis=1)
    save_nifti(highdicom.Volume(vein, AFFINE, "PATIENT"), folder / "vein.nii.gz")
    log = PromptLog("ball")
    log.add(Box(lps(4, 10, 10), lps(4, 21, 21)))
    write_prompt_file(folder / "prompts.json", PromptFile((log,)))
    (folder / "plan.toml").write_text(f"""
[study]
path = "ct"
[tool]
radius_mm = 0.5
entry_error_mm = 0.0
target_error_mm = 0.0
[target]
point_lps_mm = {lps(4, 16, 26)}
[entry]
skin = true
[[structures]]
name = "vein"
role = "avoid"
mask = "vein.nii.gz"
[search]
candidates = 100
alternatives = 1
hit_draws = 5
""")
    return folder


def run_into(patient, out, *more):
    arguments = ["run", *(str(patient / name) for name in ("ct", "prompts.json", "plan.toml")), "--out", str(out)]
    return run([*arguments, "--samples", "0", *more])


def content(path):
    """Bytes of a file, of a deflated one those that it holds."""
    if path.suffix != ".dcm":
        return path.read_bytes()
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        return path.read_bytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(scope="module")
def out(patient, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "out"
    assert run_into(patient, folder, "--rtstruct") in (0, 1)
    return folder


def test_no_file_of_a_run_names_the_folder_of_its_study(out):
    names = {path.name for path in out.rglob("*") if path.is_file()}
    objects = {"seg.dcm", "plan_seg.dcm", "plan.dcm", "report.pdf.dcm", "key_image.dcm", "rtstruct.dcm"}
    assert objects | {"plan.json", "result.json", "prompts.json", "report.html", "mesh_ball.stl.dcm"} <= names
    for path in out.rglob("*"):
        if path.is_file():
            assert TRACER.encode() not in content(path), path.name


def test_a_log_of_a_fault_does_not_name_it_either(patient, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ValueError(f"{patient / 'ct' / 'slice_0000.dcm'} is odd")

    monkeypatch.setattr(plan_objects, "save_key_image", fails)
    monkeypatch.setenv("MEDSAM_PLANNER_LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(sys, "argv", ["medsam-planner", "run", str(patient / "ct"), str(patient / "prompts.json")])
    assert run_into(patient, tmp_path / "out") in (0, 1)
    [log] = (tmp_path / "logs").iterdir()
    assert "ValueError" in log.read_text()
    for path in (log, tmp_path / "out" / "plan.json"):
        assert TRACER not in path.read_text()


def test_with_paths_a_replay_finds_the_study_also_after_both_have_moved(patient, tmp_path, monkeypatch, capsys):
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(patient / "ct", before / "study")
    arguments = ["segment", str(before / "study"), str(patient / "prompts.json"), "--out", str(before / "run")]
    assert run([*arguments, "--samples", "0", "--paths"]) == 0
    before.rename(after)
    monkeypatch.chdir(tmp_path)
    assert run(["replay", str(after / "run" / "prompts.json")]) == 0
    assert "byte for byte" in capsys.readouterr().out


def test_without_paths_a_replay_asks_for_the_study_and_checks_it(patient, out, capsys):
    assert run(["replay", str(out / "prompts.json")]) == 2
    assert "--study" in capsys.readouterr().err
    assert run(["replay", str(out / "prompts.json"), "--study", str(patient / "ct")]) == 0


def test_a_report_names_the_patient_unless_the_study_was_deidentified(patient, out, tmp_path):
    page = (out / "report.html").read_text()
    assert "patient: <b>Phantom, Procedural</b>" in page and "patient ID: <b>PHANTOM</b>" in page
    assert pydicom.dcmread(out / "report.pdf.dcm").BurnedInAnnotation == "YES"
    for path in sorted((patient / "ct").iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.PatientIdentityRemoved = "YES"
        (tmp_path / "clean").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "clean" / path.name)
    shutil.copy(patient / "prompts.json", tmp_path)
    text = (patient / "plan.toml").read_text().replace("vein.nii.gz", str(patient / "vein.nii.gz"))
    (tmp_path / "plan.toml").write_text(text.replace('"ct"', '"clean"'))
    assert run(["plan", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) in (0, 1)
    assert "PHANTOM" not in (tmp_path / "out" / "report.html").read_text()
    assert pydicom.dcmread(tmp_path / "out" / "report.pdf.dcm").BurnedInAnnotation == "NO"
