"""Real DICOM series for tests: written by the library's own writer, then changed as a test needs."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medsam_planner.io.dicom_writer import SeriesText, ct_slice_datasets

__all__ = [
    "blob_hu",
    "ct_datasets",
    "enhanced_ct",
    "geometry_by_frame",
    "same_voxels",
    "save_all",
    "sheared",
    "write_ct_series",
]

_PER_SLICE_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_TEXT = SeriesText("Test^Phantom", "Study of a test", "Series of a test")


def blob_hu(shape: tuple[int, int, int] = (7, 12, 10)) -> NDArray[np.float32]:
    """HU without any symmetry: every voxel tells where it is."""
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (-1000.0 + 100 * k + 7 * j + 1 * i + 300 * (k == 2) * (j > 3)).astype(np.float32)


def ct_datasets(array_hu: NDArray[Any], affine: NDArray[np.float64], **overrides: Any) -> list[pydicom.Dataset]:
    """One CT dataset per slice along axis 0; `overrides` are DICOM keywords set on every one."""
    volume = highdicom.Volume(array=array_hu, affine=affine, coordinate_system="PATIENT")
    datasets = ct_slice_datasets(volume, _TEXT)
    for dataset in datasets:
        for keyword, value in overrides.items():
            setattr(dataset, keyword, value)
    return datasets


def write_ct_series(
    folder: Path,
    array_hu: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    change: Callable[[int, pydicom.Dataset], None] | None = None,
    prefix: str = "slice",
    **overrides: Any,
) -> list[Path]:
    """Write `array_hu` (K, rows, columns) as a CT series; `change` gets each slice's number and dataset before that."""
    datasets = ct_datasets(array_hu, affine, **overrides)
    for k, dataset in enumerate(datasets):
        if change is not None:
            change(k, dataset)
    return save_all(folder, datasets, transfer_syntax=transfer_syntax, prefix=prefix)


def save_all(
    folder: Path,
    datasets: Sequence[pydicom.Dataset],
    *,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    prefix: str = "slice",
) -> list[Path]:
    """Write explicit little-endian datasets to `folder`, converted to another transfer syntax."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, dataset in enumerate(datasets):
        path = folder / f"{prefix}_{k:03d}"
        _converted(dataset, transfer_syntax)
        dataset.save_as(path, enforce_file_format=True, implicit_vr=transfer_syntax == ImplicitVRLittleEndian,
                        little_endian=transfer_syntax != ExplicitVRBigEndian)  # fmt: skip
        paths.append(path)
    return paths


def _converted(dataset: pydicom.Dataset, syntax: UID) -> None:
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == JPEGLosslessSV1:
        dataset.PixelData = encapsulate([_jpeg_lossless(dataset)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax


def _jpeg_lossless(dataset: pydicom.Dataset) -> bytes:
    """The frame as a JPEG lossless stream, encoded by GDCM through SimpleITK."""
    import SimpleITK as sitk  # noqa: N813

    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(pixels[None]))
        written = pydicom.dcmread(path)
        assert written.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        return next(generate_frames(written.PixelData, number_of_frames=1))


def sheared(affine: NDArray[np.float64], shift_mm: float) -> Callable[[int, pydicom.Dataset], None]:
    """A change that moves slice k by k × `shift_mm` along its rows' direction (axis 1), as a tilted gantry does."""
    direction = affine[:3, 1] / np.linalg.norm(affine[:3, 1])

    def change(k: int, dataset: pydicom.Dataset) -> None:
        moved = np.asarray(dataset.ImagePositionPatient, dtype=float) + k * shift_mm * direction
        dataset.ImagePositionPatient = [f"{value:.8f}" for value in moved]

    return change


def enhanced_ct(datasets: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """The slices of a series as one multi-frame Enhanced CT file."""
    result = copy.deepcopy(datasets[0])
    for keyword in [
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
    ]:
        delattr(result, keyword)
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    result.NumberOfFrames = len(datasets)
    result.PixelData = b"".join(dataset.PixelData for dataset in datasets)
    first = datasets[0]
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.PixelValueTransformationSequence = _item(
        RescaleIntercept=first.RescaleIntercept, RescaleSlope=first.RescaleSlope, RescaleType="HU"
    )
    result.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for number, dataset in enumerate(datasets, start=1):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=dataset.ImagePositionPatient)
        frame.FrameContentSequence = _item(DimensionIndexValues=[1, number], StackID="1", InStackPositionNumber=number)
        frames.append(frame)
    result.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    return result


def geometry_by_frame(enhanced: pydicom.Dataset) -> pydicom.Dataset:
    """Spacing and orientation moved in place from the shared groups of a file into those of each frame."""
    shared = enhanced.SharedFunctionalGroupsSequence[0]
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        for frame in enhanced.PerFrameFunctionalGroupsSequence:
            setattr(frame, keyword, shared[keyword].value)
        delattr(shared, keyword)
    return enhanced


def _item(**values: Any) -> DicomSequence:
    item = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return DicomSequence([item])


def same_voxels(
    array: NDArray[Any], affine: NDArray[np.float64], other: NDArray[Any], other_affine: NDArray[np.float64]
) -> bool:
    """Whether two volumes have the same values at the same places in the patient, in whatever order of axes."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in array.shape], indexing="ij"), axis=-1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(other_affine)
    there = place @ inverse[:3, :3].T + inverse[:3, 3]
    nearest = np.rint(there).astype(int)
    if array.size != other.size or np.abs(there - nearest).max() > 1e-3:
        return False
    if (nearest < 0).any() or (nearest >= other.shape).any():
        return False
    return bool((other[tuple(np.moveaxis(nearest, -1, 0))] == array).all())


CT_STORAGE = CTImageStorage
