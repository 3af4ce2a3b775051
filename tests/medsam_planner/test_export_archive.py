"""What is exported, read back by programs of others."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import trimesh

import medsam_planner as mp
from medsam_planner.cli import main
from medsam_planner.errors import ConfigError, GeometryError, OutputError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.workflow.export_archive import DECATHLON_FOLDER, NNUNET_FOLDER, Content, ExportSource, write_archive
from medsam_planner.workflow.read_run import read_run
from medsam_planner.workflow.run_folder import write_segmentations
from medsam_planner.workflow.training_folders import TrainingCase, write_decathlon, write_nnunet
from prompts import Click, read_prompt_file
from tests.medsam_planner.io.dicom_series import write_ct_series

SHAPE = (12, 40, 48)
AFFINE = np.array([[0, 0, 0.8, -20.0], [0, 0.9, 0, -15.0], [2.5, 0, 0, 30.0], [0, 0, 0, 1.0]])
K, J, I = np.indices(SHAPE)  # noqa: E741
LIVER = ((K - 5) / 4.2) ** 2 + ((J - 18) / 10) ** 2 + ((I - 14) / 8) ** 2 <= 1
CYST = (K == 5) & ((J - 18) ** 2 + (I - 24) ** 2 <= 16)
"""It overlaps the liver."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ExportSource:
    folder = tmp_path_factory.mktemp("ct")
    hu = np.where(LIVER, 90, 20) + np.random.default_rng(0).normal(0, 8, SHAPE)
    write_ct_series(folder, hu.round(), AFFINE)
    study = mp.load_volume(folder)
    session = mp.Session(study)
    for name, mask in (("liver", LIVER), ("my cyst", CYST)):
        session.begin_from(highdicom.Volume(mask, AFFINE, "PATIENT"), structure=name)
    results = {name: session.segment(structure=name, samples=0) for name in session.logs}
    return ExportSource(study, results, session.logs)


@pytest.fixture(scope="module")
def exported(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("export")
    chosen = [one for one in Content if one is not Content.RESULTS]
    notes = write_archive(folder / "export.zip", chosen, source)
    assert [file.name for file in folder.iterdir()] == ["export.zip"]
    with zipfile.ZipFile(folder / "export.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(folder / "read")
    return folder / "read", notes


def place_of(voxel: tuple[int, int, int]) -> np.ndarray:
    """LPS mm."""
    return lps_from_index(AFFINE, voxel)


def test_the_label_map_has_the_usual_axes_and_its_labels_lie_where_the_masks_do(exported) -> None:
    folder, notes = exported
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    assert image.GetSize() == (48, 40, 12)  # columns, rows, slices
    for voxel in ((5, 18, 14), (5, 18, 24), (2, 18, 14), (0, 0, 0)):
        label = image[image.TransformPhysicalPointToIndex(place_of(voxel).tolist())]
        assert label == (2 if CYST[voxel] else 1 if LIVER[voxel] else 0)
    read = np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj)
    assert read.dtype == np.uint8
    assert np.count_nonzero(read == 2) == CYST.sum()
    assert np.count_nonzero(read == 1) == (LIVER & ~CYST).sum()
    assert nibabel.aff2axcodes(nibabel.load(folder / "labels.nii.gz").affine) == ("R", "A", "S")
    assert any(f"{(LIVER & CYST).sum()} voxels belong to 'liver' and to 'my cyst'" in note for note in notes)


def test_the_table_names_and_colours_the_labels(exported) -> None:
    with (exported[0] / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["LabelValue"], row["Name"]) for row in rows] == [("1", "liver"), ("2", "my cyst")]
    assert [rows[0][f"Color_{one}"] for one in "RGBA"] == ["240", "228", "66", "255"]


def test_the_dicom_segmentation_has_a_segment_for_each_structure_and_says_that_they_are_by_hand(exported) -> None:
    seg = highdicom.seg.segread(exported[0] / "seg.dcm")
    described = [seg.get_segment_description(number) for number in seg.segment_numbers]
    assert [one.segment_label for one in described] == ["liver", "my cyst"]
    assert all("Edited by hand: not covered by a margin's guarantee" in one.SegmentDescription for one in described)
    volume = seg.get_volume(combine_segments=False)
    assert np.count_nonzero(volume.array[..., 0]) == LIVER.sum()
    assert np.count_nonzero(volume.array[..., 1]) == CYST.sum()


