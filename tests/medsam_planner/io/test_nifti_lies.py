"""NIfTI files whose header, size and checksum contradict each other are refused; what is only rounded is read."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsam_planner.errors import StudyError
from medsam_planner.io import inspect_study, load_volume

SHAPE = (10, 12, 14)
_AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
_VALUES = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 301 - 100).astype(np.int16)


def whole(kind: type = nibabel.Nifti1Image, dtype: type = np.int16) -> bytearray:
    image = kind(_VALUES.astype(dtype), _AFFINE)
    image.set_sform(_AFFINE, code=1)
    image.set_qform(_AFFINE, code=1)
    return bytearray(image.to_bytes())


def patched(*changes: tuple[str, int, tuple[float, ...]]) -> bytes:
    content = whole()
    for layout, place, values in changes:
        struct.pack_into(layout, content, place, *values)
    return bytes(content)


def read(folder: Path, content: bytes, name: str = "v.nii") -> np.ndarray:
    (folder / name).write_bytes(content)
    return load_volume(folder / name).array


def refusal(folder: Path, content: bytes, name: str = "v.nii") -> str:
    with pytest.raises(StudyError, match=name) as caught:
        read(folder, content, name)
    return str(caught.value)


def repacked(content: bytes, *, checksum_of: bytes | None = None) -> bytes:
    """A gzip file, with the checksum of other content."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(content) + packer.flush()
    check = zlib.crc32(content if checksum_of is None else checksum_of)
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + body + struct.pack("<II", check, len(content))


# --- size and offset ------------------------------------------------------------------------------------------------

DIM, VOX_OFFSET, QUATERN, QFORM_CODE, DATATYPE = 40, 108, 256, 252, 70


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (patched(("<h", DIM + 6, (7,))), "too few voxels"),  # half of the patient
        (patched(("<h", DIM + 6, (28,))), "cut short"),
        (patched(("<f", VOX_OFFSET, (416.0,))), "cut short"),  # everything moved by 32 voxels
        (bytes(whole()[:352]) + bytes(64) + bytes(whole()[352:]), "too few voxels"),  # the same, the other way round
        (bytes(whole()) + b"more", "too few voxels"),
        (bytes(whole()[:-1]), "cut short"),
        (patched(("<hh", DATATYPE, (2, 8))), "too few voxels"),  # 8 bits where there are 16
        (patched(("<f", VOX_OFFSET, (16.0,))), "vox_offset"),
        (patched(("<f", VOX_OFFSET, (float("nan"),))), "cannot be read"),
        (patched(("<h", DIM + 2, (-12,))), "voxels along each axis"),
        (patched(("<h", DATATYPE, (999,))), "cannot be read"),
    ],
)
def test_a_size_or_place_of_the_voxels_that_is_not_so_is_refused(
    content: bytes, told: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    assert told in refusal(tmp_path, pack(content))


@pytest.mark.parametrize(("pack", "told"), [(bytes, "cut short"), (gzip.compress, "unpacks to more than")])
def test_a_size_that_no_study_has_is_refused_before_anything_is_unpacked(
    pack: Callable[[bytes], bytes], told: str, tmp_path: Path
) -> None:
    assert told in refusal(tmp_path, pack(patched(("<hhh", DIM + 2, (32767, 32767, 32767)))))


def test_an_offset_of_nought_means_right_behind_the_header(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, patched(("<f", VOX_OFFSET, (0.0,)))), _VALUES)


