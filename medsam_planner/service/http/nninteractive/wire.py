"""Arrays of the nnInteractive protocol, strict about what comes from outside, and the answers that carry masks.

An array is ``NNIA``, u8 version, u8 codec, u8 number of axes, u8 length of the type's name, that name, an i64 for each
axis, a u32 number of chunks, then for each chunk a u64 plain and a u64 packed length and one Blosc2 chunk. All numbers
are little-endian, the array is in C order.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from medsam_planner.service.uploads import PATIENCE_S

__all__ = [
    "MOST_ARRAY_BYTES",
    "WHOLE_TYPES",
    "array_of",
    "json_of",
    "mask_answer",
    "meta_of",
    "pack",
    "refuse",
    "unpack",
]

MOST_ARRAY_BYTES = 1 << 30
"""Of one array: a scan of 1,000 slices of 512 × 512 pixels as float32."""
_MOST_JSON_BYTES = 1 << 16
_MAGIC, _VERSION = b"NNIA", 1
_CODECS = (1, 2)  # Zstandard, LZ4
WHOLE_TYPES = frozenset({"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))})
_TYPES = WHOLE_TYPES | {"float16", "float32", "float64"}
_CHUNK_BYTES = 1 << 30
_CHUNK_HEADER = 32
_CHUNK_CODECS = frozenset({1, 5})
"""LZ4 and Zstandard in byte 22 of a chunk's header; other numbers may load code."""
_CHUNK_FILTERS = frozenset({0, 1})
"""None and shuffle in bytes 16 to 21."""
_CHUNK_FLAGS = frozenset({0x00, 0x10})
"""Data that follows, and a run of zeros, in byte 31; others stand for memory that is never written (bits 4 to 6), for
data elsewhere, dictionaries and instruments."""
_EXTENDED_HEADER = 0x05
"""Bits in byte 2 without which bytes 16 to 31 mean something else."""


def refuse(detail: str) -> NoReturn:
    """Refuse a request that follows no reading of the protocol.

    Raises
    ------
    HTTPException
        Of status 400.
    """
    raise HTTPException(400, detail)


def meta_of(request: Request) -> dict[str, Any]:
    """The JSON object in the header beside a binary body; empty where there is none."""
    return _object(request.headers.get("x-meta", "{}"), "the header X-Meta")


async def json_of(request: Request) -> dict[str, Any]:
    """The JSON object in a body; empty where there is no body."""
    return _object(await _body(request, _MOST_JSON_BYTES) or b"{}", "the body")


async def array_of(request: Request, *, most_bytes: int = MOST_ARRAY_BYTES) -> NDArray[Any]:
    """The array in a body."""
    body = await _body(request, most_bytes + _MOST_JSON_BYTES)
    return await run_in_threadpool(unpack, body, most_bytes=most_bytes)


def mask_answer(*, ran: bool, box: tuple[slice, ...] | None = None, part: NDArray[Any] | None = None) -> Response:
    """The answer to an interaction.

    Parameters
    ----------
    ran : bool
        Whether something was predicted.
    box : tuple of slice, optional
        Voxels of the client's buffer that change; None where nothing does.
    part : (k, j, i) ndarray, optional
        What they hold from now on, in the buffer's type.
    """
    meta: dict[str, Any] = {"ran_prediction": ran, "bbox": None}
    body = b""
    if box is not None and part is not None:
        meta |= {
            "bbox": [[side.start, side.stop] for side in box],
            "dtype": part.dtype.name,
            "shape": list(part.shape),
        }
        body = pack(part)
    headers = {"X-Meta": json.dumps(meta, separators=(",", ":"))}
    return Response(body, media_type="application/octet-stream", headers=headers)


