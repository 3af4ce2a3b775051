"""How the 3D masks of a session follow its prompts; part of what only the page has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from medsam_planner.service.core.options import SegmentOptions

__all__ = ["LiveSettings"]

_AS_ASKED = SegmentOptions()


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What is computed after a prompt without being asked for."""

    is_on: bool = True
    samples: int = _AS_ASKED.samples
    """Stochastic passes that follow the mask; 0 for none."""
    uncertainty: str = _AS_ASKED.uncertainty
    """What the passes differ in."""
    triplanar: bool = _AS_ASKED.triplanar
    stopped: Mapping[str, str] | None = None
    """By structure: digest of the prompts for which a person pressed Stop; nothing follows until they change."""

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Self:
        """From the journal; unknown entries are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in entry.items() if name in known})

    def as_entry(self) -> dict[str, Any]:
        """For the journal, as plain JSON values."""
        return asdict(self)

    def is_stopped(self, structure: str, digest: str) -> bool:
        """Whether a person wants nothing computed from these prompts."""
        return (self.stopped or {}).get(structure) == digest

    def with_stopped(self, structure: str, digest: str) -> LiveSettings:
        """Copy in which nothing follows these prompts."""
        return replace(self, stopped={**(self.stopped or {}), structure: digest})

    @property
    def mask_options(self) -> SegmentOptions:
        """Of the mask, which comes first."""
        return SegmentOptions(0, self.uncertainty, triplanar=self.triplanar)

    def passes_options(self, *, triplanar: bool) -> SegmentOptions:
        """Of the passes on a mask that was propagated across three planes or not."""
        return SegmentOptions(self.samples, self.uncertainty, triplanar=triplanar)
