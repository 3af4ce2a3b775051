"""Where the body is in a study: what is outside it was air, and no evidence lies there."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.io.intensity import volume_modality

__all__ = ["body_mask"]

_AIR_BELOW_HU = -300.0


def body_mask(study: highdicom.Volume) -> NDArray[np.bool_]:
    """(K, J, I) bool: the largest connected part that is no air, with what it encloses on any plane, lungs included.

    Everything where nothing tells body from air, as in a study of one value.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    values = study.array
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.ones(values.shape, dtype=bool)
    is_ct = volume_modality(study) == "CT"
    # In an MR dark tissue may lie below Otsu's threshold, but not around the bright: it is filled in again.
    threshold = _AIR_BELOW_HU if is_ct else float(threshold_otsu(values))
    dense = values > threshold
    parts, count = ndimage.label(ndimage.binary_opening(dense, iterations=2))
    if count == 0:
        return np.ones(values.shape, dtype=bool)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    body = ndimage.binary_dilation(largest, iterations=2, mask=dense)  # what the opening took off
    filled = body.copy()
    for axis in range(3):
        for section, whole in zip(np.moveaxis(body, axis, 0), np.moveaxis(filled, axis, 0), strict=True):
            whole |= ndimage.binary_fill_holes(section)
    return filled
