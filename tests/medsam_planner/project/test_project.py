"""A project keeps who did what to which study, and gives data sets that other programs read."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError, GeometryError, StaleError
from medsam_planner.lab.evaluation.references import label_values
from medsam_planner.lab.project.coco import run_lengths
from medsam_planner.lab.project.exports import export_project, slice_numbers, version_of
from medsam_planner.lab.project.formats import Format
from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.ordering import Order, ranked
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.lab.project.report import data_sheet
from medsam_planner.lab.project.splits import check_splits, splits_by_patient
from medsam_planner.volumes import volume_like
from prompts import Click, PromptFile, PromptLog

from ..adaptation.test_adapt import write_ball


def mask_of(project: Project, name: str, *, threshold: float = 500.0) -> highdicom.Volume:
    image = project.image(project.study(name))
    return volume_like(image, np.asarray(image.array) > threshold)


def voxels(path: Path) -> NDArray[Any]:
    """As nibabel reads them."""
    read: Any = nibabel.loadsave.load(path)
    return np.asarray(read.dataobj)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.init(tmp_path / "project", "Balls", ["liver", "unheard of"], annotators=["ann", "ben"])
    for number in range(3):
        add_image(made, write_ball(tmp_path / "cases", number), who="ann")
    return made


def annotate(project: Project, name: str, *, who: str = "ann") -> None:
    for structure in project.settings.names:
        project.record(name, structure, mask_of(project, name), who=who)


def test_structures_get_their_codes_by_name_and_an_unknown_name_gets_none(project):
    liver, unheard = project.settings.structures
    assert (liver.scheme, liver.code, liver.meaning) == ("SCT", "10200004", "Liver")
    assert unheard.code == ""


def test_a_study_goes_from_new_to_prompted_corrected_and_reviewed(project):
    states = [project.study("case_0").state]
    states.append(project.record("case_0", "liver", mask_of(project, "case_0"), who="ann").state)
    states.append(project.record("case_0", "unheard of", mask_of(project, "case_0"), who="ben").state)
    states.append(project.review("case_0", who="ben").state)
    assert states == [State.NEW, State.PROMPTED, State.CORRECTED, State.REVIEWED]
    assert [(one.kind, one.who) for one in project.events("case_0")] == [
        ("added", "ann"), ("recorded", "ann"), ("recorded", "ben"), ("reviewed", "ben")
    ]  # fmt: skip


def test_every_prompt_keeps_who_gave_it_also_when_another_goes_on(project):
    log = PromptLog("liver")
    log.add(Click((0.0, 0.0, 0.0)))
    project.record("case_0", "liver", mask_of(project, "case_0"), who="ann", prompts=PromptFile((log,)))
    log.add(Click((-1.0, 0.0, 0.0), positive=False))
    project.record("case_0", "liver", mask_of(project, "case_0"), who="ben", prompts=PromptFile((log,)))
    assert [who for who, _, _ in project.prompts("case_0", "liver")] == ["ann", "ben"]


def test_what_was_recorded_can_neither_be_changed_nor_deleted(project):
    with sqlite3.connect(project.folder / "project.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for statement in ("UPDATE events SET who = 'eve'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="events are only added"):
                connection.execute(statement)


def test_people_who_record_at_once_are_all_in_the_records(project):
    mask = mask_of(project, "case_0")
    own = [Project(project.folder) for _ in range(4)]
    threads = [
        threading.Thread(target=one.record, args=("case_0", "liver", mask), kwargs={"who": who})
        for one, who in zip(own, ("ann", "ben", "ann", "ben"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.who for one in project.events("case_0") if one.kind == "recorded") == ["ann", "ann", "ben", "ben"]


def test_a_record_over_one_that_was_not_seen_is_refused(project):
    seen = project.events("case_0")[-1].number
    project.record("case_0", "liver", mask_of(project, "case_0"), who="ben", seen=seen)
    with pytest.raises(StaleError, match="ben changed case_0 meanwhile"):
        project.record("case_0", "liver", mask_of(project, "case_0"), who="ann", seen=seen)


def test_who_is_no_annotator_changes_nothing(project):
    with pytest.raises(ConfigError, match=r"Expected one of the annotators in project.toml \(ann, ben\), got 'eve'"):
        project.exclude("case_0", "blurred", who="eve")
    assert project.study("case_0").state is State.NEW


def test_the_same_voxels_are_not_added_twice_under_another_name(project, tmp_path):
    copy = tmp_path / "again.nii.gz"
    copy.write_bytes((tmp_path / "cases/case_1/image.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="a study with the same voxels is in the project already, as case_1"):
        project.add(copy, who="ann", modality="MR")


def test_a_referred_image_that_changed_is_refused(project, tmp_path):
    folder = write_ball(tmp_path / "more", 7)
    study = add_image(project, folder, who="ann", copied=False)
    assert not study.is_copied and (study.folder / "image.nii.gz").is_symlink()
    (folder / "image.nii.gz").write_bytes((tmp_path / "cases/case_1/image.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="has other voxels than when it was added"):
        project.image(study)


def test_a_study_is_reviewed_only_with_a_mask_of_every_structure(project):
    project.record("case_0", "liver", mask_of(project, "case_0"), who="ann")
    with pytest.raises(ConfigError, match="case_0 has no mask of unheard of yet"):
        project.review("case_0", who="ann")


def test_masks_of_another_grid_and_empty_ones_are_refused(project):
    image = project.image(project.study("case_0"))
    with pytest.raises(GeometryError, match="another grid"):
        smaller = highdicom.Volume(np.ones((4, 4, 4), dtype=bool), image.affine, "PATIENT")
        project.record("case_0", "liver", smaller, who="ann")
    with pytest.raises(GeometryError, match="The mask of liver is empty"):
        project.record("case_0", "liver", mask_of(project, "case_0", threshold=1e9), who="ann")


def test_an_excluded_study_is_neither_recorded_nor_exported_until_it_is_reopened(project, tmp_path):
    project.exclude("case_0", "motion", who="ben")
    with pytest.raises(ConfigError, match="case_0 is excluded"):
        annotate(project, "case_0")
    assert "- case_0: motion" in data_sheet(project)
    with pytest.raises(ConfigError, match="found none"):
        export_project(project, tmp_path / "out", Format.NNUNET)
    assert project.reopen("case_0", who="ben").state is State.NEW


def test_reviewed_studies_are_cases_with_the_names_and_numbers_of_the_project(project):
    annotate(project, "case_0")
    annotate(project, "case_1")
    project.review("case_1", who="ben")
    (case,) = project.reviewed_cases()
    assert (case.name, case.patient, case.label_names) == ("case_1", "case_1", {1: "liver", 2: "unheard of"})
    assert label_values(case) == [2]  # both masks are the same: the later one of the list is kept


def test_nnunet_ignores_slices_that_nobody_reviewed_and_its_reader_agrees(project, tmp_path):
    for name in ("case_0", "case_1"):
        annotate(project, name)
        project.review(name, who="ben", slices=None if name == "case_0" else slice_numbers("10-20"))
    exported = export_project(project, tmp_path / "out", Format.NNUNET, folds=2)
    document = json.loads((exported.folder / "dataset.json").read_text())
    assert document["labels"] == {"background": 0, "liver": 1, "unheard of": 2, "ignore": 3}
    read = voxels(exported.folder / "labelsTr/case_1.nii.gz")
    counted = [int((np.take(read, index, axis=2) == 3).sum()) for index in range(read.shape[2])]
    assert [index for index, count in enumerate(counted) if count == 0] == list(range(10, 21))
    splits = json.loads((exported.folder / "splits_final.json").read_text())
    check_splits(splits, {"case_0": "case_0", "case_1": "case_1"})
    assert exported.command is not None and "nnUNetv2_train" in exported.command


def test_monais_reader_of_the_decathlon_finds_every_case_with_its_label(project, tmp_path):
    from monai.data import load_decathlon_datalist
    from monai.transforms import LoadImaged

    annotate(project, "case_2")
    project.review("case_2", who="ben")
    exported = export_project(project, tmp_path / "out", Format.MONAI)
    (item,) = load_decathlon_datalist(str(exported.folder / "dataset.json"), True, "training")
    read = LoadImaged(keys=["image", "label"])(item)
    assert read["image"].shape == read["label"].shape
    assert int((read["label"] == 2).sum()) == int(np.asarray(mask_of(project, "case_2").array).sum())


def test_bids_derivatives_name_their_labels_and_hold_the_mask(project, tmp_path):
    annotate(project, "case_0")
    project.review("case_0", who="ben")
    export_project(project, tmp_path / "out", Format.BIDS)
    root = tmp_path / "out"
    assert json.loads((root / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    table = dict(line.split("\t") for line in (root / "desc-manual_dseg.tsv").read_text().splitlines()[1:])
    read = voxels(root / "sub-001/anat/sub-001_desc-manual_dseg.nii.gz")
    assert table["2"] == "unheard of"
    assert int((read == 2).sum()) == int(np.asarray(mask_of(project, "case_0").array).sum())


def test_coco_run_lengths_of_known_masks():
    assert run_lengths(np.zeros((2, 3), dtype=bool)) == [6]
    assert run_lengths(np.ones((2, 3), dtype=bool)) == [0, 6]
    assert run_lengths(np.array([[0, 1, 1], [0, 0, 1]], dtype=bool)) == [2, 1, 1, 2]


def test_the_reader_of_coco_gives_back_every_slice(project, tmp_path):
    reader = pytest.importorskip("pycocotools.coco")
    annotate(project, "case_0")
    project.review("case_0", who="ben")
    export_project(project, tmp_path / "out", Format.COCO)
    coco = reader.COCO(str(tmp_path / "out/annotations.json"))
    mask, found = np.asarray(mask_of(project, "case_0").array), 0
    for number in coco.getImgIds():
        (image,) = coco.loadImgs([number])
        for one in coco.loadAnns(coco.getAnnIds(imgIds=[number], catIds=[1])):
            assert (coco.annToMask(one).astype(bool) == np.take(mask, image["slice"], axis=image["axis"])).all()
            found += one["area"]
    assert found == int(mask.sum())


def test_the_version_follows_masks_and_reviewed_slices_and_nothing_else(project):
    annotate(project, "case_0")
    project.review("case_0", who="ben")
    first = version_of(project)
    project.exclude("case_1", "motion", who="ann")
    assert version_of(project) == first
    project.review("case_0", who="ann", slices=[4])
    assert version_of(project) != first


def test_all_studies_of_a_patient_are_on_one_side_of_every_split():
    patients = {f"study_{number}": f"patient_{number // 2}" for number in range(10)}
    splits = splits_by_patient(patients, 5)
    check_splits(splits, patients)
    assert sorted(name for split in splits for name in split["val"]) == sorted(patients)
    with pytest.raises(ConfigError, match="patient patient_0 is in two parts, study_0 in train and study_1 in val"):
        check_splits([{"train": ["study_0"], "val": ["study_1"]}], patients)


def test_the_most_uncertain_and_the_unlike_come_first():
    features = {name: np.array([at, 0.0]) for name, at in (("a", 0.0), ("b", 0.1), ("c", 5.0), ("d", 0.2))}
    diverse = ranked(["b", "c", "d"], ["a"], Order.DIVERSITY, features=features)
    assert [one.name for one in diverse] == ["c", "d", "b"]
    unsure = ranked(["b", "d"], ["a"], Order.WORTH, features=features, uncertainty={"b": 0.9, "d": 0.1})
    assert {one.name for one in unsure} == {"b", "d"} and unsure[0].distance is not None
    certain = ranked(
        ["b", "d"], [], Order.WORTH, features={"b": np.zeros(2), "d": np.zeros(2)}, uncertainty={"b": 0.1, "d": 0.9}
    )
    assert certain[0].name == "d"


def test_random_and_by_name_are_baselines_that_look_at_nothing():
    names = [f"s{number}" for number in range(8)]
    assert [one.name for one in ranked(names, [], Order.NAME)] == names
    one, again = (ranked(names, [], Order.RANDOM, seed=3) for _ in range(2))
    assert one == again and [each.name for each in one] != names


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "1-99999999999"])
def test_slices_that_are_no_list_are_refused(text):
    with pytest.raises(ConfigError, match="Expected slices as 3-20,25"):
        slice_numbers(text)


def test_a_folder_that_is_no_project_and_a_taken_one_are_refused(tmp_path, project):
    with pytest.raises(ConfigError):
        Project(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is taken"):
        Project.init(project.folder, "again", ["liver"])
