"""Reading cases, and which of them the weights were trained on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.cases import cases_trained_on, find_cases, size_class, trained_on
from medsam_planner.lab.evaluation.references import label_values, read_structures, reference_volumes_ml

from .synthetic_cases import SHAPE, ellipsoid, write_case


def test_a_case_has_modality_anatomy_patient_and_names(cases):
    first = find_cases(cases)[0]
    assert (first.name, first.modality, first.patient) == ("ct_ball", "CT", "first")
    assert first.group == "CT ball"  # what follows the semicolon is this case's own
    assert [one.name for one in read_structures(first)] == ["ball", "portal vein"]
    assert label_values(first, 1) == [1]


def test_a_structure_is_the_largest_part_of_a_label_or_the_whole_label(tmp_path):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    large, small = ellipsoid((6, 20, 15), (4, 8, 8)), ellipsoid((6, 30, 40), (2, 3, 3))
    labels[large | small] = 7
    write_case(tmp_path / "one", labels=labels, names={"7": "two lumps"})
    case = find_cases(tmp_path)[0]
    assert np.array_equal(next(read_structures(case)).reference, large)
    assert list(reference_volumes_ml(case)) == [("two lumps", pytest.approx(large.sum() * 3 / 1000))]
    assert np.array_equal(next(read_structures(case, largest_part=False)).reference, large | small)


def test_the_volume_is_voxels_times_their_size_and_names_the_class(cases):
    structure = next(read_structures(find_cases(cases)[0]))
    assert structure.volume_ml == pytest.approx(structure.reference.sum() * 3 / 1000)
    assert structure.key == "ct_ball/1"
    assert [size_class(ml).split(",")[0] for ml in (0.99, 1.0, 49.9, 50.0)] == ["small", "medium", "medium", "large"]


def test_weights_are_trained_on_a_case_when_they_are_on_another_of_its_patient(cases):
    everything = find_cases(cases)
    assert cases_trained_on(everything, ["mr_hippocampus_102"]) == {"mr_hippocampus_102", "mr_of_the_same_patient"}
    assert cases_trained_on(everything, ["procedural anatomy"]) == frozenset()


def test_weights_that_name_no_training_data_differ_from_weights_with_an_empty_list():
    told = SimpleNamespace(metadata={"trained_on": '["a", "b"]'})
    assert trained_on(told) == ("a", "b")
    assert trained_on(SimpleNamespace(metadata={"trained_on": "[]"})) == ()
    assert trained_on(SimpleNamespace(metadata={})) is None


def test_patterns_choose_cases_and_a_case_can_be_named_itself(cases):
    assert [case.name for case in find_cases(cases, ["*_ball"])] == ["ct_ball", "mr_ball"]
    assert [case.name for case in find_cases(cases / "mr_ball")] == ["mr_ball"]


def test_no_cases_no_match_and_a_wrong_meta_are_refused(cases, tmp_path):
    with pytest.raises(ConfigError, match="Found none"):
        find_cases(tmp_path)
    with pytest.raises(ConfigError, match="Correct the path"):
        find_cases(tmp_path / "absent")
    with pytest.raises(ConfigError, match="pelvis"):
        find_cases(cases, ["pelvis*"])
    folder = write_case(tmp_path / "one")
    (folder / "meta.json").write_text(json.dumps({"anatomy": "ball"}))
    with pytest.raises(ConfigError, match="modality"):
        find_cases(tmp_path)


def test_labels_on_another_grid_are_refused(tmp_path):
    one = write_case(tmp_path / "one")
    image = nibabel.load(one / "labels.nii.gz")
    moved = image.affine.copy()
    moved[0, 3] += 5
    shifted = nibabel.Nifti1Image(np.asarray(image.dataobj), moved)
    shifted.set_sform(moved, code=1)
    shifted.set_qform(moved, code=1)
    nibabel.save(shifted, one / "labels.nii.gz")
    with pytest.raises(ConfigError, match="one grid"):
        next(read_structures(find_cases(tmp_path)[0]))
