"""Patients made of files: a bright ball in noise, with its mask as the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.calibration import Calibration
from medsam_planner.io import save_nifti
from medsam_planner.lab.calibration import calibrate
from medsam_planner.lab.calibration.segment_cases import SegmentationSettings
from medsam_planner.volumes import StudyVolume
from xai.margin_scale import SCALES

SHAPE, SPACING = (22, 40, 40), (2.0, 1.0, 1.0)
SETTINGS = SegmentationSettings(samples=2)


def affine() -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[[2, 1, 0], [0, 1, 2]] = SPACING
    matrix[3, 3] = 1
    return matrix


def ball(radius_mm: float, middle: tuple[float, float, float] = (11.0, 20.0, 20.0)) -> np.ndarray:
    offset = (np.stack(np.indices(SHAPE), axis=-1) - np.array(middle)) * np.array(SPACING)
    return np.linalg.norm(offset, axis=-1) <= radius_mm


def image_of(reference: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 15, SHAPE)
    return (np.where(reference, 300.0, 100.0) + noise).astype(np.float32)


def write_patient(
    root: Path, number: int, *, subject: str | None = None, modality: str = "MR T1", radius_mm: float | None = None
) -> Path:
    folder = root / f"case_{number}"
    folder.mkdir(parents=True)
    reference = ball(8.0 + 0.7 * number if radius_mm is None else radius_mm)
    for name, array in (("image", image_of(reference, number)), ("labels", reference.astype(np.float32))):
        save_nifti(StudyVolume(array, affine(), "PATIENT"), folder / f"{name}.nii.gz")
    meta = {"subject": subject or f"patient {number}", "modality": modality, "label_names": {"1": "vessel"}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture(scope="session")
def patients(tmp_path_factory) -> Path:
    """Three studies of two patients."""
    root = tmp_path_factory.mktemp("patients")
    write_patient(root, 0)
    write_patient(root, 1, subject="shared")
    write_patient(root, 2, subject="shared", modality="CT")
    return root


@pytest.fixture(scope="session")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def calibration(patients, kept) -> Calibration:
    return calibrate(patients, SCALES["combined"], settings=SETTINGS, keep=kept)
