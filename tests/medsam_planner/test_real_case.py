"""A real CT from the scanner's files to a plan: three structures from one box each, a needle to one past the others.

The reference masks are another model's output, not truth: the bars only say that the whole path works on real input.
"""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medsam_planner.cli.app import run
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import load_volume
from prompts import Box, PromptFile, PromptLog, write_prompt_file

STRUCTURES = {"liver": 5, "aorta": 52, "spleen": 1}
LEAST_DICE = {"liver": 0.8, "aorta": 0.75, "spleen": 0.75}


@pytest.fixture(scope="module")
def reference(shared_data):
    """Reference masks on the grid of the DICOM series, by structure."""
    labels = load_volume(shared_data / "cases/ct_trunk_totalseg_siemens/labels.nii.gz")
    study = load_volume(shared_data / "dicom/siemens_ct_j2k")
    masks = {}
    for name, value in STRUCTURES.items():
        mask = highdicom.Volume(labels.array == value, labels.affine, "PATIENT")
        masks[name] = mask.match_geometry(study)
    return masks


def box_on_middle_slice(mask: highdicom.Volume) -> Box:
    occupied = np.flatnonzero(mask.array.any(axis=(1, 2)))
    index = int(occupied[len(occupied) // 2])
    section = np.argwhere(mask.array[index])
    ends = (lps_from_index(mask.affine, (index, *corner)) for corner in (section.min(0), section.max(0)))
    return Box(*ends)


@pytest.fixture(scope="module")
def out(shared_data, reference, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    logs = []
    for name, mask in reference.items():
        log = PromptLog(name)
        log.add(box_on_middle_slice(mask))
        logs.append(log)
    write_prompt_file(folder / "prompts.json", PromptFile(tuple(logs)))
    liver = reference["liver"]
    depth = ndimage.distance_transform_edt(liver.array, sampling=liver.spacing)
    target = lps_from_index(liver.affine, np.unravel_index(int(depth.argmax()), depth.shape))
    (folder / "case.toml").write_text(
        f"""
title = "Needle into the liver"
[tool]
radius_mm = 1.0
[target]
point_lps_mm = {target.tolist()}
radius_mm = 3.0
[entry]
skin = true
[[structures]]
name = "aorta"
role = "avoid"
base_margin_mm = 3.0
[[structures]]
name = "spleen"
role = "avoid"
[limits]
max_length_mm = 180
max_entry_angle_deg = 60
[search]
candidates = 4000
alternatives = 3
hit_draws = 50
"""
    )
    study = str(shared_data / "dicom/siemens_ct_j2k")
    arguments = ["run", study, str(folder / "prompts.json"), str(folder / "case.toml"), "--out", str(folder / "out")]
    assert run([*arguments, "--samples", "4"]) == 0
    return folder / "out"


@pytest.mark.parametrize("structure", STRUCTURES)
def test_one_box_finds_the_structure_in_three_dimensions(out, reference, structure):
    found = np.asarray(nibabel.load(out / structure / "mask.nii.gz").dataobj) > 0
    truth = reference[structure].array
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > LEAST_DICE[structure]


def test_masks_as_dicom_seg_and_as_nifti_are_the_same_voxels(out, reference):
    segmentation = highdicom.seg.segread(out / "seg.dcm")
    [number] = segmentation.get_segment_numbers(segment_label="liver")
    from_dicom = segmentation.get_volume(combine_segments=True)
    from_nifti = nibabel.load(out / "liver" / "mask.nii.gz")
    nifti_volume = highdicom.Volume.from_nibabel(from_nifti)
    assert np.array_equal(from_dicom.match_geometry(nifti_volume).array == number, nifti_volume.array > 0)
    assert np.allclose(nifti_volume.affine, reference["liver"].affine, atol=1e-3)


def test_the_needle_keeps_clear_of_the_reference_structures(out, reference):
    plan = json.loads((out / "plan.json").read_text())
    best = plan["alternatives"][0]
    assert best["certified_clearance_mm"] > 0
    along = np.linspace(0, 1, 400)[:, None]
    entry, target = np.array(best["entry_lps_mm"]), np.array(best["target_lps_mm"])
    path = entry + along * (target - entry)
    for name in ("aorta", "spleen"):
        mask = reference[name]
        voxels = lps_from_index(mask.affine, np.argwhere(mask.array))
        nearest = min(float(np.linalg.norm(voxels - point, axis=1).min()) for point in path[::10])
        assert nearest > 1.0, name
    assert (out / "report.html").stat().st_size > 100_000
