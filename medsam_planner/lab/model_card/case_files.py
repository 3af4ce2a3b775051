"""Write a synthetic case in the layout of real ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.io.files import write_json, write_whole

__all__ = ["write_case"]

_BRIGHTEST = 1000


def write_case(
    folder: Path, image: NDArray[np.float32], labels: NDArray[np.uint8], *, anatomy: str, names: dict[int, str]
) -> Path:
    """Write ``image.nii.gz``, ``labels.nii.gz`` and ``meta.json``; the same arrays give the same bytes.

    Parameters
    ----------
    folder : Path
        Its name is also the patient's.
    image : (K, J, I) float
        In any unit; rescaled to whole numbers from 1 to 1000, because 0 means air where MR is read.
    labels : (K, J, I) uint8
        Label of each voxel; 0 is the background.
    anatomy : str
        The part before a semicolon groups the case with others.
    names : dict of int to str
        Names of the labels.
    """
    import nibabel

    low, high = float(image.min()), float(image.max())
    stretched = 1 + (_BRIGHTEST - 1) * (image - low) / max(high - low, 1e-6)
    for name, array in (("image", np.rint(stretched).astype(np.int16)), ("labels", labels)):
        file = nibabel.nifti1.Nifti1Image(array, np.eye(4))
        write_whole(folder / f"{name}.nii.gz", gzip.compress(file.to_bytes(), mtime=0))
    meta: dict[str, Any] = {
        "subject": folder.name,
        "modality": "MR, synthetic",
        "anatomy": anatomy,
        "licence": "Apache-2.0",
        "label_names": {str(label): name for label, name in names.items()},
    }
    write_json(folder / "meta.json", meta)
    return folder
