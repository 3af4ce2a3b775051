"""The array format of the nnInteractive protocol, written from protocol.md: strict about what comes from outside."""

from __future__ import annotations

import math
import struct

import blosc2
import numpy as np

MAGIC, VERSION = b"NNIA", 1
ZSTD, LZ4 = 1, 2
_DTYPES = {
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
}
_CHUNK_BYTES = 1 << 30
_FRAME_HEADER = 32  # of a blosc2 chunk
_FRAME_CODECS = {1, 5}  # LZ4, ZSTD: byte 22 of a chunk's header
_FRAME_FILTERS = {0, 1}  # none, shuffle: bytes 16 to 21


class FormatError(ValueError):
    """Bytes that are no array of this format, or one that is not taken."""


def pack(array: np.ndarray) -> bytes:
    """Self-describing bytes of a C-ordered, little-endian, non-empty array."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    name = array.dtype.name.encode("ascii")
    parts = [struct.pack("<4sBBBB", MAGIC, VERSION, ZSTD, array.ndim, len(name)), name]
    parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
    raw = memoryview(array).cast("B")
    parts.append(struct.pack("<I", -(-raw.nbytes // _CHUNK_BYTES)))
    for start in range(0, raw.nbytes, _CHUNK_BYTES):
        piece = raw[start : start + _CHUNK_BYTES]
        frame = blosc2.compress2(
            piece, typesize=array.dtype.itemsize, codec=blosc2.Codec.ZSTD, clevel=3, filters=[blosc2.Filter.NOFILTER],
            nthreads=1,
        )
        parts += [struct.pack("<QQ", piece.nbytes, len(frame)), frame]
    return b"".join(parts)


def unpack(body: bytes, *, most_bytes: int) -> np.ndarray:
    """Read an array; nothing is allocated before its declared size was held against `most_bytes`."""
    view = memoryview(body)
    if len(view) < 8:
        raise FormatError("packed array too short")
    magic, version, codec, ndim, length = struct.unpack_from("<4sBBBB", view)
    if magic != MAGIC:
        raise FormatError("this is no packed array (bad magic)")
    if version != VERSION:
        raise FormatError(f"array format version {version} is not known; this server reads {VERSION}")
    if codec not in (ZSTD, LZ4) or not 1 <= ndim <= 4:
        raise FormatError(f"unsupported codec {codec} or {ndim} axes")
    at = 8 + length
    header_end = at + 8 * ndim + 4
    if len(view) < header_end:
        raise FormatError("packed array ends in its header")
    name = bytes(view[8:at]).decode("ascii", "replace")
    if name not in _DTYPES:
        raise FormatError(f"arrays of {name!r} are not taken")
    shape = struct.unpack_from(f"<{ndim}q", view, at)
    (chunks,) = struct.unpack_from("<I", view, at + 8 * ndim)
    dtype = np.dtype(name).newbyteorder("<")
    if min(shape) <= 0:
        raise FormatError(f"an array of shape {list(shape)} holds nothing")
    size = math.prod(shape)
    total = size * dtype.itemsize
    if total > most_bytes:
        raise FormatError(f"the array declares {total} bytes, at most {most_bytes} are taken")
    if chunks != -(-total // _CHUNK_BYTES):  # the client always cuts at 1 GiB
        raise FormatError(f"{chunks} chunks for {total} bytes")
    pieces, at = [], header_end
    left = total
    for _ in range(chunks):
        if len(view) < at + 16:
            raise FormatError("packed array ends between chunks")
        plain, packed = struct.unpack_from("<QQ", view, at)
        at += 16
        if plain != min(left, _CHUNK_BYTES) or packed < _FRAME_HEADER or packed > len(view) - at:
            raise FormatError("a chunk's lengths do not fit")
        frame = view[at : at + packed]
        if not set(frame[16:22]) <= _FRAME_FILTERS or frame[22] not in _FRAME_CODECS:
            raise FormatError("a chunk uses another codec or filter than the protocol's")
        if struct.unpack_from("<i", frame, 4)[0] != plain or struct.unpack_from("<i", frame, 12)[0] != packed:
            raise FormatError("a chunk's own header disagrees about its length")
        pieces.append(frame)
        at += packed
        left -= plain
    if at != len(view):
        raise FormatError("bytes are left after the last chunk")
    out = np.empty(size, dtype=dtype)
    written = 0
    for frame in pieces:
        count = struct.unpack_from("<i", frame, 4)[0] // dtype.itemsize
        try:
            blosc2.decompress2(frame, dst=out[written : written + count])
        except Exception as error:
            raise FormatError(f"a chunk cannot be decompressed: {error}") from error
        written += count
    return out.reshape(shape)
