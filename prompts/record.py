"""Contents of a prompt file: the logs of one study's structures, and their provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prompts.errors import PromptError
from prompts.json_text import plain_json
from prompts.log import PromptLog
from prompts.names import require_different

__all__ = ["PromptFile", "Provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The study on which the prompts were given, and the settings that led to the masks. None where not known."""

    image_sha256: str | None = None
    """Hash of the volume's voxels and geometry, as the session computes it."""
    affine: tuple[tuple[float, ...], ...] | None = None
    """4 × 4, index → LPS mm."""
    shape: tuple[int, ...] | None = None
    """Voxels along each array axis."""
    frame_of_reference_uid: str | None = None
    modality: str | None = None
    window: str | None = None
    model: str | None = None
    weights_sha256: str | None = None
    seed: int | None = None
    samples: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of each package."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that changes the mask; plain JSON types."""

    def __post_init__(self) -> None:
        for name in ("versions", "settings"):
            object.__setattr__(self, name, plain_json(dict(getattr(self, name)), "Provenance", name))


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The logs of one study's structures, in order, and their provenance.

    Raises
    ------
    PromptError
        If there is no log, or two for one structure, or names that some file systems do not distinguish.
    """

    logs: tuple[PromptLog, ...]
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        object.__setattr__(self, "logs", tuple(self.logs))
        names = self.structures
        if not names:
            raise PromptError("Expected the prompts of at least one structure, got none.")
        if len(set(names)) < len(names):
            raise PromptError(f"Expected one log for each structure, got two of the same name among {list(names)}.")
        require_different(names)

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures, in order."""
        return tuple(log.structure for log in self.logs)

    def log(self, structure: str) -> PromptLog:
        """The log of `structure`.

        Raises
        ------
        PromptError
            If there is none of that name.
        """
        for log in self.logs:
            if log.structure == structure:
                return log
        raise PromptError(f"Expected one of the structures {list(self.structures)}, got {structure!r}.")