def pack(array: NDArray[Any]) -> bytes:
    """Encode an array that is not empty."""
    import blosc2

    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    name = array.dtype.name.encode("ascii")
    parts = [struct.pack("<4sBBBB", _MAGIC, _VERSION, _CODECS[0], array.ndim, len(name)), name]
    parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
    raw = array.data.cast("B")
    parts.append(struct.pack("<I", -(-raw.nbytes // _CHUNK_BYTES)))
    for start in range(0, raw.nbytes, _CHUNK_BYTES):
        piece = raw[start : start + _CHUNK_BYTES]
        chunk = blosc2.compress2(
            piece,
            typesize=array.dtype.itemsize,
            codec=blosc2.Codec.ZSTD,
            clevel=3,
            filters=[blosc2.Filter.NOFILTER],
            nthreads=1,
        )
        parts += [struct.pack("<QQ", piece.nbytes, len(chunk)), chunk]
    return b"".join(parts)


def unpack(body: bytes, *, most_bytes: int) -> NDArray[Any]:
    """Decode an array; nothing is allocated before its declared size is known to be allowed.

    Raises
    ------
    HTTPException
        Of status 400, or 413 where it is too large.
    """
    import blosc2

    shape, dtype, count, at = _header(memoryview(body))
    total = math.prod(shape) * dtype.itemsize
    if total > most_bytes:
        raise HTTPException(413, f"Expected an array of at most {most_bytes} bytes, got one of {total}.")
    chunks = _chunks(memoryview(body), at, count, total)
    flat = np.zeros(math.prod(shape), dtype=dtype)  # what decompression leaves out must not be memory of the server
    begin = 0
    for plain, chunk in chunks:
        end = begin + plain // dtype.itemsize
        try:
            blosc2.decompress2(chunk, dst=flat[begin:end])
        except Exception:  # noqa: BLE001  (the library raises many kinds)
            refuse("A chunk of the array cannot be decompressed.")
        begin = end
    return flat.reshape(shape)


def _header(view: memoryview) -> tuple[tuple[int, ...], np.dtype[Any], int, int]:
    """Shape, type, number of chunks, and where they begin."""
    if len(view) < 8:
        refuse("Expected a packed array, got too few bytes for one.")
    magic, version, codec, axes, length = struct.unpack_from("<4sBBBB", view)
    if magic != _MAGIC or version != _VERSION:
        refuse(f"Expected a packed array ('NNIA') of format version {_VERSION}.")
    if codec not in _CODECS or not 1 <= axes <= 4:
        refuse(f"Expected an array of 1 to 4 axes packed by Zstandard or LZ4, got {axes} axes and codec {codec}.")
    end = 8 + length + 8 * axes + 4
    if len(view) < end:
        refuse("The packed array ends in its header.")
    name = bytes(view[8 : 8 + length]).decode("ascii", "replace")
    if name not in _TYPES:
        refuse(f"Expected an array of numbers or truth values, got one of {name!r}.")
    shape = struct.unpack_from(f"<{axes}q", view, 8 + length)
    if min(shape) <= 0:
        refuse(f"Expected an array that holds something, got one of shape {list(shape)}.")
    (count,) = struct.unpack_from("<I", view, end - 4)
    return shape, np.dtype(name).newbyteorder("<"), count, end


def _chunks(view: memoryview, at: int, count: int, total: int) -> list[tuple[int, memoryview]]:
    """Plain length and bytes of each chunk; none is looked into before its own header was checked."""
    if count != -(-total // _CHUNK_BYTES):
        refuse(f"Expected {-(-total // _CHUNK_BYTES)} chunks for {total} bytes, got {count}.")
    found = []
    for number in range(count):
        if len(view) < at + 16:
            refuse("The packed array ends between two chunks.")
        plain, packed = struct.unpack_from("<QQ", view, at)
        at += 16
        expected = min(total - number * _CHUNK_BYTES, _CHUNK_BYTES)
        if plain != expected or not _CHUNK_HEADER <= packed <= len(view) - at:
            refuse("The lengths of a chunk do not fit the array.")
        chunk = view[at : at + packed]
        if chunk[2] & _EXTENDED_HEADER != _EXTENDED_HEADER or chunk[31] not in _CHUNK_FLAGS:
            refuse("A chunk is of a kind that the protocol does not have.")
        if not set(chunk[16:22]) <= _CHUNK_FILTERS or chunk[22] not in _CHUNK_CODECS:
            refuse("A chunk uses a codec or a filter that the protocol does not have.")
        if struct.unpack_from("<i", chunk, 4)[0] != plain or struct.unpack_from("<i", chunk, 12)[0] != packed:
            refuse("The header of a chunk disagrees about its length.")
        found.append((plain, chunk))
        at += packed
    if at != len(view):
        refuse("Bytes are left after the last chunk.")
    return found


async def _body(request: Request, most_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most_bytes:
        raise HTTPException(413, f"Expected a body of at most {most_bytes} bytes.")
    parts, received = [], 0
    try:
        stream = request.stream()
        while part := await _next(stream):
            received += len(part)
            if received > most_bytes:
                raise HTTPException(413, f"Expected a body of at most {most_bytes} bytes.")
            parts.append(part)
    except ClientDisconnect:
        refuse("The body ended early.")
    return b"".join(parts)


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    """The next part of a body, empty at its end. A client that stalls is not waited for: its lease holds meanwhile."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for part in stream:
                if part:
                    return part
    except TimeoutError as error:
        raise HTTPException(408, "The body stalled. Try again.") from error
    return b""


def _object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        refuse(f"Expected JSON in {what}.")
    if not isinstance(found, dict):
        refuse(f"Expected a JSON object in {what}, got {type(found).__name__}.")
    return found
