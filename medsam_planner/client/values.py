"""What the service answers, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["JobValue", "StructureValue", "StudyValue"]


@dataclass(frozen=True, slots=True)
class StudyValue:
    """A study on the server."""

    id: str
    name: str
    modality: str | None
    shape: tuple[int, int, int]
    """(K, J, I)."""
    affine_lps_mm: tuple[tuple[float, ...], ...]
    """(4, 4), index (k, j, i) → LPS mm."""
    sha256: str
    """Of voxels and affine, as a local session's ``study_sha256``."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StudyValue:
        """Read an answer."""
        k, j, i = document["shape"]
        return cls(
            id=document["id"],
            name=document["name"],
            modality=document["modality"],
            shape=(k, j, i),
            affine_lps_mm=tuple(tuple(row) for row in document["affine_lps_mm"]),
            sha256=document["sha256"],
        )


@dataclass(frozen=True, slots=True)
class StructureValue:
    """A structure of a session."""

    name: str
    state: str
    """``"new"`` (no prompts), ``"prompted"``, ``"segmented"``, or ``"stale"``: prompts changed since the result."""
    role: str
    """In the plan: ``"ignore"``, ``"avoid"`` or ``"inside"``."""
    colour: str
    """``#rrggbb``."""
    hidden: bool
    anatomy: str | None
    """What it is coded as in DICOM objects; None goes by its name."""
    prompts: tuple[Mapping[str, Any], ...]
    """Entries as in a prompt file; those that are undone come last."""
    numbers: tuple[int, ...]
    """By entry: the number that :meth:`RemoteSession.add` returned for it."""
    can_undo: bool
    can_redo: bool
    result: Mapping[str, Any] | None
    """``mask_sha256``, ``volume_ml`` and the settings of the 3D result."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StructureValue:
        """Read an answer."""
        return cls(**{**document, "prompts": tuple(document["prompts"]), "numbers": tuple(document["numbers"])})


@dataclass(frozen=True, slots=True)
class JobValue:
    """A job at one moment."""

    id: str
    state: str
    """``"queued"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``."""
    stage: str
    done: int
    total: int
    """Steps of the present stage; 0 where their number is not known."""
    result: Mapping[str, Any] | None
    problem: Mapping[str, Any] | None
    """Of a job that failed: ``code`` and ``detail``."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> JobValue:
        """Read an answer."""
        return cls(
            id=document["id"],
            state=document["state"],
            result=document["result"],
            problem=document["problem"],
            **document["progress"],
        )

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self.state in ("done", "failed", "cancelled")
