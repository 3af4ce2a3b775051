"""A reader study of four small cases with masks and uncertainty maps, the first with a plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medsam_planner.reading.study_file import ReadingTable, read_study_file

WriteStudy = Callable[..., Path]


@pytest.fixture
def write_study(tmp_path: Path) -> WriteStudy:
    """Writes a study file with its cases, and returns it; keywords replace entries of ``[reading]``."""

    def write(**changed: Any) -> Path:
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        cases = ""
        for number in range(4):
            folder = tmp_path / f"p{number}"
            folder.mkdir(exist_ok=True)
            random = np.random.default_rng(number)
            image = random.normal(40, 10, (24, 20, 10)).astype(np.float32)
            mask = np.zeros(image.shape, dtype=np.uint8)
            mask[8:16, 6:14, 3:7] = 1
            image[mask > 0] += 80
            for name, array in (("image", image), ("mask", mask), ("doubt", 0.9 * mask.astype(np.float32))):
                nib.Nifti1Image(array, affine).to_filename(folder / f"{name}.nii.gz")
            plan = ""
            if number == 0:
                path = {"entry_lps_mm": [2, 10, 8], "target_lps_mm": [12, 10, 8]}
                document = {"tools": [{"name": "needle", "alternatives": [path]}]}
                (folder / "plan.json").write_text(json.dumps(document), encoding="utf-8")
                plan = f'plan = "p{number}"\n'
            cases += (
                f'[[reading.cases]]\nname = "p{number}"\nimage = "p{number}/image.nii.gz"\n'
                f'masks = {{lesion = "p{number}/mask.nii.gz"}}\nuncertainty = "p{number}/doubt.nii.gz"\n'
                f"positive = {str(number % 2 == 0).lower()}\n{plan}"
            )
        table = {"readers": ["paul", "vera"], "washout_days": 0, "seed": 3} | changed
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
        file = tmp_path / "study.toml"
        file.write_text(f'title = "Lesions"\n[reading]\n{lines}\n{cases}', encoding="utf-8")
        return file

    return write


@pytest.fixture
def table(write_study: WriteStudy) -> ReadingTable:
    """The table of such a study."""
    read = read_study_file(write_study()).reading
    assert read is not None
    return read
