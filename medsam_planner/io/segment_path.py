"""``FILE:SEGMENT``: a mask file and which of its segments, where it has several."""

from __future__ import annotations

from pathlib import Path

__all__ = ["mask_file", "parted"]


def parted(path: Path) -> tuple[Path, str | None]:
    """The file, and the segment after the last colon of its name; a file whose own name has the colon is that file."""
    if path.exists() or ":" not in path.name:
        return path, None
    file, segment = path.name.rsplit(":", 1)
    return path.with_name(file) if file else path, segment.strip() or None


def mask_file(path: Path) -> Path:
    """The file alone."""
    return parted(path)[0]
