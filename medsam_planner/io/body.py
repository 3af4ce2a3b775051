"""Body mask of a study."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import StudyError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.intensity import volume_modality
from medsam_planner.volumes import volume_like
from prompts.masks import largest_component

__all__ = ["body_mask"]

_AIR_BELOW_HU = -300.0
_TISSUE_SHARE = 0.15
"""Threshold for MR as a share of the 99th percentile: above the noise in air, below any tissue of the skin."""
_SHEET_MM = 2.0
"""Half the thickness of what is taken for a table top or a blanket, and at most two pixels: chest walls are thicker."""


def body_mask(study: highdicom.Volume) -> highdicom.Volume:
    """Mask of the patient without the surrounding air; lungs and bowel are included.

    The largest connected part of a CT that is denser than air, of other studies brighter than air. Sheets as thin as a
    table top are left out; what the body closes around on an axial slice is part of it, along whichever array axis the
    slices are stored. Lungs that the ends of the study cut are open upwards and downwards, and closed on axial slices.

    Parameters
    ----------
    study : (K, J, I) highdicom.Volume

    Returns
    -------
    (K, J, I) highdicom.Volume of bool

    Raises
    ------
    StudyError
        If nothing in the study is denser or brighter than air, or everything has one value.
    """
    values = study.array
    is_ct = volume_modality(study) == "CT"
    threshold = _AIR_BELOW_HU if is_ct else _TISSUE_SHARE * float(np.percentile(values, 99))
    axial = int(np.argmax(np.abs(study.affine[2, :3]) / spacing_mm(study.affine)))
    disc = _disc(study.affine, axial)
    dense = values > threshold
    opened = ndimage.binary_opening(dense, disc)
    if not opened.any() or (not is_ct and float(values.max()) == float(values.min())):
        kind = "denser than air in the CT" if is_ct else "brighter than air in the study"
        raise StudyError(f"Expected a body {kind}, found none; name an entry mask or structure.")
    largest = largest_component(opened, touching=False)
    body = ndimage.binary_dilation(largest, disc, mask=dense | largest)  # what the opening took off
    sections = np.moveaxis(body, axial, 0)
    for section in sections:
        section[...] = ndimage.binary_fill_holes(section)
    return volume_like(study, body)


def _disc(affine: NDArray[np.float64], axial: int) -> NDArray[np.bool_]:
    """A disc in the axial slice as a structuring element of three dimensions, one voxel thick."""
    spacing = spacing_mm(affine)
    radii = np.clip(np.rint(_SHEET_MM / spacing), 1, 2).astype(int)
    radii[axial] = 0
    shape = tuple((2 * radii + 1).tolist())
    steps = np.indices(shape).reshape(3, -1) - radii[:, None]
    inside = (steps**2 / np.maximum(radii, 1)[:, None] ** 2).sum(axis=0) <= 1
    return np.asarray(inside.reshape(shape))
