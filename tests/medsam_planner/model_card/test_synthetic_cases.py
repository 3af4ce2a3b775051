"""Synthetic cases: reproducible, never those of training, and as hard as described."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.lab.model_card.case_files import write_case
from medsam_planner.lab.model_card.hard_shapes import SHAPES, SIDE, hard_shape
from medsam_planner.lab.model_card.procedural_cases import SMALLEST_VOXELS, procedural_case, write_procedural_cases


@pytest.mark.parametrize("name", SHAPES)
def test_a_hard_shape_is_one_part_inside_its_image(name):
    image, labels = hard_shape(name)
    assert ndimage.label(labels, structure=np.ones((3, 3, 3)))[1] == 1
    filled = np.argwhere(labels)
    assert filled.min() > 2 and filled.max() < SIDE - 3
    assert np.isfinite(image).all() and image.dtype == np.float32


def test_the_shapes_are_hollow_thin_and_in_two_parts_where_they_are_prompted():
    parts = {name: ndimage.label(hard_shape(name)[1][:, :, SIDE // 2])[1] for name in SHAPES}
    assert parts["two arms"] == 2 and parts["hollow bone"] == 1
    shell = hard_shape("thin shell")[1] > 0
    assert shell.sum() < 0.4 * ndimage.binary_fill_holes(shell).sum()
    sheet = hard_shape("thin sheet")[1] > 0
    assert not ndimage.binary_erosion(sheet, iterations=2).any()


def test_marrow_looks_more_like_the_tissue_outside_than_like_its_cortex():
    image, labels = hard_shape("hollow bone")
    depth = ndimage.distance_transform_edt(labels)
    marrow, cortex = image[depth > 5].mean(), image[(depth > 0.5) & (depth < 2)].mean()
    outside = image[labels == 0].mean()
    assert abs(marrow - outside) < 0.3 * abs(marrow - cortex)


def test_procedural_cases_repeat_themselves_and_differ_by_number_and_seed(tmp_path):
    first, again = (write_procedural_cases(tmp_path / name, count=2, side=32, seed=5) for name in ("a", "b"))
    names = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert [(first / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]
    image, _ = procedural_case(5, 0, 32)
    assert not np.array_equal(image, procedural_case(5, 1, 32)[0])
    assert not np.array_equal(image, procedural_case(6, 0, 32)[0])


def test_a_procedural_case_reads_as_any_case_with_structures_large_enough(tmp_path):
    (case, _) = find_cases(write_procedural_cases(tmp_path, count=2, side=36, seed=0))
    assert (case.patient, case.group) == ("procedural_000", "MR procedural anatomy")
    structures = list(read_structures(case, largest_part=False))
    assert structures and all(structure.reference.sum() >= SMALLEST_VOXELS for structure in structures)
    assert structures[0].volume.array.min() >= 1


def test_a_case_is_stretched_to_whole_numbers_above_air(tmp_path):
    image = np.linspace(-3, 7, 27, dtype=np.float32).reshape(3, 3, 3)
    labels = (image > 0).astype(np.uint8)
    folder = write_case(tmp_path / "ramp", image, labels, anatomy="ramp; alone", names={1: "upper half"})
    written = np.asarray(nibabel.load(folder / "image.nii.gz").dataobj)
    assert (written.min(), written.max()) == (1, 1000)
    np.testing.assert_array_equal(np.asarray(nibabel.load(folder / "labels.nii.gz").dataobj), labels)
    assert json.loads((folder / "meta.json").read_text())["label_names"] == {"1": "upper half"}
