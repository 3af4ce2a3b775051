"""The image that a client sends, kept as a study like an uploaded one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import OutputError
from medsam_planner.io import save_nifti
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.http.nninteractive.interactions import grid_affine
from medsam_planner.service.http.nninteractive.wire import refuse

__all__ = ["keep_image", "spacing_of"]

_SPACING_MM = 1e-6, 1e4


def spacing_of(properties: Any) -> tuple[float, float, float]:
    """Spacing in mm for each array axis, from the properties that a client sends; 1 mm where it states none.

    Raises
    ------
    HTTPException
        If it is not three lengths that voxels can have.
    """
    stated = properties.get("spacing") if isinstance(properties, Mapping) else None
    if stated is None:
        return 1.0, 1.0, 1.0
    try:
        a, b, c = (float(value) for value in stated)
    except (TypeError, ValueError, OverflowError):
        refuse(f"Expected the spacing as three lengths in mm, got {stated!r:.200}.")
    if not all(_SPACING_MM[0] <= value <= _SPACING_MM[1] for value in (a, b, c)):
        refuse(
            f"Expected the spacing as three lengths of {_SPACING_MM[0]} to {_SPACING_MM[1]} mm, got {stated!r:.200}."
        )
    return a, b, c


def keep_image(service: OnBehalf, image: NDArray[Any], spacing_mm: tuple[float, float, float]) -> StoredStudy:
    """Keep an image as a study.

    Parameters
    ----------
    service : OnBehalf
    image : (1, a, b, c) ndarray
        Raw intensities, one channel.
    spacing_mm : (3,) float
        Along a, b and c.

    Raises
    ------
    HTTPException
        If it is not one channel of three axes.
    StudyError
        If it cannot be an image of a patient, as for a NIfTI file.
    OutputError
        If it cannot be kept.
    """
    if image.ndim != 4 or image.shape[0] != 1:
        refuse(f"Expected an image of one channel as (1, x, y, z), got one of shape {list(image.shape)}.")
    voxels = np.ascontiguousarray(image[0], dtype=np.float32)
    volume = highdicom.Volume(array=voxels, affine=grid_affine(spacing_mm), coordinate_system="PATIENT")
    with service.service.upload_folder() as (identifier, folder):
        path = folder / "image.nii"
        try:
            save_nifti(volume, path)
        except OSError as error:
            raise OutputError(f"The image cannot be kept: {error.strerror or error}.") from error
        return service.open_upload(identifier, path)