def test_voxels_behind_an_extension_are_found(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(_VALUES, _AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a remark of fifty bytes, give or take"))
    image.set_sform(_AFFINE, code=1)
    np.testing.assert_array_equal(read(tmp_path, image.to_bytes()), _VALUES)


def test_both_byte_orders_and_both_versions_are_read(tmp_path: Path) -> None:
    big = nibabel.Nifti1Image(_VALUES, _AFFINE, nibabel.Nifti1Header(endianness=">"))
    big.set_sform(_AFFINE, code=1)
    for content in (big.to_bytes(), bytes(whole(nibabel.Nifti2Image)), bytes(whole(dtype=np.float64))):
        for name, packed in (("v.nii", content), ("v.nii.gz", gzip.compress(content))):
            np.testing.assert_array_equal(read(tmp_path, packed, name), _VALUES)


@pytest.mark.parametrize("ending", [".img", ".IMG", ".img.gz"])
def test_a_header_finds_its_voxels_beside_it_or_says_that_they_are_absent(ending: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Pair(_VALUES, _AFFINE)
    image.set_sform(_AFFINE, code=1)
    image.to_filename(tmp_path / "v.hdr")
    voxels = (tmp_path / "v.img").read_bytes()
    (tmp_path / "v.img").unlink()
    with pytest.raises(StudyError, match=r"no \.img of its name"):
        load_volume(tmp_path / "v.hdr")
    (tmp_path / f"v{ending}").write_bytes(gzip.compress(voxels) if ending.endswith("gz") else voxels)
    np.testing.assert_array_equal(load_volume(tmp_path / "v.hdr").array, _VALUES)


# --- checksums ------------------------------------------------------------------------------------------------------


def test_a_voxel_that_is_not_the_one_written_is_noticed(tmp_path: Path) -> None:
    bad = whole()
    bad[1000] ^= 0x40
    told = refusal(tmp_path, repacked(bytes(bad), checksum_of=bytes(whole())), "v.nii.gz")
    assert "damaged" in told and "Copy it again" in told
    np.testing.assert_array_equal(read(tmp_path, repacked(bytes(whole()))), _VALUES)


@pytest.mark.parametrize("left", [1, 8, 9, 200])
def test_a_compressed_file_that_was_cut_is_refused(left: int, tmp_path: Path) -> None:
    assert "cut short" in refusal(tmp_path, gzip.compress(bytes(whole()))[:-left])


def test_what_follows_whole_data_is_no_reason_to_refuse_it_but_worth_a_note(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(whole()))
    for rest in (bytes(500), b"left over"):
        np.testing.assert_array_equal(read(tmp_path, packed + rest), _VALUES)
        noted = any("belong to nothing" in note for note in load_volume(tmp_path / "v.nii").source.notes)
        assert noted == (rest == b"left over")


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    content = bytes(whole())
    np.testing.assert_array_equal(read(tmp_path, gzip.compress(content[:700]) + gzip.compress(content[700:])), _VALUES)


def test_a_file_that_unpacks_to_more_than_it_promises_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = bomb.compress(bytes(whole())) + b"".join(bomb.compress(bytes(1 << 20)) for _ in range(60))
    assert "too few voxels" in refusal(tmp_path, packed)  # though the stream never ends


# --- affines --------------------------------------------------------------------------------------------------------


def test_a_quaternion_that_is_too_long_by_rounding_is_taken_for_a_unit_one(tmp_path: Path) -> None:
    rounded = ("<3f", QUATERN, (0.0, 1.0000003, 0.0))
    expected = load_volume(written(tmp_path, "right.nii", bytes(whole()))).affine
    for name, changes in (("both.nii", ()), ("qform.nii", (("<h", QFORM_CODE + 2, (0,)),))):
        volume = load_volume(written(tmp_path, name, patched(rounded_like(rounded), *changes)))
        np.testing.assert_allclose(volume.affine, expected, atol=1e-4)


def rounded_like(change: tuple[str, int, tuple[float, ...]]) -> tuple[str, int, tuple[float, ...]]:
    """The file's own quaternion, made longer by the same share."""
    content = whole()
    parts = np.array(struct.unpack_from("<3f", content, QUATERN))
    assert np.isclose(np.linalg.norm(parts), 1.0)  # a half turn: nothing is left for the fourth number
    return (change[0], change[1], tuple((parts * 1.0000003).tolist()))


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("parts", [(0.9, 0.9, 0.0), (0.0, 1.0000003, 0.0), (float("nan"), 0.0, 0.0)])
def test_beside_a_quaternion_that_is_no_rotation_the_sform_is_believed_with_a_note(
    parts: tuple[float, ...], tmp_path: Path
) -> None:
    volume = load_volume(written(tmp_path, "v.nii", patched(("<3f", QUATERN, parts))))
    np.testing.assert_allclose(volume.affine, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert any("quatern" in note and "sform is believed" in note for note in volume.source.notes)


@pytest.mark.parametrize("parts", [(0.9, 0.9, 0.0), (float("nan"), 0.0, 0.0), (float("inf"), 0.0, 0.0)])
def test_a_quaternion_that_is_no_rotation_is_named_where_nothing_else_is_said(
    parts: tuple[float, ...], tmp_path: Path
) -> None:
    told = refusal(tmp_path, patched(("<3f", QUATERN, parts), ("<h", QFORM_CODE + 2, (0,))))
    assert "quatern" in told and "sform_code" in told and "truncated" not in told


@pytest.mark.parametrize("pixdim", [(1.0, -1.0, 2.0), (float("nan"), 1.0, 2.0), (0.0, 1.0, 2.0)])
def test_spacings_from_which_no_affine_follows_are_refused(pixdim: tuple[float, ...], tmp_path: Path) -> None:
    refusal(tmp_path, patched(("<3f", 80, pixdim), ("<h", QFORM_CODE + 2, (0,))))


@pytest.mark.parametrize("spacing", [1000.0, 500.0, 0.001, 0.0005, 1e-6])
def test_voxels_that_no_person_has_cast_doubt_on_the_unit(spacing: float, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(_VALUES, np.diag([-spacing, -spacing, spacing, 1.0]))
    told = refusal(tmp_path, image.to_bytes())
    assert f"{spacing:.4g} ×" in told and "millimetres" in told and "invertible" not in told


@pytest.mark.parametrize("spacing", [0.05, 0.3, 20.0])
def test_voxels_that_scanners_make_are_read(spacing: float, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read(tmp_path, nibabel.Nifti1Image(_VALUES, np.diag([-spacing, -spacing, spacing, 1.0])).to_bytes()), _VALUES
    )


def test_a_bad_file_does_not_hide_the_good_ones_beside_it(tmp_path: Path) -> None:
    for name, content in {
        "cut.nii": bytes(whole()[:-9]),
        "long.nii.gz": gzip.compress(bytes(whole()))[:-9],
        "turn.nii": patched(("<3f", QUATERN, (2.0, 2.0, 2.0)), ("<h", QFORM_CODE + 2, (0,))),
        "units.nii": patched(("<B", 123, (7,))),
        "zero.nii": patched(("<3f", 80, (0.0, 0.0, 0.0)), ("<h", QFORM_CODE + 2, (0,))),
        "good.nii": bytes(whole()),
    }.items():
        (tmp_path / name).write_bytes(content)
    found = inspect_study(tmp_path)
    assert [series.description for series in found.readable] == ["good.nii"]
    assert len(found.series) == 6
