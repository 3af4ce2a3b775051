"""Procedural anatomy as cases, for an evaluation without held-out real cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.model_card.case_files import write_case
from medsam_planner.lab.training.anatomy import procedural_anatomy
from medsam_planner.lab.training.appearance import degrade
from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.painting import painted

__all__ = ["procedural_case", "write_procedural_cases"]

_STREAM = 4
"""Second word of the seeds. Training uses 1, 2 and 3, so that it never has these volumes."""
_PARTIAL_VOLUME_PX = 0.5
SMALLEST_VOXELS = 150
"""Smallest structure, as for label maps in training."""


def write_procedural_cases(root: Path, *, count: int, side: int, seed: int) -> Path:
    """Write `count` cases of `side` voxels of 1 mm into `root`; the same arguments give the same bytes."""
    for number in range(count):
        image, labels = procedural_case(seed, number, side)
        names = {int(label): f"structure {label}" for label in np.unique(labels) if label}
        write_case(root / f"procedural_{number:03d}", image, labels, anatomy="procedural anatomy", names=names)
    return root


def procedural_case(seed: int, number: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One case.

    Parameters
    ----------
    seed, number : int
        Determine the case.
    side : int
        Voxels of 1 mm along each axis.

    Returns
    -------
    (K, J, I) float32, (K, J, I) uint8
        Image, and labels of structures that do not overlap.
    """
    rng = np.random.default_rng([seed, _STREAM, number])
    volume = procedural_anatomy(rng, side=side)
    # Intensities are painted slice by slice, across the axis along which the slices will be prompted: the last.
    image = painted(np.moveaxis(volume.labels, -1, 0), volume.tissue, rng, pixel_mm=1.0, alike=volume.tissues)
    image = degrade(ndimage.gaussian_filter(image, _PARTIAL_VOLUME_PX), rng, strength=1.0, native_px=1.0)
    return np.ascontiguousarray(np.moveaxis(image, 0, -1)), _whole_structures(volume)


def _whole_structures(volume: LabelVolume) -> NDArray[np.uint8]:
    """One label per structure; a bone includes its marrow, as an annotator means it."""
    labels, taken, found = np.zeros(volume.labels.shape, dtype=np.uint8), set[int](), 0
    for structure in sorted(set(volume.structures), key=len, reverse=True):
        inside = np.isin(volume.labels, structure)
        if taken & set(structure) or np.count_nonzero(inside) < SMALLEST_VOXELS:
            continue
        taken |= set(structure)
        found += 1
        labels[inside] = found
    return labels