@pytest.mark.parametrize("suffix", ["stl", "glb"])
def test_meshes_lie_around_the_masks_in_lps_mm(exported, suffix: str) -> None:
    read = trimesh.load(exported[0] / f"meshes/liver.{suffix}", process=False)
    mesh = next(iter(read.geometry.values())) if suffix == "glb" else read
    voxels = place_of(np.argwhere(LIVER))
    assert np.abs(mesh.bounds - [voxels.min(axis=0), voxels.max(axis=0)]).max() < 2.5
    if suffix == "glb":  # its node maps them to the metres of glTF, the patient upright
        top = read.bounds[1][1]
        assert top == pytest.approx(voxels[:, 2].max() / 1000, abs=0.003)


def test_the_prompt_log_rebuilds_the_masks(exported, source: ExportSource) -> None:
    stored = read_prompt_file(exported[0] / "prompts.json")
    assert {log.structure: log for log in stored.logs} == dict(source.logs)


def test_nnunet_finds_channels_labels_and_pairs_of_files(exported) -> None:
    folder = exported[0] / NNUNET_FOLDER
    document = json.loads((folder / "dataset.json").read_text())
    assert document["channel_names"] == {"0": "CT"}
    assert document["labels"] == {"background": 0, "liver": 1, "my cyst": 2}
    assert (document["numTraining"], document["file_ending"]) == (1, ".nii.gz")
    image = sitk.ReadImage(str(folder / "imagesTr/case_001_0000.nii.gz"))
    label = sitk.ReadImage(str(folder / "labelsTr/case_001.nii.gz"))
    assert (image.GetSize(), image.GetSpacing()) == (label.GetSize(), label.GetSpacing())
    assert image.GetDirection() == label.GetDirection() and image.GetOrigin() == label.GetOrigin()
    assert image.GetPixelID() == sitk.sitkInt16
    inside = sitk.GetArrayFromImage(image)[sitk.GetArrayFromImage(label) == 1]
    assert inside.mean() == pytest.approx(90, abs=2)


def test_monai_reads_the_decathlon_list(exported) -> None:
    from monai.data import load_decathlon_datalist

    folder = exported[0] / DECATHLON_FOLDER
    (pair,) = load_decathlon_datalist(str(folder / "dataset.json"), is_segmentation=True, data_list_key="training")
    image, label = nibabel.load(pair["image"]), nibabel.load(pair["label"])
    assert image.shape == label.shape == (48, 40, 12)
    document = json.loads((folder / "dataset.json").read_text())
    assert document["labels"] == {"0": "background", "1": "liver", "2": "my cyst"}
    assert document["modality"] == {"0": "CT"} and document["tensorImageSize"] == "3D"


def test_slices_that_nobody_has_looked_at_are_ignored_where_that_is_asked_for(source, tmp_path: Path) -> None:
    session = mp.Session(source.study)
    session.add(Click(place_of((5, 18, 14))), structure="liver")
    place = np.rint(index_from_lps(source.study.affine, place_of((6, 18, 14)))).astype(int)
    session.edit(np.ones((1, 1, 6), bool), first_index=tuple(place.tolist()), structure="liver")
    results = {"liver": session.segment(structure="liver", samples=0)}
    reviewed = ExportSource(source.study, results, session.logs, ignores_unreviewed=True)
    write_archive(tmp_path / "x.zip", [Content.NNUNET, Content.DECATHLON], reviewed)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        archive.extractall(tmp_path)
    document = json.loads((tmp_path / NNUNET_FOLDER / "dataset.json").read_text())
    assert document["labels"] == {"background": 0, "liver": 1, "ignore": 2}
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / NNUNET_FOLDER / "labelsTr/case_001.nii.gz")))
    assert [bool((labels[k] == 2).all()) for k in range(SHAPE[0])] == [k not in (5, 6) for k in range(SHAPE[0])]
    assert not (labels[5:7] == 2).any()
    plain = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / DECATHLON_FOLDER / "labelsTr/case_001.nii.gz")))
    assert plain.max() == 1


