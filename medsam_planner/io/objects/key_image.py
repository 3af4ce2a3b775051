"""A picture of a plan as a Secondary Capture: what any viewer shows, whatever else it cannot read."""

from __future__ import annotations

import datetime
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from medsam_planner.errors import GeometryError
from medsam_planner.io.objects.identity import (
    SeriesNumber,
    instance_identity,
    made,
    source_headers,
    with_notice,
    write_object,
)
from medsam_planner.volumes import StudyVolume, array_sha256

__all__ = ["save_key_image"]


def save_key_image(
    picture: NDArray[np.uint8],
    path: str | Path,
    study: StudyVolume,
    *,
    created: datetime.datetime | None = None,
) -> Path:
    """Write a picture as a DICOM Secondary Capture of `study`.

    Parameters
    ----------
    picture : (rows, columns, 3) uint8
        RGB. No patient's data belongs into it; a notice of research use does.
    path
    study : StudyVolume
        Read from DICOM.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM.
    GeometryError
        If the picture is not RGB of 8 bits.
    """
    headers = source_headers(study)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise GeometryError(f"Expected a picture (rows, columns, 3) of uint8, got {picture.dtype} {picture.shape}.")
    identity = instance_identity(study, "key image", array_sha256(picture), SeriesNumber.KEY_IMAGE, created)
    moment = {key: identity.pop(key) for key in ("content_date", "content_time")}
    capture = made(
        highdicom.sc.SCImage.from_ref_dataset,
        ref_dataset=headers[0],
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # asked for, and taken away below: a sheet of pictures has none
        transfer_syntax_uid=RLELossless,
        series_description=with_notice("Trajectory plan, key picture"),
        **identity,
    )
    capture.ContentDate, capture.ContentTime = (
        highdicom.base.DA(moment["content_date"]),
        highdicom.base.TM(moment["content_time"]),
    )
    capture.PatientOrientation = ""
    capture.Laterality = ""
    # Title and names of structures are drawn as somebody typed them: whether they name the patient is not known.
    if "BurnedInAnnotation" in capture:
        del capture.BurnedInAnnotation
    return write_object(capture, path)
