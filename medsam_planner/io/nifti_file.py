"""The header and voxels of a NIfTI file, accepted only where they agree with each other.

The kind of file is told by its content, whatever its name ends in. A checksum is compared, and the voxels that the
header promises must be the bytes that the file holds, no fewer and no more: a wrong size or offset moves or cuts an
image without a trace.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io.unpacking import refuse_bomb

__all__ = ["NiftiFile", "open_nifti"]

_GZIP = b"\x1f\x8b"
_PACKED_ENDINGS = (".gz", ".bz2", ".zst")
_CHUNK_BYTES = 1 << 22
_HEADER_BYTES = 540
"""Of NIfTI-2; NIfTI-1 has 348."""
_ZLIB_GZIP = 31
"""What zlib calls a gzip stream; its checksum and length are then compared at its end."""
_UNIT_TOLERANCE = 2e-7
"""What rounding to 32-bit numbers adds to a unit quaternion."""
_ROUNDED_TOLERANCE = 1e-3
"""What rounding to few digits adds."""

_DAMAGE = (EOFError, OSError, OverflowError, TypeError, KeyError, ValueError, zlib.error)
"""Errors that damaged bytes raise."""


@dataclass(frozen=True, slots=True, eq=False)
class NiftiFile:
    """An opened file whose size is what its header says."""

    name: str
    header: Any
    """Header as read by nibabel, checked."""
    shape: tuple[int, ...]
    voxels: Any
    """nibabel's proxy of the scaled voxels."""
    sform: NDArray[np.float64] | None
    """Index to RAS mm, or None where the file states none."""
    qform: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """The sform, else the qform."""
        return self.sform if self.sform is not None else self.qform

    def array(self) -> NDArray[np.float32]:
        """The voxels, scaled."""
        with _told_as_damage(self.name):
            return np.asarray(self.voxels, dtype=np.float32)


def open_nifti(file: Path, name: str) -> NiftiFile:
    """Open a file that begins as NIfTI does, compressed or not.

    Parameters
    ----------
    file : Path
    name : str
        What to call it in messages.

    Raises
    ------
    StudyError
        If it is damaged, or its header contradicts itself or the file's size.
    """
    from nibabel.arrayproxy import ArrayProxy

    header = _header(file, name)
    shape, promised = _promised_bytes(header, name)
    holder = file if header.is_single else _partner(file, name)
    notes: tuple[str, ...] = ()
    source: Any = holder
    if _is_packed(holder):
        refuse_bomb(name, packed_bytes=holder.stat().st_size, unpacked_bytes=promised)
        content, notes = _unpacked(holder, name, promised)
        source, size = io.BytesIO(content), len(content)
    else:
        size = holder.stat().st_size
        if holder.suffix.lower() in _PACKED_ENDINGS:  # nibabel goes by the ending
            source = io.BytesIO(holder.read_bytes())
    if size != promised:
        raise _other_size(name, promised, size)
    with _told_as_damage(name):
        scaling = header.get_slope_inter()
        voxels = ArrayProxy(source, (shape, header.get_data_dtype(), _offset(header), *scaling))
        sform, sform_code = header.get_sform(coded=True)
    qform, doubts = _qform(header, name, has_sform=bool(sform_code))
    return NiftiFile(
        name=name,
        header=header,
        shape=shape,
        voxels=voxels,
        sform=np.asarray(sform, dtype=np.float64) if sform_code else None,
        qform=qform,
        notes=(*notes, *doubts),
    )


@contextmanager
def _told_as_damage(name: str) -> Iterator[None]:
    from nibabel.spatialimages import HeaderDataError

    try:
        yield
    except (HeaderDataError, *_DAMAGE) as error:
        raise StudyError(
            f"{name} cannot be read as NIfTI: {str(error).rstrip('.')}. It is damaged or misnamed; copy it again."
        ) from error


def _header(file: Path, name: str) -> Any:
    import nibabel

    with _told_as_damage(name), file.open("rb") as stream:
        block = stream.read(_HEADER_BYTES)
        if block[:2] == _GZIP:
            stream.seek(0)
            block = zlib.decompressobj(wbits=_ZLIB_GZIP).decompress(stream.read(4 * _HEADER_BYTES), _HEADER_BYTES)
        kind: Any
        if block[4:7] in (b"n+2", b"ni2"):
            kind = nibabel.Nifti2Header if block[4:7] == b"n+2" else nibabel.nifti2.Nifti2PairHeader
            return kind(block[:540], check=False)
        kind = nibabel.Nifti1Header if block[344:347] == b"n+1" else nibabel.nifti1.Nifti1PairHeader
        return kind(block[:348], check=False)  # its check would set spacings of 0 to 1


