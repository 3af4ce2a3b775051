"""Structures cut out of real images by simple rules: bones of a CT, and regions of similar intensity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.label_volume import LabelVolume, indexed

__all__ = ["with_rule_based_structures"]
BONE_HU = 190.0
"""Threshold above soft tissue and most contrast agent, below cortical bone."""


def with_rule_based_structures(case: LabelVolume, *, is_ct: bool, seed: int) -> LabelVolume | None:
    """Structures that need no annotation: bones of a CT by threshold, and connected regions of similar intensity.

    They add tasks with real texture and real neighbours, like the superpixel tasks of ScribblePrompt
    (arXiv 2312.07381).

    Parameters
    ----------
    case : LabelVolume
        A real case with its image.
    is_ct : bool
        Whether bones can be found by a threshold.
    seed : int
        Of the intensity bounds.

    Returns
    -------
    LabelVolume or None
        None where no region is large enough.
    """
    if case.image is None:
        return None
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(case.image, 0.8)
    labels = np.zeros(case.labels.shape, dtype=np.uint16)
    number = 0
    if is_ct:
        bone = ndimage.binary_closing(case.image > BONE_HU, iterations=1)
        for axis in range(3):
            bone = _filled_slices(bone, axis)
        number = _add_components(labels, bone, number, smallest=150, most=12)
    inside = smooth[smooth > np.percentile(smooth, 20)]
    edges = np.quantile(inside, np.sort(rng.uniform(0.02, 0.98, 7)))
    for low, high in pairwise(edges):
        band = ndimage.binary_opening((smooth >= low) & (smooth < high) & (labels == 0), iterations=1)
        number = _add_components(labels, band, number, smallest=250, most=6)
    if number == 0:
        return None
    structures = tuple((value,) for value in range(1, number + 1))
    return indexed(
        LabelVolume(case.name + "+rules", labels, case.spacing_mm, structures, image=case.image, weight=case.weight)
    )


def _filled_slices(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    return np.stack([ndimage.binary_fill_holes(part) for part in np.moveaxis(mask, axis, 0)], axis=axis)


def _add_components(
    labels: NDArray[np.uint16], mask: NDArray[np.bool_], number: int, *, smallest: int, most: int
) -> int:
    """Write the largest components of `mask` into `labels`, in place; returns the last number used."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return number
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    for part in np.argsort(sizes)[::-1][:most]:
        if sizes[part] < smallest or number >= 250:
            break
        number += 1
        labels[parts == part] = number
    return number
