"""What ``listen`` adds to ``pacs.toml``: who may send, and what is done with a series.

::

    [listen]
    peers = [{ ae_title = "CT1", address = "10.0.0.7" }]   # or a network: "10.0.0.0/24"; port = 104 where it takes
                                       # reports of storage commitment; without, in the association of its request
    quiet_s = 60                       # a series is complete when nothing has come for so long
    quiet_after_commitment_s = 5       # the same, once its sender has asked for storage commitment of all of it
    keep_free_mb = 2048                # below this an instance is refused as "out of resources"
    largest_instance_mb = 2048
    give_up_after_h = 24               # how long a node that is away is asked again
    tls = { cert_file = "own.pem", key_file = "own.key", ca_file = "peers-ca.pem" }

    [[rules]]                          # the first that fits is done
    name = "pelvis"
    modality = "CT"
    body_part = "PELVIS"               # as the header has it, in any capitals
    series = "bone|thin"               # regular expressions, found anywhere in the descriptions, in any capitals
    study = "trauma"
    prompts = "prompts/{PatientID}.json"   # {PatientID}, {AccessionNumber}, {StudyInstanceUID}, {SeriesInstanceUID}
    plan = "pelvis.toml"               # with it `run`, without it `segment`
    options = ["--samples", "8"]       # of that command
    send_to = "archive"
    send = ["*.dcm"]                   # which results
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from medsam_planner.network.settings import AeTitle, Port, Table, Tls

__all__ = ["FIELDS_OF_A_PATH", "Listen", "Peer", "Rule"]

FIELDS_OF_A_PATH = ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID")
"""Attributes that a path of prompts may name."""
_FIELD = re.compile(r"\{([^{}]*)\}")


class Peer(Table):
    """Who may send: a title together with an address."""

    ae_title: AeTitle
    address: str
    port: Port | None = None
    """Where it takes reports of storage commitment; None for one that waits in the association of its request."""

    @field_validator("address")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            ip_network(text, strict=False)
        except ValueError as error:
            raise ValueError("expected an address as 10.0.0.7, or a network as 10.0.0.0/24") from error
        return text

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The address, or all of a network."""
        return ip_network(self.address, strict=False)

    def is_at(self, address: str) -> bool:
        """Whether an address is the peer's."""
        return ip_address(address.partition("%")[0]) in self.network


class Listen(Table):
    """Who may send, and when a series is complete."""

    peers: Annotated[list[Peer], Field(min_length=1)]
    quiet_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    quiet_after_commitment_s: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    keep_free_mb: Annotated[float, Field(ge=0)] = 2048.0
    largest_instance_mb: Annotated[float, Field(gt=0)] = 2048.0
    give_up_after_h: Annotated[float, Field(ge=0)] = 24.0
    tls: Tls | None = None


class Rule(Table):
    """What is done with a series that fits."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    modality: str | None = None
    body_part: str | None = None
    series: str | None = None
    study: str | None = None
    prompts: Path
    plan: Path | None = None
    options: tuple[str, ...] = ()
    send_to: str
    send: Annotated[tuple[str, ...], Field(min_length=1)] = ("*.dcm",)

    @field_validator("series", "study")
    @classmethod
    def _is_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        return text

    @field_validator("prompts")
    @classmethod
    def _has_known_fields(cls, path: Path) -> Path:
        if unknown := [field for field in _FIELD.findall(str(path)) if field not in FIELDS_OF_A_PATH]:
            raise ValueError(f"expected fields {', '.join(FIELDS_OF_A_PATH)}, got {{{unknown[0]}}}")
        return path

    @field_validator("send")
    @classmethod
    def _is_below(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern or pattern.startswith("/") or ".." in Path(pattern).parts:
                raise ValueError("expected patterns of files among the results, such as *.dcm")
        return patterns

    @field_validator("options")
    @classmethod
    def _leaves_the_folder(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if any(option.split("=")[0] == "--out" for option in options):
            raise ValueError("expected options without --out: the listener names the folder of the results")
        return options

    def fits(self, header: Any) -> bool:
        """Whether a series with this header (a dataset) is meant."""

        def text(keyword: str) -> str:
            return str(header.get(keyword) or "").strip()

        return (
            (self.modality is None or self.modality.casefold() == text("Modality").casefold())
            and (self.body_part is None or self.body_part.casefold() == text("BodyPartExamined").casefold())
            and (self.series is None or re.search(self.series, text("SeriesDescription"), re.IGNORECASE) is not None)
            and (self.study is None or re.search(self.study, text("StudyDescription"), re.IGNORECASE) is not None)
        )
