"""What a project knows of a study: its state, and every event with who and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["Event", "Reviewed", "State", "Study"]


class State(StrEnum):
    """How far the annotation of a study is."""

    NEW = "new"
    PROMPTED = "prompted"
    """There is a mask of the model after the first prompts."""
    CORRECTED = "corrected"
    """A mask was recorded again, after corrections or edits."""
    REVIEWED = "reviewed"
    EXCLUDED = "excluded"
    """With a reason; neither trained on nor exported."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study of a project."""

    name: str
    """Of its folder in ``studies/``."""
    patient: str
    """Pseudonym; studies of one patient stay on one side of every split."""
    modality: str
    image_sha256: str
    """Of the voxels and their geometry, not of the file."""
    is_copied: bool
    """Whether the project holds the image; otherwise it refers to it."""
    state: State
    folder: Path


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody did to a study."""

    number: int
    study: str
    at: str
    """ISO 8601, UTC."""
    who: str
    kind: str
    """``added``, ``recorded``, ``reviewed``, ``excluded`` or ``reopened``."""
    structure: str | None
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A reviewed study at one moment."""

    study: Study
    mask_sha256: Mapping[str, str]
    """Of the last mask of each structure."""
    slices: tuple[int, ...] | None
    """That the last review looked at; None for all."""
