"""What pixel data can carry beside the image: text drawn in it, comments of encoders, overlays, bytes at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from medsam_planner.deidentification.code_streams import without_comments
from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.io import itk_jpeg
from medsam_planner.io.study_files import READ_ERRORS

__all__ = ["Region", "clean_pixels", "may_show_text", "shows_head"]

itk_jpeg.register()

_OFTEN_WITH_TEXT = (
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, single and multi-frame
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.6.",
    "1.2.840.10008.5.1.4.1.1.77.1.",  # visible light
)
_HEAD = re.compile(r"head|brain|skull|face|facial|neuro|orbit|sinus|kopf|schädel|hirn|gesicht|t[eê]te|cr[aâ]ne", re.I)
_HEAD_TEXTS = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")
_SLICED = ("CT", "MR", "PT")


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels, to be blacked out."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def from_text(cls, text: str) -> Region:
        """Read ``LEFT,TOP,WIDTH,HEIGHT``.

        Raises
        ------
        ConfigError
            If it is anything else.
        """
        match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
        numbers = [] if match is None else [int(part) for part in match.groups()]
        if len(numbers) != 4 or not numbers[2] or not numbers[3]:
            raise ConfigError(f"Expected a region LEFT,TOP,WIDTH,HEIGHT in pixels, such as 0,0,512,40; got '{text}'.")
        return cls(*numbers)


def may_show_text(dataset: pydicom.Dataset) -> str | None:
    """Why text is to be expected in the pixels, or None."""
    stated = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if stated == "YES":
        return "says that text is drawn into its pixels (BurnedInAnnotation)"
    if "SCREEN SAVE" in str(dataset.get("ImageType") or "").upper():
        return "is a picture of a screen"
    kind = str(dataset.get("SOPClassUID") or "")
    is_often = any(kind == one.rstrip(".") or kind.startswith(one.rstrip(".") + ".") for one in _OFTEN_WITH_TEXT)
    if is_often and stated != "NO":
        return "is of a kind that often shows the patient's name (screenshot, ultrasound, photograph)"
    return None


def shows_head(dataset: pydicom.Dataset) -> bool:
    """Whether slices of a head may be rendered to a face."""
    if str(dataset.get("Modality")) not in _SLICED:
        return False
    return any(_HEAD.search(str(dataset.get(keyword) or "")) for keyword in _HEAD_TEXTS)


def clean_pixels(dataset: pydicom.Dataset, regions: tuple[Region, ...]) -> None:
    """Take out of the pixel data, in place, whatever is not the image; black out `regions`.

    Raises
    ------
    StudyError
        If a region lies outside the image, or the pixels cannot be decoded.
    """
    if "PixelData" not in dataset:
        return
    if regions:
        _black_out(dataset, regions)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        count = int(dataset.get("NumberOfFrames") or 1)
        try:
            frames = [without_comments(frame) for frame in generate_frames(dataset.PixelData, number_of_frames=count)]
        except READ_ERRORS as error:
            raise StudyError(f"its compressed pixels are damaged ({error})") from error
        dataset.PixelData = encapsulate(frames, has_bot=len(frames) == 1)
        dataset["PixelData"].is_undefined_length = True
        if _embedded_overlay(dataset):
            raise StudyError("it carries an overlay inside compressed pixels; decompress it first")
        return
    length = _native_length(dataset)
    if length is not None and len(dataset.PixelData) > length:
        dataset.PixelData = dataset.PixelData[:length] + b"\0" * (length % 2)
    if _embedded_overlay(dataset):
        _clear_unused_bits(dataset)


def _native_length(dataset: pydicom.Dataset) -> int | None:
    if str(dataset.get("PhotometricInterpretation")) in ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        return None
    keys = ("Rows", "Columns", "BitsAllocated")
    rows, columns, bits = (int(dataset.get(key) or 0) for key in keys)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    return -(-rows * columns * bits * frames * samples // 8)


def _embedded_overlay(dataset: pydicom.Dataset) -> bool:
    """Whether an overlay lies in the unused bits of the pixels, as old files have it."""
    return any(
        group << 16 | 0x0102 in dataset and group << 16 | 0x3000 not in dataset for group in range(0x6000, 0x6020, 2)
    )


def _clear_unused_bits(dataset: pydicom.Dataset) -> None:
    """Extend each value from its highest bit, as its sign demands, over the bits above."""
    stored, high = int(dataset.BitsStored), int(dataset.HighBit)
    if int(dataset.BitsAllocated) != 16 or high != stored - 1:
        raise StudyError("it carries an overlay inside its pixels, of a form that cannot be taken out")
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    values = np.frombuffer(dataset.PixelData, f"{order}u2")
    shift = 16 - stored
    kind = "i2" if int(dataset.get("PixelRepresentation") or 0) else "u2"
    cleared = (values.astype("u2") << shift).astype(kind) >> shift
    dataset.PixelData = cleared.astype(f"{order}{kind}").tobytes()


def _black_out(dataset: pydicom.Dataset, regions: tuple[Region, ...]) -> None:
    try:
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress(generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = np.array(pixel_array(dataset, raw=True))
    except READ_ERRORS as error:
        raise StudyError(f"its pixels cannot be decoded ({error})") from error
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    shaped = image.reshape(-1, rows, columns, int(dataset.get("SamplesPerPixel") or 1))
    for region in regions:
        if region.left >= columns or region.top >= rows:
            raise StudyError(f"the region {region.left},{region.top} lies outside its {columns} × {rows} pixels")
        shaped[:, region.top : region.top + region.height, region.left : region.left + region.width] = 0
    if "PlanarConfiguration" in dataset:
        dataset.PlanarConfiguration = 0
    content = shaped.astype(shaped.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset.BurnedInAnnotation = "NO"
