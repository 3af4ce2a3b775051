"""Decode JPEG streams of 12 and 16 bits with the GDCM that SimpleITK contains.

pydicom needs a plugin for JPEG Extended (12 bit) and JPEG Lossless. The usual one, pylibjpeg-libjpeg, is under the GPL;
SimpleITK (Apache-2.0) is a dependency already and holds GDCM (BSD), which decodes both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import (
    UID,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
    generate_uid,
)

__all__ = ["DECODER_DEPENDENCIES", "decode_frame", "is_available", "register"]

DECODER_DEPENDENCIES: Mapping[UID, tuple[str, ...]] = dict.fromkeys(
    (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), ("SimpleITK>=2.5",)
)
"""What pydicom says is missing where a syntax cannot be decoded."""

_NAME = "simpleitk"


def register() -> None:
    """Tell pydicom of this decoder; a second call changes nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if _NAME not in {*decoder.available_plugins, *(line.split(" ")[0] for line in decoder.missing_dependencies)}:
            decoder.add_plugin(_NAME, (__name__, "decode_frame"))


def is_available(syntax: str) -> bool:
    """Whether this decoder can take a transfer syntax here; imports nothing."""
    return syntax in DECODER_DEPENDENCIES and find_spec("SimpleITK") is not None


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decode one greyscale frame.

    Parameters
    ----------
    source : bytes
        One JPEG stream.
    runner : DecodeRunner
        What pydicom knows of the frame: rows, columns, bits, sign.

    Returns
    -------
    bytes
        Rows × columns pixels of ``runner.bits_allocated`` bits, little-endian.

    Raises
    ------
    NotImplementedError
        For colour: volumes have one sample per pixel.
    ValueError
        If the stream is damaged, or holds another number of pixels than stated.
    """
    import SimpleITK as sitk  # noqa: N813

    if runner.samples_per_pixel != 1:
        raise NotImplementedError("SimpleITK decodes greyscale JPEG only here.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.dcm")
        _single_frame(source, runner).save_as(path, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        try:
            pixels = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ValueError(f"GDCM cannot decode the JPEG stream ({_last_line(error)})") from error
    if pixels.size != runner.rows * runner.columns:
        raise ValueError(f"{runner.rows} × {runner.columns} pixels expected, {pixels.size} decoded")
    kind = "i" if runner.pixel_representation else "u"
    return bytes(pixels.astype(f"<{kind}{runner.bits_allocated // 8}", copy=False).tobytes())


def _single_frame(source: bytes, runner: DecodeRunner) -> FileDataset:
    """The frame as the smallest DICOM object that GDCM reads; nothing of the patient is in it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = runner.transfer_syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    frame = FileDataset("", pydicom.Dataset(), file_meta=meta, preamble=b"\0" * 128)
    frame.SOPClassUID = meta.MediaStorageSOPClassUID
    frame.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    frame.Rows, frame.Columns = runner.rows, runner.columns
    frame.SamplesPerPixel, frame.PhotometricInterpretation = 1, "MONOCHROME2"
    frame.BitsAllocated, frame.BitsStored = runner.bits_allocated, runner.bits_stored
    frame.HighBit, frame.PixelRepresentation = runner.bits_stored - 1, runner.pixel_representation
    frame.PixelData = encapsulate([source])
    frame["PixelData"].VR = "OB"
    frame["PixelData"].is_undefined_length = True
    return frame


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip()
