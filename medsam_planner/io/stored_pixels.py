"""Stored pixels of one DICOM file: check that they are complete, and decode them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medsam_planner.errors import StudyError
from medsam_planner.io.study_files import PIXEL_DATA, READ_ERRORS, DicomFile, file_meta, quiet_pydicom

__all__ = ["check_stored", "read_decoded"]

_DEFER_BYTES = 4096
"""Longer values are not read while only their lengths are needed."""


def read_decoded(file: DicomFile) -> pydicom.Dataset:
    """Read and decode one file; the decoded pixels stay with the dataset.

    Raises
    ------
    StudyError
        If pixels are absent, not those that the header announces, or cannot be decoded.
    """
    with _named(file):
        dataset = pydicom.dcmread(file.path, force=True)
        _refuse_incomplete(dataset)
        dataset.pixel_array  # noqa: B018 - decodes now, while the file can still be named
        return dataset


def check_stored(file: DicomFile) -> None:
    """As :func:`read_decoded`, short of decoding: cheap enough to be done with every file of a study.

    Raises
    ------
    StudyError
        If pixels are absent, or not as many as the header announces.
    """
    with _named(file):
        syntax = file_meta(file.header).get("TransferSyntaxUID")
        is_deflated = syntax == DeflatedExplicitVRLittleEndian  # nothing to go back to there
        dataset = pydicom.dcmread(file.path, force=True, defer_size=None if is_deflated else _DEFER_BYTES)
        _refuse_incomplete(dataset)
        if _is_beyond_end(_stored(dataset), file):
            raise ValueError("the file ends before its pixels do.")


@contextmanager
def _named(file: DicomFile) -> Iterator[None]:
    try:
        with quiet_pydicom():
            yield
    except READ_ERRORS as error:
        syntax = getattr(getattr(file.header, "file_meta", None), "TransferSyntaxUID", None)
        encoding = f" (transfer syntax {syntax.name})" if syntax is not None else ""
        raise StudyError(
            f"The pixels of {file.name} cannot be decoded{encoding}: {str(error).rstrip('.')}. "
            "The file is truncated, damaged or of an unsupported encoding; copy it again from its source."
        ) from error


def _is_beyond_end(stored: RawDataElement | DataElement | None, file: DicomFile) -> bool:
    """Whether a value that was left on the disk is not wholly there."""
    if not isinstance(stored, RawDataElement) or stored.value is not None:
        return False
    return stored.length != 0xFFFFFFFF and stored.value_tell + stored.length > file.path.stat().st_size


def _refuse_incomplete(dataset: pydicom.Dataset) -> None:
    length = _stored_length(_stored(dataset))
    if not length:
        raise ValueError("it has no pixel data.")
    _state_encoding(dataset)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _refuse_cut_stream(dataset)
    else:
        _refuse_wrong_length(dataset, length)


def _stored(dataset: pydicom.Dataset) -> RawDataElement | DataElement | None:
    """The pixels without reading what was left on the disk, which asking for them by name would do."""
    return next((element for element in dataset.values() if element.tag == PIXEL_DATA), None)


def _stored_length(stored: RawDataElement | DataElement | None) -> int:
    """Bytes, as far as they were read, else as the file states them."""
    if isinstance(stored, RawDataElement) and stored.value is None:
        return stored.length
    return len(getattr(stored, "value", None) or b"")


def _state_encoding(dataset: pydicom.Dataset) -> None:
    """Files without a meta header have the encoding they were read with."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian


def _refuse_wrong_length(dataset: pydicom.Dataset, length: int) -> None:
    """Pixels without compression have a length that follows from the header; a few bytes more are padding."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    expected = get_expected_length(dataset)
    if length < expected:
        raise ValueError(f"{expected} bytes of pixels expected, {length} found.")
    if length >= expected + expected // frames:
        raise ValueError(
            f"{expected} bytes of pixels expected from Rows, Columns and number of frames, {length} found."
        )


def _refuse_cut_stream(dataset: pydicom.Dataset) -> None:
    """Compressed pixels must end in a sequence delimiter: some decoders fill in the rest of a cut stream silently."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    found = sum(1 for _ in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=frames))
    if found != frames:
        raise ValueError(f"{frames} frames expected, {found} found.")
