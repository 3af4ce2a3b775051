"""JPEG of 12 and 16 bits without the GPL decoder: as SimpleITK wrote it, and as pydicom's own test files are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medsam_planner.io import itk_jpeg
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

COMPRESSED = [
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
]

WITHOUT_THE_GPL_DECODER = """
import sys
from importlib import metadata
sys.modules["libjpeg"] = None  # importing it fails, as where it is not installed
found = metadata.entry_points
def without(**asked):
    return metadata.EntryPoints([point for point in found(**asked) if not point.value.startswith("libjpeg")])
metadata.entry_points = without
"""


def decoded(dataset: pydicom.Dataset) -> NDArray[np.generic]:
    """What our decoder alone makes of a file."""
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return decoder.as_array(dataset, raw=True, decoding_plugin="simpleitk")[0]


def written_lossless(pixels: NDArray[np.generic], path: Path) -> pydicom.Dataset:
    """A JPEG lossless file as SimpleITK writes it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return dataset


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
def test_lossless_pixels_come_back_bit_by_bit(kind: str, syntax: UID, tmp_path: Path) -> None:
    limits = np.iinfo(kind)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, (13, 22), endpoint=True).astype(kind)
    dataset = written_lossless(pixels, tmp_path / "one.dcm")
    dataset.file_meta.TransferSyntaxUID = syntax  # selection value 1 is one of those of process 14
    found = decoded(dataset)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


def test_twelve_bits_are_decoded_as_other_decoders_do() -> None:
    """Places and values of pydicom's own tests of this file; decoders may round the cosine transform by one."""
    found = decoded(pydicom.dcmread(str(get_testdata_file("JPGExtended.dcm")))).astype(int)
    assert found.shape == (1024, 256)
    assert abs(found[420, 140] - 244) <= 1
    assert abs(found[230, 120] - 95) <= 1


def test_colour_is_refused() -> None:
    with pytest.raises(RuntimeError, match="greyscale JPEG only"):
        decoded(pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm"))))


def test_a_stream_that_is_no_jpeg_is_refused(tmp_path: Path) -> None:
    dataset = written_lossless(np.zeros((8, 8), np.uint16), tmp_path / "one.dcm")
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(range(200))])
    with pytest.raises(RuntimeError, match="GDCM cannot decode"):
        decoded(dataset)


def test_registering_twice_changes_nothing() -> None:
    itk_jpeg.register()
    before = get_decoder(JPEGLossless).available_plugins
    itk_jpeg.register()
    assert get_decoder(JPEGLossless).available_plugins == before
    assert "simpleitk" in before


def test_every_compressed_syntax_is_decoded_without_the_gpl_decoder(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    write_ct_series(tmp_path / "ct", blob_hu((4, 40, 36)), plain_affine, transfer_syntax=JPEGLosslessSV1)
    code = f"""{WITHOUT_THE_GPL_DECODER}
import pydicom
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder
from medsam_planner.io import inspect_study, load_volume
for uid in {[str(uid) for uid in COMPRESSED]!r}:
    decoder = get_decoder(uid)
    assert "pylibjpeg" not in decoder.available_plugins or uid in {[str(uid) for uid in COMPRESSED[6:]]!r}, uid
    assert decoder.is_available, uid
(series,) = inspect_study({str(tmp_path / "ct")!r}).series
assert series.problems == (), series.problems
assert load_volume({str(tmp_path / "ct")!r}).array.shape == (4, 40, 36)
dataset = pydicom.dcmread(get_testdata_file("JPGExtended.dcm"))
assert abs(int(dataset.pixel_array[420, 140]) - 244) <= 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
