"""Small synthetic cases in the layout of real ones."""

from __future__ import annotations

import json

import nibabel
import numpy as np

SHAPE = (14, 44, 48)
"""Slices are 3 mm apart, pixels 1 mm: array axes as the files have them."""


def ellipsoid(centre, radii):
    index = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1)
    return (((index - np.array(centre)) / np.array(radii)) ** 2).sum(axis=-1) <= 1


def write_case(folder, *, subject=None, modality="MR T1", anatomy="ball; of nobody", names=None, labels=None, seed=0):
    """A bright ellipsoid, label 1, and a smaller one, label 2, in noise."""
    folder.mkdir(parents=True)
    if labels is None:
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[ellipsoid((6, 20, 18), (4.4, 11, 9))] = 1
        labels[ellipsoid((7, 24, 38), (3.4, 6, 5))] = 2
    noise = np.random.default_rng(seed).normal(0, 12, SHAPE)
    image = np.where(labels > 0, 120.0, 20.0) + noise + (30 if modality == "MR T1" else 0)
    affine = np.array([[0, 0, 1.0, -20], [0, 1.0, 0, -30], [3.0, 0, 0, 40], [0, 0, 0, 1]])
    for name, array in (("image", image.astype(np.float32)), ("labels", labels.astype(np.uint8))):
        file = nibabel.Nifti1Image(array, affine)
        file.set_sform(affine, code=1)
        file.set_qform(affine, code=1)
        nibabel.save(file, folder / f"{name}.nii.gz")
    meta = {"modality": modality, "anatomy": anatomy, "label_names": names or {"1": "ball", "2": "portal vein"}}
    if subject is not None:
        meta["subject"] = subject
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
