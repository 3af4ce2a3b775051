"""How a result came to be: versions of everything that can change it, and how its mask was propagated."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["PropagationTrace", "SliceRecord", "SliceRole", "StopReason", "versions"]

_DISTRIBUTIONS = (
    "medsam-planner",
    "torch",
    "numpy",
    "scipy",
    "highdicom",
    "pydicom",
    "transformers",
    "captum",
    "open3d-cpu",
)


def versions() -> dict[str, str]:
    """Installed version by distribution, and of Python; read from metadata, nothing heavy is imported."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class SliceRole(Enum):
    """How a slice came by its mask."""

    ANCHOR = "anchor"
    """The person prompted it; it is never overwritten by propagation."""
    PROPAGATED = "propagated"
    REFUSED = "refused"
    """A front reached it, a stop rule fired, and its mask was left empty."""


class StopReason(Enum):
    """Why a front did not go on; the value is the wording shown to people."""

    EMPTY = "the structure vanished"
    LOW_OVERLAP = "too little overlap with the slice before"
    AREA_JUMP = "the area changed too abruptly"
    CENTROID_JUMP = "the centre moved too far"
    LOW_QUALITY = "the model judged its own answer poor"
    QUALITY_LOSS = "the model's doubt added up along the way"
    UNCERTAIN = "the answer was too uncertain"
    RANGE_END = "the end of the requested range"
    VOLUME_END = "the end of the volume"
    NOT_HERE = "it ends before a slice on which the person said there is nothing"
    MET = "met the front from the other anchor"


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """One visit of one slice."""

    index: int
    role: SliceRole
    source_index: int | None
    """Slice whose mask prompted this one; None for an anchor."""
    overlap: float | None
    """Share of the mask that lies on that of the slice before; None for an anchor."""
    area_mm2: float
    centroid_drift_mm: float | None
    quality: float
    """Predicted IoU in [0, 1]."""
    entropy_bits: float
    """Mean predictive entropy over the mask."""
    stop: StopReason | None = None


@dataclass(frozen=True, slots=True)
class PropagationTrace:
    """Every visit, sorted by slice index, along one array axis of the volume."""

    axis: int
    records: tuple[SliceRecord, ...]

    def anchors(self) -> tuple[int, ...]:
        """Indices of the prompted slices."""
        return tuple(record.index for record in self.records if record.role is SliceRole.ANCHOR)

    @classmethod
    def from_rows(cls, axis: int, rows: Sequence[Mapping[str, Any]]) -> PropagationTrace:
        """The trace that :meth:`as_rows` was made of.

        Raises
        ------
        KeyError, ValueError
            If an entry is missing, or no role or stop is called so.
        """
        records = [
            SliceRecord(**{**row, "role": SliceRole(row["role"]), "stop": row["stop"] and StopReason(row["stop"])})
            for row in rows
        ]
        return cls(axis, tuple(records))

    def as_rows(self) -> list[dict[str, Any]]:
        """The records as JSON-ready rows."""
        return [
            {
                "index": record.index,
                "role": record.role.value,
                "source_index": record.source_index,
                "overlap": record.overlap,
                "area_mm2": record.area_mm2,
                "centroid_drift_mm": record.centroid_drift_mm,
                "quality": record.quality,
                "entropy_bits": record.entropy_bits,
                "stop": record.stop.value if record.stop else None,
            }
            for record in self.records
        ]
