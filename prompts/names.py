"""Names of structures, which must be valid names of files and folders on every file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from prompts.errors import PromptError

__all__ = [
    "DICOM_SUFFIX",
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
"""Largest number of characters: that of a DICOM segment label (value representation LO)."""
_LONGEST_BYTES = 230
"""Largest number of bytes in UTF-8: file systems allow 255, including what a file's name has before and after it."""
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
"""Names that Windows reserves for devices, with any ending."""
RESULT_NAMES = frozenset(
    {
        *(
            f"{name}.nii.gz"
            for name in ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")
        ),
        *("prompts.json", "result.json", "files.json", "plan.json", "report.html", "meshes"),
    }
)
"""Names of the files and folders of a run, beside those that end with :data:`DICOM_SUFFIX`."""
DICOM_SUFFIX = ".dcm"
"""Ending of the DICOM objects of a run, which a structure's name may not have."""
SKIN = "skin"
"""Surface of the body, which the planner finds in the image."""
UNSEGMENTED_BONE = "unsegmented_bone"
"""Unsegmented bone, which the planner finds in a CT."""
RESERVED = frozenset({SKIN, UNSEGMENTED_BONE})
"""Names that no prompted structure may have: the planner gives them to what it finds in the image."""


def require_name(structure: str) -> str:
    """Return `structure`, or refuse it if it cannot be the name of a file in a run folder.

    Raises
    ------
    PromptError
        If it is too long, has characters that file names may not have, or is reserved for a device or for a run's own
        files.
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
    is_result = key in RESULT_NAMES or key.endswith(DICOM_SUFFIX)
    if is_result or key.split(".")[0].rstrip() in _DEVICES:
        taken = "a run has a file of that name" if is_result else "Windows reserves it for a device"
        raise PromptError(f"Expected a structure's name that is free, got {structure!r}: {taken}. Choose another one.")
    return structure


def require_free(structure: str) -> str:
    """Return `structure`, or refuse it if the planner uses the name, in any capitals, for a part that it finds itself.

    Raises
    ------
    PromptError
        If the name is one of :data:`RESERVED`.
    """
    if name_key(structure) in RESERVED:
        raise PromptError(
            f"Expected a structure's name that is free, got {structure!r}: the planner uses it for a part of the body "
            "that it finds in the image. Choose another one."
        )
    return structure


def require_different(structures: Iterable[str]) -> None:
    """Refuse names that some file systems do not distinguish: they differ in capitals or in the form of accents.

    Raises
    ------
    PromptError
        If there are two such names; it states the first two.
    """
    seen: dict[str, str] = {}
    for structure in structures:
        other = seen.setdefault(name_key(structure), structure)
        if other != structure:
            raise PromptError(
                f"Expected structures whose names differ by more than capitals or the form of an accent, got {other!r} "
                f"and {structure!r}: many file systems do not distinguish them. Rename one of them."
            )


def name_key(structure: str) -> str:
    """The name as a file system that ignores capitals and forms of accents reads it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", structure).casefold())
