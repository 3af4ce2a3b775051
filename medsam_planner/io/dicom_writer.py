"""A volume in HU as a series of CT Image Storage files: how a phantom becomes a study like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from medsam_planner.errors import StudyError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.files import whole_file
from medsam_planner.volumes import volume_sha256

__all__ = ["SeriesText", "ct_slice_datasets", "write_ct_series"]

_RESCALE_INTERCEPT_HU = -1024
_LARGEST_STORED = 65535


@dataclass(frozen=True, slots=True)
class SeriesText:
    """What the files say about themselves in words."""

    patient_name: str
    study_description: str
    series_description: str


def write_ct_series(
    volume_hu: highdicom.Volume,
    folder: str | Path,
    *,
    patient_name: str = "Phantom^Procedural",
    study_description: str = "Procedural phantom",
    series_description: str = "CT",
    seed: int = 0,
) -> list[Path]:
    """Write one CT file per slice along axis 0.

    Parameters
    ----------
    volume_hu : Volume
        HU, rounded to whole numbers. Axis 1 becomes rows, axis 2 columns.
    folder
        Made if it does not exist; files ``slice_0000.dcm`` and on, in array order.
    seed
        Of the generator that made the volume. UIDs follow from it, the texts and the voxels.

    Returns
    -------
    list of Path
        In array order.

    Raises
    ------
    StudyError
        If a value does not fit 16 bits from −1024 HU up, or is not finite.
    """
    text = SeriesText(patient_name, study_description, series_description)
    target = Path(folder)
    paths = []
    for k, dataset in enumerate(ct_slice_datasets(volume_hu, text, seed=seed)):
        path = target / slice_name(k)
        with whole_file(path) as stream:
            dataset.save_as(stream, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_name(k: int) -> str:
    """What the file of a slice is called."""
    return f"slice_{k:04d}.dcm"


def ct_slice_datasets(volume_hu: highdicom.Volume, text: SeriesText, *, seed: int = 0) -> list[pydicom.Dataset]:
    """The datasets that :func:`write_ct_series` writes, in array order."""
    stored = _stored_values(volume_hu)
    identity = (str(seed), text.patient_name, text.study_description, text.series_description, volume_sha256(volume_hu))
    frame = volume_hu.frame_of_reference_uid or content_uid("frame of reference", *identity)
    spacing = spacing_mm(volume_hu.affine)
    directions = volume_hu.affine[:3, :3] / spacing
    datasets = []
    for k, pixels in enumerate(stored):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = content_uid("instance", *identity, str(k))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.Modality = "CT"
        dataset.Manufacturer = "MedSAM Planner"
        dataset.StudyDescription = text.study_description
        dataset.SeriesDescription = text.series_description
        dataset.PatientName = text.patient_name
        dataset.PatientID = "PHANTOM"
        dataset.StudyInstanceUID = content_uid("study", *identity)
        dataset.SeriesInstanceUID = content_uid("series", *identity)
        dataset.FrameOfReferenceUID = frame
        dataset.PatientPosition = "HFS"
        dataset.SeriesNumber = 1
        dataset.InstanceNumber = k + 1
        for keyword in _EMPTY_BUT_REQUIRED:
            setattr(dataset, keyword, None)
        position = volume_hu.affine[:3, 3] + k * volume_hu.affine[:3, 0]
        dataset.ImagePositionPatient = [format_number_as_ds(float(v)) for v in position]
        dataset.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in directions[:, [2, 1]].T.ravel()]
        dataset.PixelSpacing = [format_number_as_ds(float(v)) for v in spacing[1:]]
        dataset.SliceThickness = format_number_as_ds(float(spacing[0]))
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = 0
        dataset.RescaleIntercept = _RESCALE_INTERCEPT_HU
        dataset.RescaleSlope = 1
        dataset.RescaleType = "HU"
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        datasets.append(dataset)
    return datasets


_EMPTY_BUT_REQUIRED = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "AcquisitionNumber",
    "PositionReferenceIndicator",
    "KVP",
)
"""Attributes of type 2 of the CT Image IOD: present, and empty where nothing is known."""


def _stored_values(volume_hu: highdicom.Volume) -> np.ndarray:
    """(K, rows, columns) uint16, HU + 1024."""
    array = np.asarray(volume_hu.array, dtype=np.float64)
    low, high = _RESCALE_INTERCEPT_HU, _RESCALE_INTERCEPT_HU + _LARGEST_STORED
    if not (np.isfinite(array).all() and np.rint(array.min()) >= low and np.rint(array.max()) <= high):
        raise StudyError(
            f"Expected finite values from {low} to {high} HU, got {array.min():g} to {array.max():g}. Clip them first."
        )
    return np.rint(array - low).astype("<u2")
