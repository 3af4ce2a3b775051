"""Limits on the unpacked size of compressed files: a few kilobytes can unpack to gigabytes of zeros."""

from __future__ import annotations

from medsam_planner.errors import StudyError

__all__ = ["MAX_MEMBERS", "MAX_UNPACKED_BYTES", "most_unpacked_bytes", "refuse_bomb"]

MAX_UNPACKED_BYTES = 8 * 1024**3
"""More than any one CT or MR study unpacks to."""
MAX_MEMBERS = 20_000
"""Files of one archive: more than any one series has, and some seconds of work."""
_MOST_RATIO = 200
"""Scans shrink by 2 to 10; deflate reaches 1032 where there is nothing but zeros."""
_FREE_BYTES = 512 * 1024**2
"""Below this size any ratio is accepted: a mask or phantom of a large study is nearly all zeros."""


def most_unpacked_bytes(packed_bytes: int, *, at_most: int = MAX_UNPACKED_BYTES) -> int:
    """What a file of `packed_bytes` may unpack to."""
    return min(at_most, max(_FREE_BYTES, _MOST_RATIO * packed_bytes))


def refuse_bomb(name: str, *, packed_bytes: int, unpacked_bytes: int, at_most: int = MAX_UNPACKED_BYTES) -> None:
    """Refuse a file that unpacks, or says that it unpacks, to far more than it is.

    Raises
    ------
    StudyError
        If it grows beyond :func:`most_unpacked_bytes`.
    """
    limit = most_unpacked_bytes(packed_bytes, at_most=at_most)
    if unpacked_bytes <= limit:
        return
    grown = f"{unpacked_bytes / max(packed_bytes, 1):.0f} times its size" if limit < at_most else "no study does"
    raise StudyError(
        f"{name} unpacks to more than {limit / 1024**3:.3g} GiB, {grown}. "
        "Unpack it yourself, and name the folder of one series or the unpacked file."
    )
