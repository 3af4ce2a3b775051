"""A folder named after a patient leaks through no file of a run, nor a patient through one that is to name nobody."""

from __future__ import annotations

import io
import shutil
import sys

import highdicom
import numpy as np
import pydicom
import pypdf
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


NAMED = {
    "PatientName": "Tracerson^Hans",
    "PatientID": "TRACER-4711",
    "PatientBirthDate": "19500102",
    "AccessionNumber": "TRACER-0815",
    "StudyDate": "20260704",
    "SeriesDate": "20260705",
    "AcquisitionDate": "20260706",
    "StudyDescription": "Tracer study",
    "SeriesDescription": "Tracer series",
    "ReferringPhysicianName": "Tracer^Doctor",
    "InstitutionName": "Tracer hospital",
}
SPOKEN = ("Tracerson, Hans", "TRACER-4711", "1950-01-02", "TRACER-0815", "2026-07-04")
"""What an identified report says of them."""


@pytest.fixture(scope="module")
def named(patient, tmp_path_factory):
    """The same study, whose headers name somebody, and a plan file."""
    folder = tmp_path_factory.mktemp("named") / TRACER
    shutil.copytree(patient, folder)
    for path in folder.glob("ct/*"):
        dataset = pydicom.dcmread(path)
        for keyword, value in NAMED.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder


def pages_of(out):
    document = pydicom.dcmread(out / "report.pdf.dcm").EncapsulatedDocument
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(document)).pages]


def tracers(text):
    values = [*NAMED.values(), *SPOKEN, "Tracer", TRACER]
    return [value for value in values if value.lower() in text.lower()]


def test_deidentified_results_name_nobody_and_say_that_the_objects_do(named, tmp_path, capsys):
    assert run_into(named, tmp_path / "out", "--deidentified") in (0, 1)
    assert "carry patient and study as the files do" in capsys.readouterr().out
    written = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".html", ".json", ".ply", ".stl")]
    assert {"plan.json", "result.json", "prompts.json", "report.html"} <= {path.name for path in written}
    for path in written:
        assert not tracers(path.read_bytes().decode(errors="replace")), path.name
    assert not tracers(" ".join(pages_of(tmp_path / "out")))
    pdf = pydicom.dcmread(tmp_path / "out" / "report.pdf.dcm")
    assert (pdf.BurnedInAnnotation, pdf.PatientID) == ("NO", "TRACER-4711")


def test_a_title_or_a_name_that_holds_the_patients_is_refused_where_nobody_is_to_be_named(named, tmp_path, capsys):
    text = (named / "plan.toml").read_text()
    typed = named / "typed.toml"
    typed.write_text(f'title = "Needle for Hans Tracerson"\n{text}')
    assert run(["plan", str(typed), "--out", str(tmp_path / "out"), "--deidentified"]) == 2
    assert "got hans, tracerson. Rename what holds it" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "plan.json").exists()


def test_identified_results_name_patient_accession_and_date_on_every_page(named, tmp_path):
    for path in named.glob("ct/*"):
        dataset = pydicom.dcmread(path)
        dataset.PatientIdentityRemoved = "YES"
        dataset.save_as(path)
    plan_file = str(named / "plan.toml")
    assert run(["plan", plan_file, "--out", str(tmp_path / "out"), "--identified"]) in (0, 1)
    pages = pages_of(tmp_path / "out")
    assert len(pages) > 1 and all(value in page for page in pages for value in SPOKEN)
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(value in page for value in SPOKEN)
