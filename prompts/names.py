"""What a structure may be called: files and folders are named after it, on any file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from prompts.errors import PromptError

__all__ = [
    "RESERVED",
    "RESULT_NAMES",
    "SKIN",
    "UNSEGMENTED_BONE",
    "name_key",
    "require_different",
    "require_free",
    "require_name",
]

_LONGEST = 64
"""Characters; what a DICOM segment label holds (value representation LO)."""
_LONGEST_BYTES = 240
"""In UTF-8; file systems hold 255, and a file adds its ending."""
_DEVICES = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"),
    }
)
"""Windows opens a device under these names, with any ending."""
RESULT_NAMES = frozenset(
    {
        *(
            f"{name}.nii.gz"
            for name in ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")
        ),
        *("prompts.json", "result.json", "files.json", "plan.json", "plan.dcm", "report.html", "meshes", "dicom"),
    }
)
"""What a run calls its own files and folders."""
SKIN = "skin"
"""Surface of the body, which the planner finds in the image."""
UNSEGMENTED_BONE = "unsegmented_bone"
"""Bone that nobody segmented, which the planner finds in a CT."""
RESERVED = frozenset({SKIN, UNSEGMENTED_BONE})
"""Names that no prompted structure may have: the planner gives them to what it finds in the image."""


def require_name(structure: str) -> str:
    """Return `structure` unless it cannot name a file beside those of a run.

    Raises
    ------
    PromptError
        If it is too long, has marks that file names may not have, or is taken by a device or by a run's own files.
    """
    if (
        not isinstance(structure, str)
        or not 1 <= len(structure) <= _LONGEST
        or structure != structure.strip()
        or not structure.isprintable()
        or structure.startswith(".")
        or structure.endswith(".")
        or any(mark in structure for mark in '/\\:*?"<>|')
    ):
        raise PromptError(
            f"Expected a structure's name of 1 to {_LONGEST} printable characters that can also name a file "
            f'(no / \\ : * ? " < > |, no space or dot at its ends), got {structure!r}.'
        )
    if len(structure.encode()) > _LONGEST_BYTES:
        raise PromptError(
            f"Expected a structure's name of at most {_LONGEST_BYTES} bytes in UTF-8, since files are named after it, "
            f"got {len(structure.encode())} bytes: {structure!r}. Shorten it."
        )
    key = name_key(structure)
    if key in RESULT_NAMES or key.split(".")[0].rstrip() in _DEVICES:
        taken = "files of every run are called so" if key in RESULT_NAMES else "Windows keeps it for a device"
        raise PromptError(f"Expected a structure's name that is free, got {structure!r}: {taken}. Choose another one.")
    return structure


def require_free(structure: str) -> str:
    """Return `structure` unless the name, whatever its capitals, is one of :data:`RESERVED`.

    Raises
    ------
    PromptError
        If the planner gives that name to what it finds in the image.
    """
    if name_key(structure) in RESERVED:
        raise PromptError(
            f"Expected a structure's name that is free, got {structure!r}: the planner gives that name to what it "
            "finds in the image. Choose another one."
        )
    return structure


def require_different(structures: Iterable[str]) -> None:
    """Refuse names that some file systems take for one: they differ in capitals or in how accents are composed.

    Raises
    ------
    PromptError
        Naming the first two.
    """
    seen: dict[str, str] = {}
    for structure in structures:
        other = seen.setdefault(name_key(structure), structure)
        if other != structure:
            raise PromptError(
                f"Expected structures whose names differ by more than capitals or the form of an accent, got {other!r} "
                f"and {structure!r}: many disks take them for one. Rename one of them."
            )


def name_key(structure: str) -> str:
    """What a name is to a disk that knows neither capitals nor forms of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", structure).casefold())
