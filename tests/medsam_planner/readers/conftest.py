"""Label maps of readers, small enough to be compared in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

WriteCase = Callable[..., Path]


def ball(centre: float, radius: float, size: int = 20) -> NDArray[np.int16]:
    """A ball of label 1 in a cube; its centre is moved along the first axis."""
    grid = np.indices((size,) * 3) - np.array([centre, size / 2, size / 2]).reshape(3, 1, 1, 1)
    return (np.linalg.norm(grid, axis=0) <= radius).astype(np.int16)


@pytest.fixture
def write_case(tmp_path: Path) -> WriteCase:
    """Writes ``cases/NAME`` with the labels of each reader, and returns the folder of the cases."""

    def write(
        name: str,
        labels: Mapping[str, NDArray[np.int16]],
        *,
        names: Mapping[str, str] | None = None,
        steps: Mapping[str, float] | None = None,
    ) -> Path:
        folder = tmp_path / "cases" / name
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"label_names": names or {"1": "liver"}}), encoding="utf-8")
        for reader, array in labels.items():
            step = (steps or {}).get(reader, 1.0)
            nib.Nifti1Image(array, np.diag([step, step, step, 1.0])).to_filename(folder / f"labels_{reader}.nii.gz")
        return folder.parent

    return write