def _offset(header: Any) -> int:
    """Where the voxels begin. Some writers leave it 0 in a single file, where nothing else can be meant."""
    stated = int(header["vox_offset"])
    return stated if stated or not header.is_single else int(header.single_vox_offset)


def _promised_bytes(header: Any, name: str) -> tuple[tuple[int, ...], int]:
    """Shape, and how long the file must be to hold it."""
    with _told_as_damage(name):
        shape = tuple(int(n) for n in header.get_data_shape())
        offset, item = _offset(header), int(header.get_data_dtype().itemsize)
    if not shape or min(shape) < 1:
        raise StudyError(f"Expected voxels along each axis, the header of {name} states the shape {shape}.")
    least = int(header.single_vox_offset) if header.is_single else 0
    if offset < least:
        raise StudyError(
            f"The header of {name} places its voxels at byte {offset} (vox_offset). Expected byte {least} or later. "
            "The header is damaged; convert the file again."
        )
    return shape, offset + math.prod(shape) * item


def _is_packed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == _GZIP


def _partner(file: Path, name: str) -> Path:
    """The .img of a header that stands alone."""
    stem = file.name.split(".")[0].lower()
    found = [
        other
        for other in sorted(file.parent.iterdir())
        if other.is_file() and other.name.lower() in (f"{stem}.img", f"{stem}.img.gz")
    ]
    if not found:
        raise StudyError(
            f"{name} is the header of a pair of files, and no .img of its name lies beside it. Put it there, or "
            "convert the pair to one .nii file."
        )
    return found[0]


def _unpacked(file: Path, name: str, promised: int) -> tuple[bytearray, tuple[str, ...]]:
    """The content of a gzip file whose checksums are right; no more is unpacked than the header states."""
    content = bytearray()
    member = zlib.decompressobj(wbits=_ZLIB_GZIP)
    with file.open("rb") as stream:
        packed = stream.read(_CHUNK_BYTES)
        while packed:
            try:
                content += member.decompress(packed, _CHUNK_BYTES)
            except zlib.error as error:
                raise StudyError(
                    f"{name} is damaged: unpacking it fails ({error}), so its voxels are not what was written. "
                    "Copy it again from its source."
                ) from error
            if len(content) > promised:
                raise _other_size(name, promised, None)
            if member.eof:
                rest = member.unused_data or stream.read(_CHUNK_BYTES)
                if rest[:2] != _GZIP:
                    return content, _behind(rest, stream.read(_CHUNK_BYTES), name)
                member, packed = zlib.decompressobj(wbits=_ZLIB_GZIP), rest
            else:
                packed = member.unconsumed_tail or stream.read(_CHUNK_BYTES)
    raise StudyError(f"{name} ends in the middle of its compressed data: it was cut short. Copy it again.")


def _behind(rest: bytes, more: bytes, name: str) -> tuple[str, ...]:
    """A note on bytes behind the compressed data, unless they only fill up a block."""
    if not (rest + more).strip(b"\0"):
        return ()
    return (f"Bytes that belong to nothing follow the compressed data of {name}; the data itself is complete.",)


def _other_size(name: str, promised: int, size: int | None) -> StudyError:
    held = "more" if size is None else f"{size:,}"
    cause = (
        "it was cut short, or its header is wrong"
        if size is not None and size < promised
        else ("its header states too few voxels, or a wrong place for them")
    )
    return StudyError(
        f"The header of {name} promises {promised:,} bytes, the file holds {held}: {cause}. Copy or convert it again."
    )


def _qform(header: Any, name: str, *, has_sform: bool) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """The affine of the quaternion, and what had to be done about it.

    A quaternion longer than a unit one states no rotation. Where there is a sform, that is then the only statement;
    without one, a little too much is taken for rounding.
    """
    if not int(header["qform_code"]):
        return None, ()
    stated = np.array([header[f"quatern_{part}"] for part in "bcd"], dtype=np.float64)
    length = float(np.linalg.norm(stated))
    header = header.copy()
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard reads it
    if not length <= 1 + _UNIT_TOLERANCE:  # also where it is no number
        told = (
            f"its quaternion (quatern_b, c, d) is {np.round(stated, 7).tolist()}, {length:.8g} long, at most 1 is right"
        )
        if has_sform:
            return None, (f"The qform of {name} is no rotation: {told}. Its sform is believed.",)
        if not length <= 1 + _ROUNDED_TOLERANCE:
            raise StudyError(
                f"The qform of {name} is no rotation: {told}. Set the right quaternion, or a sform, and its sform_code."
            )
    if length > 1:
        for part, value in zip("bcd", stated / length, strict=True):
            header[f"quatern_{part}"] = value
    with _told_as_damage(name):
        return np.asarray(header.get_qform(), dtype=np.float64), ()