def test_an_archive_that_would_be_too_large_is_refused_and_leaves_nothing(source, tmp_path: Path) -> None:
    for contents, most in (([Content.NNUNET], 1000), ([Content.LABEL_MAP], 200)):
        with pytest.raises(OutputError, match="Choose less"):
            write_archive(tmp_path / "x.zip", contents, source, most_bytes=most)
    with pytest.raises(ConfigError, match="at least one thing"):
        write_archive(tmp_path / "x.zip", [], source)
    assert list(tmp_path.iterdir()) == []


def test_a_mesh_that_cannot_be_made_is_a_note(source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GeometryError("the surface is open")

    monkeypatch.setattr("medsam_planner.workflow.run_folder.write_surface", fail)
    notes = write_archive(tmp_path / "x.zip", [Content.MESHES, Content.PROMPTS], source)
    assert any("liver.stl could not be made: the surface is open" in note for note in notes)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["prompts.json"]


def test_names_and_modalities_that_the_formats_cannot_hold_are_refused(source, tmp_path: Path) -> None:
    case = source.case
    with pytest.raises(ConfigError, match="'background' and 'ignore'"):
        write_nnunet(tmp_path / "a", [case], ["Ignore"])
    with pytest.raises(ConfigError, match="names of their own"):
        write_decathlon(tmp_path / "b", [case, case], ["liver"])
    with pytest.raises(ConfigError, match="name of a case"):
        TrainingCase("../x", source.study, "CT", {})


@pytest.fixture
def run(source: ExportSource, tmp_path: Path) -> Path:
    """A run folder of the source."""
    write_segmentations(tmp_path / "run", source.results, source.logs, study=source.study)
    return tmp_path / "run"


def exports(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main(["export", *map(str, arguments)])
    return int(left.value.code or 0)


def test_a_run_folder_is_read_back_as_it_was_written(source: ExportSource, run: Path) -> None:
    read = read_run(run, study_path=source.study.source.path)  # type: ignore[union-attr]
    assert list(read.results) == list(source.results)
    for name, written in source.results.items():
        found = read.results[name]
        for one in ("mask", "probability"):
            np.testing.assert_array_equal(getattr(found, one).array, getattr(written, one).array)
        assert (found.provenance, found.by_hand) == (written.provenance, written.by_hand)
        assert found.trace.as_rows() == written.trace.as_rows()
        assert read.logs[name].history == source.logs[name].history


def test_the_command_writes_the_zip_that_a_session_gives(source: ExportSource, run: Path, tmp_path: Path) -> None:
    study, zipped = source.study.source.path, tmp_path / "new" / "run.zip"  # type: ignore[union-attr]
    chosen = [word for one in ("label-map", "dicom-seg", "nnunet") for word in ("--content", one)]
    assert exports(run, "--study", study, "--out", zipped, *chosen) == 0
    write_archive(tmp_path / "session.zip", [Content.LABEL_MAP, Content.SEGMENTATION, Content.NNUNET], source)
    with zipfile.ZipFile(zipped) as ours, zipfile.ZipFile(tmp_path / "session.zip") as theirs:
        assert ours.namelist() == theirs.namelist()
        for name in ours.namelist():
            if not name.endswith(".dcm"):  # which states when it was made
                assert ours.read(name) == theirs.read(name), name


def test_the_command_refuses_what_is_no_run_or_was_changed_and_overwrites_nothing(
    source: ExportSource, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = str(source.study.source.path), tmp_path / "out.zip"  # type: ignore[union-attr]
    for arguments, said in (
        ((tmp_path, "--content", "meshes"), "Expected the folder of a run"),
        ((run, "--study", study, "--content", "everything"), "Expected --content"),
        ((run, "--content", "meshes"), "does not say where its study lies"),
    ):
        assert exports(*arguments, "--out", out) == 2
        assert said in capsys.readouterr().err and not out.exists()
    out.write_text("mine")
    assert exports(run, "--study", study, "--content", "meshes", "--out", out) == 2
    assert out.read_text() == "mine"
    (tmp_path / "other").mkdir()
    write_ct_series(tmp_path / "other", np.full(SHAPE, 30.0) + K, AFFINE)
    with pytest.raises(ConfigError, match="got another one"):
        read_run(run, study_path=tmp_path / "other")
    mp.save_nifti(source.results["my cyst"].mask, run / "liver" / "mask.nii.gz")
    with pytest.raises(ConfigError, match="not the one that was recorded"):
        read_run(run, study_path=Path(study))
