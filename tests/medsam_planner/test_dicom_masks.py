"""Masks from a PACS do what the same masks in NIfTI do: planned past, begun from, measured against."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import highdicom
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import PromptError
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.io.mask_reading import load_mask
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.references import label_values, read_structures, reference_volumes_ml
from medsam_planner.planning.clearance import clearance
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import Avoid
from medsam_planner.planning.tool import Tool
from medsam_planner.volumes import StudyVolume, volume_like
from medsam_planner.workflow.initial_masks import begun_logs
from medsam_planner.workflow.mask_files import named_files, plan_file_evidence
from prompts import Box, InitialMask, PromptFile, PromptLog, read_prompt_file, write_prompt_file
from prompts.by_hand import notes_on_initial_mask
from tests.medsam_planner.io.dicom_series import write_ct_series
from tests.medsam_planner.io.structure_sets import square, write_structure_set
from tests.medsam_planner.io.test_mask_reading import write_segmentation

SHAPE = (12, 40, 36)
AFFINE = np.array([[0.0, 0, 0.9, -15], [0, 0.9, 0, -18], [2, 0, 0, 30], [0, 0, 0, 1]])
PLAN = """
[tool]
radius_mm = 1.0
[target]
point_lps_mm = [0.0, 0.0, 40.0]
[entry]
skin = true
[[structures]]
name = "vessel"
role = "avoid"
mask = "{mask}"
"""


def vessel() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[3:8, 12:18, 10:15] = True
    return mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT, and the same mask as NIfTI, BINARY and LABELMAP segmentation, and contours."""
    place = tmp_path_factory.mktemp("masks")
    index = np.indices(SHAPE)
    body = ((index[1] - 20) / 18) ** 2 + ((index[2] - 18) / 16) ** 2 < 1
    values = np.where(vessel(), 150.0, np.where(body, 30.0, -1000.0)) + index[0]
    write_ct_series(place / "ct", values.astype(np.float32), AFFINE)
    study = load_volume(place / "ct")
    save_nifti(volume_like(study, vessel()), place / "mask.nii.gz")
    other = np.zeros(SHAPE, bool)
    other[9:, 30:, 30:] = True
    for kind in ("BINARY", "LABELMAP"):
        write_segmentation(place / f"{kind.lower()}.dcm", study, kind, {"bone": other, "vessel": vessel()})
    corners = [[11.6, 9.6], [11.6, 14.4], [17.4, 14.4], [17.4, 9.6]]
    write_structure_set(
        place / "rtstruct.dcm",
        study,
        {"bone": [(9, square(30.6, 34.4))], "vessel": [(k, corners) for k in range(3, 8)]},
    )
    return place


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyVolume:
    return load_volume(folder / "ct")


@pytest.mark.parametrize("mask", ["binary.dcm", "labelmap.dcm:vessel", "labelmap.dcm:2", "rtstruct.dcm:vessel"])
def test_a_plan_past_a_dicom_mask_has_the_clearance_of_the_same_nifti(
    folder: Path, study: StudyVolume, mask: str
) -> None:
    tool = Tool(radius_mm=1.0, entry_error_mm=0.0, target_error_mm=0.0)
    line = np.array([[[-20.0, -10.0, 45.0], [10.0, 10.0, 40.0]]])
    found = {}
    for name in ("mask.nii.gz", mask):
        path = folder / "plan.toml"
        path.write_text(PLAN.format(mask=name))
        tables = read_plan_file(path)
        known = plan_file_evidence(tables, study)["vessel"]
        assert folder / name.split(":")[0] in named_files(path, tables)
        found[name] = known.planned.array.copy(), clearance(line, [Avoid("vessel", known.planned, 1.0)], tool)
    np.testing.assert_array_equal(found["mask.nii.gz"][0], found[mask][0])
    assert repr(found["mask.nii.gz"][1]) == repr(found[mask][1])


