"""Blank what an encoder wrote beside the image into a JPEG, JPEG-LS or JPEG 2000 code stream; lengths stay."""

from __future__ import annotations

__all__ = ["without_comments"]

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_END = b"\xff\xd9"
_SCAN = 0xDA
_JPEG_COMMENT = 0xFE
_APPLICATION = range(0xE0, 0xF0)
_NEEDED_APPLICATION = (b"JFIF\0", b"Adobe", b"mrfx")
"""Segments without which colours may come out wrong."""
_LONGEST_NEEDED = 16
_J2K_COMMENT = 0x64
_J2K_TILE = 0x90
_J2K_DATA = 0x93


def without_comments(frame: bytes) -> bytes:
    """One frame with its comments and application segments blanked, and nothing but zeros after its end.

    Parameters
    ----------
    frame : bytes
        A code stream; of any other encoding it is returned as it is.
    """
    if frame.startswith(_J2K_START):
        return _blank_j2k(bytearray(frame))
    if frame.startswith(_JPEG_START):
        return _blank_jpeg(bytearray(frame))
    return frame


def _blank_jpeg(stream: bytearray) -> bytes:
    place = 2
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        length = int.from_bytes(stream[place + 2 : place + 4])
        content = bytes(stream[place + 4 : place + 2 + length])
        is_needed = content.startswith(_NEEDED_APPLICATION) and len(content) <= _LONGEST_NEEDED
        if marker == _JPEG_COMMENT or (marker in _APPLICATION and not is_needed):
            stream[place + 4 : place + 2 + length] = bytes(len(content))
        if marker == _SCAN:
            break
        place += 2 + length
    return _ended(stream)


def _blank_j2k(stream: bytearray) -> bytes:
    place = 2
    tile_end = 0
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == _J2K_DATA:
            if not place < tile_end <= len(stream):
                break
            place = tile_end
            continue
        length = int.from_bytes(stream[place + 2 : place + 4])
        if marker == _J2K_TILE:
            tile_length = int.from_bytes(stream[place + 6 : place + 10])
            tile_end = place + tile_length if tile_length else 0
        if marker == _J2K_COMMENT:  # its first two bytes say text or binary
            stop = min(place + 2 + length, len(stream))
            stream[place + 6 : stop] = bytes(max(0, stop - place - 6))
        place += 2 + length
    return _ended(stream)


def _ended(stream: bytearray) -> bytes:
    """Nothing but zeros after the last end marker."""
    end = stream.rfind(_JPEG_END)
    if end >= 0:
        stream[end + 2 :] = bytes(len(stream) - end - 2)
    return bytes(stream)
