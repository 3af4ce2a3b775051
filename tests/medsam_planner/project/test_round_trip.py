"""Masks leave a project and come into another one voxel by voxel, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError, GeometryError
from medsam_planner.io import save_nifti
from medsam_planner.io.dicom_writer import write_ct_series
from medsam_planner.lab.project.coco import mask_of_runs, run_lengths
from medsam_planner.lab.project.exports import export_project
from medsam_planner.lab.project.formats import Format
from medsam_planner.lab.project.imports import import_masks
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.lab.project.report import data_sheet
from medsam_planner.volumes import volume_like

NAMES = ["liver", "spleen"]


def image_of(number: int) -> highdicom.Volume:
    """A CT of few voxels, whose axes run to the front, to the left and downwards."""
    affine = np.array([[0, 1.5, 0, 10.1], [-1.25, 0, 0, 20.7 + number], [0, 0, -2.5, -31.3], [0, 0, 0, 1]])
    values = np.random.default_rng(number).integers(-900, 900, (9, 10, 7)).astype(np.float32)
    return highdicom.Volume(values, affine, "PATIENT")


def masks_of(number: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(100 + number).integers(0, 3, (9, 10, 7))
    return {name: values == label for label, name in enumerate(NAMES, start=1)}


def empty_project(folder: Path, *, is_dicom: bool = False) -> Project:
    project = Project.init(folder / "project", "Organs", NAMES)
    for number in range(2):
        if is_dicom:
            upright = image_of(number).to_patient_orientation("HPL")
            write_ct_series(upright, folder / f"case_{number}")
            image = folder / f"case_{number}"
        else:
            image = save_nifti(image_of(number), folder / f"case_{number}.nii.gz")
        project.add(folder / image, who="ann", name=f"case_{number}", modality="CT")
    return project


def annotated(project: Project) -> Project:
    for number in range(2):
        name = f"case_{number}"
        image = project.image(project.study(name))
        turned = {
            one: volume_like(image_of(number), mask).to_patient_orientation(image.get_closest_patient_orientation())
            for one, mask in masks_of(number).items()
        }
        for structure, mask in turned.items():
            project.record(name, structure, volume_like(image, np.asarray(mask.array)), who="ann")
        project.review(name, who="ann")
    return project


@pytest.mark.parametrize("format_", list(Format))
def test_masks_come_back_as_they_left(format_: Format, tmp_path: Path) -> None:
    is_dicom = format_ is Format.DICOM_SEG
    for part in ("one", "other"):
        (tmp_path / part).mkdir()
    one = annotated(empty_project(tmp_path / "one", is_dicom=is_dicom))
    exported = export_project(one, tmp_path / "out", format_, folds=2)
    other = empty_project(tmp_path / "other")
    if is_dicom:  # a series of the same UIDs
        other = Project.init(tmp_path / "other/dicom", "Organs", NAMES)
        for number in range(2):
            other.add(tmp_path / f"one/case_{number}", who="ben", name=f"case_{number}")
    imported = import_masks(other, exported.folder, format_, who="ben")
    assert imported.masks == 4 and imported.added == ()
    for number in range(2):
        assert other.mask_hashes(f"case_{number}") == one.mask_hashes(f"case_{number}")
        assert other.study(f"case_{number}").state is not State.REVIEWED
        recorded = [event for event in other.events(f"case_{number}") if event.kind == "recorded"]
        assert {event.content["source"]["format"] for event in recorded} == {format_.value}
        assert all(len(event.content["source"]["sha256"]) == 64 and event.who == "ben" for event in recorded)
    assert f"- 4 masks from {format_.value} data set" in data_sheet(other)


@pytest.mark.parametrize("format_", [Format.NNUNET, Format.MONAI])
def test_cases_with_images_become_studies_and_train_the_same_again(format_: Format, tmp_path: Path) -> None:
    one = annotated(empty_project(tmp_path))
    exported = export_project(one, tmp_path / "out", format_, folds=2)
    other = Project.init(tmp_path / "other", "Organs", NAMES)
    assert import_masks(other, exported.folder, format_, who="ben").added == ("case_0", "case_1")
    for number in range(2):
        other.review(f"case_{number}", who="ben")
    again = export_project(other, tmp_path / "again", format_, folds=2)
    for number in range(2):
        label = f"labelsTr/case_{number}.nii.gz"
        assert (exported.folder / label).read_bytes() == (again.folder / label).read_bytes()


def test_segments_are_tracked_under_one_uid_over_versions_and_coded(tmp_path: Path) -> None:
    project = annotated(empty_project(tmp_path, is_dicom=True))
    first = export_project(project, tmp_path / "first", Format.DICOM_SEG, folds=2)
    image = project.image(project.study("case_0"))
    project.record("case_0", "liver", volume_like(image, np.ones(image.spatial_shape, dtype=bool)), who="ann")
    project.review("case_0", who="ann")
    second = export_project(project, tmp_path / "second", Format.DICOM_SEG, folds=2)
    read = [pydicom.dcmread(one.folder / "case_0.dcm").SegmentSequence for one in (first, second)]
    tracked = [[str(item.TrackingUID) for item in items if item.get("TrackingUID")] for items in read]
    assert tracked[0] == tracked[1] and len(set(tracked[0])) == 2
    assert first.version != second.version
    coded = [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in read[1]]
    assert coded[-2:] == ["10200004", "78961009"]


def test_a_study_that_is_no_dicom_is_left_out_of_a_dicom_seg(tmp_path: Path) -> None:
    project = annotated(empty_project(tmp_path))
    with pytest.raises(ConfigError, match="Expected a reviewed study that was read from DICOM"):
        export_project(project, tmp_path / "out", Format.DICOM_SEG, folds=2)


def exported_nnunet(folder: Path) -> tuple[Path, Project]:
    (folder / "one").mkdir(), (folder / "other").mkdir()
    one = annotated(empty_project(folder / "one"))
    return export_project(one, folder / "out", Format.NNUNET, folds=2).folder, empty_project(folder / "other")


def test_labels_on_other_voxels_are_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    data_set, other = exported_nnunet(tmp_path)
    moved = image_of(1)
    affine = moved.affine.copy()
    affine[0, 3] += 0.7
    labels = highdicom.Volume(np.ones((9, 10, 7), dtype=np.uint8), affine, "PATIENT")
    save_nifti(labels, data_set / "labelsTr/case_1.nii.gz")
    with pytest.raises(GeometryError, match=r"case_1.nii.gz: expected the voxels of the study"):
        import_masks(other, data_set, Format.NNUNET, who="ben")
    assert [one.state for one in other.studies()] == [State.NEW, State.NEW]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": {"background": 0, "kidney": 1, "bone": 2}}, "Expected structures of the project"),
        ({"labels": {"background": 0, "liver": 1}}, "expected labels that dataset.json names, got \\[2"),
        ({"labels": [1, 2]}, "Expected a data set in the format nnunet"),
        ({"channel_names": {}}, "Expected a data set in the format nnunet"),
    ],
)
def test_a_data_set_that_disagrees_with_itself_is_refused(tmp_path: Path, change: dict, told: str) -> None:
    data_set, other = exported_nnunet(tmp_path)
    document = json.loads((data_set / "dataset.json").read_text())
    (data_set / "dataset.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ConfigError, match=told):
        import_masks(other, data_set, Format.NNUNET, who="ben")
    assert all(event.kind == "added" for event in other.events())


def test_a_path_out_of_the_data_set_is_refused(tmp_path: Path) -> None:
    document = {
        "labels": {"0": "background", "1": "liver"},
        "modality": {"0": "CT"},
        "training": [{"image": "./a.nii.gz", "label": "../../secret.nii.gz"}],
    }
    (tmp_path / "set").mkdir()
    (tmp_path / "set/dataset.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="Expected paths within the data set"):
        import_masks(empty_project(tmp_path), tmp_path / "set", Format.MONAI, who="ben")


def test_reviewed_studies_and_unknown_cases_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    project = annotated(empty_project(tmp_path))
    data_set = export_project(project, tmp_path / "out", Format.COCO, folds=2).folder
    with pytest.raises(ConfigError, match="case_0 is reviewed already"):
        import_masks(project, data_set, Format.COCO, who="ben")
    stranger = Project.init(tmp_path / "stranger", "Organs", NAMES)
    assert run(["project", "import", str(stranger.folder), str(data_set), "--from", "coco", "--who", "ben"]) == 2
    assert "case_0, case_1 have none and bring no single image" in " ".join(capsys.readouterr().err.split())


def test_run_lengths_are_read_as_they_are_written_and_others_are_refused() -> None:
    for seed in range(20):
        mask = np.random.default_rng(seed).random((5, 7)) < 0.4
        assert np.array_equal(mask_of_runs({"size": [5, 7], "counts": run_lengths(mask)}), mask)
    for counts in ([34], [36], [-1, 36], "abc", [[1, 2]]):
        with pytest.raises((ConfigError, ValueError)):
            mask_of_runs({"size": [5, 7], "counts": counts})