@pytest.fixture
def gapped(folder: Path, study: StudyVolume, tmp_path: Path) -> Path:
    """Contours of the vessel without those of its middle slice, which somebody forgot."""
    corners = [[11.6, 9.6], [11.6, 14.4], [17.4, 14.4], [17.4, 9.6]]
    return write_structure_set(tmp_path / "gapped.dcm", study, {"vessel": [(k, corners) for k in (3, 4, 6, 7)]})


def test_evidence_from_contours_with_a_forgotten_slice_says_so(
    folder: Path, study: StudyVolume, gapped: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(mask=gapped))
    assert "no contour on slice 6" in " ".join(plan_file_evidence(read_plan_file(path), study)["vessel"].notes)


def test_what_is_not_known_of_a_mask_to_begin_from_stays_in_the_log_of_the_run(
    folder: Path, gapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["segment", str(folder / "ct"), str(_prompts(tmp_path / "prompts.json", "vessel")), "--out", str(out)]
    assert run([*arguments, "--samples", "0", "--begin-from", str(gapped)]) == 0
    assert "Note: vessel: It has no contour on slice 6" in capsys.readouterr().out
    assert "no contour on slice 6" in " ".join(json.loads((out / "result.json").read_text())["notes"])
    (log,) = read_prompt_file(out / "prompts.json").logs
    assert "no contour on slice 6" in " ".join(notes_on_initial_mask(log))
    assert "no contour on slice 6" in " ".join(StructureEvidence(mask=load_volume(folder / "ct"), log=log).notes)


def test_a_reference_with_a_forgotten_slice_measures_nothing(folder: Path, gapped: Path, tmp_path: Path) -> None:
    case = tmp_path / "cases" / "patient"
    shutil.copytree(folder / "ct", case / "image")
    shutil.copy(gapped, case / "labels.dcm")
    (case / "meta.json").write_text(json.dumps({"modality": "CT", "anatomy": "trunk"}))
    (found,) = find_cases(tmp_path / "cases")
    with pytest.raises(
        ValueError, match=r"expected a reference of which everything is known, .* no contour on slice 6"
    ):
        list(read_structures(found))


def test_a_mask_file_that_is_not_there_is_named(folder: Path) -> None:
    path = folder / "absent.toml"
    path.write_text(PLAN.format(mask="no.dcm:vessel"))
    with pytest.raises(ValueError, match=r"files that do not exist: .*no.dcm:vessel"):
        read_plan_file(path)


def _prompts(path: Path, *structures: str) -> Path:
    logs = []
    for structure in structures:
        log = PromptLog(structure)
        log.add(Box((-7.0, -8.5, 40.0), (-1.0, -1.0, 40.0)))
        logs.append(log)
    write_prompt_file(path, PromptFile(tuple(logs)))
    return path


@pytest.mark.parametrize("mask", ["labelmap.dcm", "rtstruct.dcm:vessel"])
def test_a_structure_begins_from_a_dicom_mask_and_replays_without_it(folder: Path, tmp_path: Path, mask: str) -> None:
    shutil.copy(folder / mask.split(":")[0], tmp_path)
    out = tmp_path / "run"
    arguments = ["segment", str(folder / "ct"), str(_prompts(tmp_path / "prompts.json", "vessel")), "--out", str(out)]
    assert run([*arguments, "--samples", "0", "--begin-from", str(tmp_path / mask)]) == 0
    (tmp_path / mask.split(":")[0]).unlink()
    [log] = read_prompt_file(out / "prompts.json").logs
    assert isinstance(log.history[0], InitialMask) and len(log.history) == 2
    study = load_volume(folder / "ct")
    made = (
        load_mask(out / "vessel" / "mask.nii.gz", study)
        if (out / "vessel").is_dir()
        else load_mask(out / "mask.nii.gz", study)
    )
    kept = [3, 4, 6, 7]  # the box predicts slice 5 anew
    np.testing.assert_array_equal(np.asarray(made.array)[kept] > 0, vessel()[kept])
    np.testing.assert_array_equal(load_mask(out / "seg.dcm", study, name="vessel").array, np.asarray(made.array) > 0)
    assert run(["replay", str(out / "prompts.json"), "--study", str(folder / "ct")]) == 0


def test_each_of_several_structures_begins_from_the_segment_of_its_name(folder: Path, study: StudyVolume) -> None:
    logs = [PromptLog("vessel"), PromptLog("bone"), PromptLog("nerve")]
    begun = begun_logs(logs, [folder / "binary.dcm"], study)
    assert [len(log.prompts) for log in begun] == [1, 1, 0]
    with pytest.raises(PromptError, match="one of the structures vessel, nerve"):
        begun_logs([logs[0], logs[2]], [folder / "binary.dcm:bone"], study)
    with pytest.raises(PromptError, match="one mask for 'vessel'"):
        begun_logs(logs, [folder / "binary.dcm:vessel", folder / "labelmap.dcm:vessel"], study)
    with pytest.raises(PromptError, match="no segments with names"):
        begun_logs(logs, [folder / "mask.nii.gz"], study)


@pytest.mark.parametrize("reference", ["binary.dcm", "labelmap.dcm", "rtstruct.dcm"])
def test_a_case_is_measured_against_a_dicom_reference(folder: Path, tmp_path: Path, reference: str) -> None:
    case = tmp_path / "cases" / "patient"
    shutil.copytree(folder / "ct", case / "image")
    shutil.copy(folder / reference, case / "labels.dcm")
    (case / "meta.json").write_text(json.dumps({"modality": "CT", "anatomy": "trunk"}))
    [found] = find_cases(tmp_path / "cases")
    assert label_values(found) == [1, 2]
    structures = {one.name: one for one in read_structures(found)}
    np.testing.assert_array_equal(structures["vessel"].reference, vessel())
    assert dict(reference_volumes_ml(found))["vessel"] == pytest.approx(150 * 0.9 * 0.9 * 2 / 1000)
    (case / "meta.json").write_text(json.dumps({"modality": "CT", "label_names": {"2": "artery"}}))
    assert [one.name for one in read_structures(find_cases(case)[0])] == ["artery"]


def test_a_mask_of_other_voxels_is_no_mask_to_begin_from(folder: Path, study: StudyVolume, tmp_path: Path) -> None:
    finer = highdicom.Volume(np.ones((4, 4, 4), bool), np.diag([0.3, 0.3, 0.3, 1.0]), "PATIENT")
    save_nifti(finer, tmp_path / "fine.nii.gz")
    with pytest.raises(ValueError, match="voxel"):
        begun_logs([PromptLog("vessel")], [tmp_path / "fine.nii.gz"], study)


def test_a_run_on_one_of_several_volumes_replays(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = np.indices(SHAPE)
    body = ((index[1] - 20) / 18) ** 2 + ((index[2] - 18) / 16) ** 2 < 1
    for number in (1, 2):
        values = np.where(vessel(), 50.0 + 60 * number, np.where(body, 30.0, -1000.0)) + index[0]
        write_ct_series(
            tmp_path / "ct" / str(number),
            values.astype(np.float32),
            AFFINE,
            AcquisitionNumber=number,
            SeriesInstanceUID="1.2.3.4",
            StudyInstanceUID="1.2.3",
            FrameOfReferenceUID="1.2.3.5",
        )
    prompts, out = _prompts(tmp_path / "prompts.json", "vessel"), tmp_path / "run"
    arguments = ["segment", str(tmp_path / "ct"), str(prompts), "--out", str(out), "--samples", "0"]
    assert run(arguments) == 2
    assert "--volume NUMBER" in capsys.readouterr().err
    assert run([*arguments, "--volume", "2"]) == 0
    assert "Volume 2 of the 2 of its series: acquisition 2" in capsys.readouterr().out
    assert run(["replay", str(out / "prompts.json"), "--study", str(tmp_path / "ct")]) == 0
