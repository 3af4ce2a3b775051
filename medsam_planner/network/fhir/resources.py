"""Parts that all resources share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from medsam_planner.network.fhir.codings import full_url

__all__ = ["Entry", "Subject", "identifier"]


def identifier(system: str | None, value: str) -> dict[str, Any]:
    """An identifier; a patient ID may be without a system."""
    return {**({"system": system} if system else {}), "value": value}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom resources are about."""

    reference: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource that is created unless one with its first identifier exists."""

    resource: dict[str, Any]

    @property
    def kind(self) -> str:
        """Type of the resource."""
        return str(self.resource["resourceType"])

    @property
    def search(self) -> str:
        """The query that finds it by its identifier."""
        known = self.resource["identifier"][0]
        token = "|".join(quote(known[key], safe="") for key in ("system", "value") if known.get(key))
        return f"identifier={token}"

    @property
    def full_url(self) -> str:
        """Its address within the bundle."""
        return full_url(self.kind, self.search)

    @property
    def reference(self) -> dict[str, str]:
        """A reference to it from the same bundle."""
        return {"reference": self.full_url}

    def in_bundle(self) -> dict[str, Any]:
        """The entry as a transaction has it."""
        return {
            "fullUrl": self.full_url,
            "resource": self.resource,
            "request": {"method": "POST", "url": self.kind, "ifNoneExist": self.search},
        }
