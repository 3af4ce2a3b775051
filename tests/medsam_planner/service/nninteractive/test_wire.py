"""Arrays of the protocol: what its client packs is read, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from nnInteractive.inference.remote.serialization import pack_array, unpack_array
from starlette.exceptions import HTTPException

from medsam_planner.service.http.nninteractive.interactions import scribble_prompts
from medsam_planner.service.http.nninteractive.wire import pack, unpack
from prompts import Scribble
from tests.medsam_planner.service.nninteractive.programs import SPACING_MM, lps

TYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_come_through_in_both_directions(dtype: str) -> None:
    array = (np.random.default_rng(0).normal(0, 50, (3, 17, 5)) * (np.arange(5) > 1)).astype(dtype)
    for read in (unpack(pack_array(array), most_bytes=1 << 20), unpack_array(pack(array))):
        assert read.dtype == array.dtype
        assert np.array_equal(read, array)


BODY_SHAPE = (4, 5, 6)
BODY = bytearray(pack_array(np.zeros(BODY_SHAPE, np.int16)))
SHAPE_AT = 8 + len("int16")
CHUNK_AT = SHAPE_AT + 3 * 8 + 4 + 16


def changed(at: int, *values: int) -> bytes:
    body = bytearray(BODY)
    body[at : at + len(values)] = bytes(values)
    return bytes(body)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "another format": lambda: b"\x93NUMPY" + bytes(100),
    "another version": lambda: changed(4, 2),
    "an unknown codec": lambda: changed(5, 9),
    "no axes": lambda: changed(6, 0),
    "many axes": lambda: changed(6, 200),
    "pointers": lambda: bytes(BODY).replace(b"int16", b"objec", 1),
    "a negative side": lambda: changed(SHAPE_AT, *struct.pack("<q", -4)),
    "an empty side": lambda: changed(SHAPE_AT, *struct.pack("<q", 0)),
    "another number of voxels than packed": lambda: changed(SHAPE_AT, *struct.pack("<q", 5)),
    "more chunks than bytes": lambda: changed(SHAPE_AT + 24, 255, 255),
    "a filter that loads code": lambda: changed(CHUNK_AT + 16, 40),
    "a codec that loads code": lambda: changed(CHUNK_AT + 22, 200),
    "values that were never written": lambda: changed(CHUNK_AT + 31, 0x40),
    "a run of NaN": lambda: changed(CHUNK_AT + 31, 0x20),
    "a run of one value": lambda: changed(CHUNK_AT + 31, 0x30),
    "a reserved special value": lambda: changed(CHUNK_AT + 31, 0x50),
    "a chunk that says its data is elsewhere": lambda: changed(CHUNK_AT + 31, 0x18),
    "a dictionary": lambda: changed(CHUNK_AT + 31, 0x11),
    "an instrumented codec": lambda: changed(CHUNK_AT + 31, 0x90),
    "a header of the first Blosc": lambda: changed(CHUNK_AT + 2, BODY[CHUNK_AT + 2] & ~0x05),
    "a chunk longer than it says": lambda: changed(CHUNK_AT + 4, *struct.pack("<i", 1 << 28)),
    "a chunk cut short": lambda: bytes(BODY[:-3]),
    "bytes at the end": lambda: bytes(BODY) + b"x",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_body_that_is_no_such_array_is_refused(what: str) -> None:
    with pytest.raises(HTTPException) as refused:
        unpack(HOSTILE[what](), most_bytes=1 << 20)
    assert refused.value.status_code == 400


def test_what_a_chunk_leaves_unwritten_is_zero_and_never_memory_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blosc2.decompress2", lambda chunk, dst: None)
    for _ in range(8):
        np.full(BODY_SHAPE, 0x4141, np.int16)  # freed at once, so that an array of this size would be given this memory
        assert not unpack(bytes(BODY), most_bytes=1 << 20).any()


def test_nothing_is_allocated_for_an_array_that_is_too_large() -> None:
    with pytest.raises(HTTPException) as refused:
        unpack(changed(SHAPE_AT, *struct.pack("<q", 1 << 40)), most_bytes=1 << 20)
    assert refused.value.status_code == 413


@pytest.mark.parametrize("where", range(0, len(BODY), 3))
def test_a_changed_byte_is_refused_or_gives_an_array_and_nothing_else(where: int) -> None:
    try:
        unpack(changed(where, BODY[where] ^ 0xFF), most_bytes=1 << 20)
    except HTTPException as refused:
        assert refused.status_code in (400, 413)


def test_a_thick_stroke_becomes_its_middle_line_on_the_slice_it_was_drawn_on() -> None:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING_MM, 1.0
    drawn = np.zeros((24, 80, 96), np.uint8)
    drawn[7, 39:42, 30:70] = 1
    (stroke,) = scribble_prompts(drawn, tuple((0, size) for size in drawn.shape), affine, include=False)
    assert isinstance(stroke, Scribble) and not stroke.positive
    line = np.array(stroke.positions_lps_mm)
    assert set(line[:, 2]) == {lps(7, 0, 0)[2]}
    assert np.abs(line[:, 1] - 40.0).max() <= 1.0
    assert np.mean(line[:, 1] == 40.0) > 0.9
    assert len(line) >= 36


def test_two_strokes_on_two_slices_become_two_lines() -> None:
    drawn = np.zeros((24, 80, 96), np.uint8)
    drawn[7, 40, 30:70] = drawn[9, 20:60, 41] = 1
    affine = np.eye(4)
    strokes = scribble_prompts(drawn, tuple((0, size) for size in drawn.shape), affine, include=True)
    assert [len(stroke.positions_lps_mm) for stroke in strokes if isinstance(stroke, Scribble)] == [40, 40]
