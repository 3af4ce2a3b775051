"""Reading of ``pacs.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, model_validator

from medsam_planner.errors import ConfigError
from medsam_planner.io.toml_tables import read_tables
from medsam_planner.network.listen_settings import Listen, Rule
from medsam_planner.network.settings import DicomwebNode, DimseNode, HttpServer, Local, NodeTable, Table

__all__ = ["PacsFile", "read_pacs_file"]

Some = TypeVar("Some", bound=BaseModel)


class PacsFile(Table):
    """The whole file."""

    local: Local = Local()
    nodes: dict[str, NodeTable] = Field(default_factory=dict)
    fhir: dict[str, HttpServer] = Field(default_factory=dict)
    listen: Listen | None = None
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _checked(self) -> PacsFile:
        for rule in self.rules:
            if rule.send_to not in self.nodes:
                raise ValueError(f"rules: expected send_to of '{rule.name}' to be a node, got '{rule.send_to}'")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("rules: expected different names")
        return self

    def node(self, name: str) -> DicomwebNode | DimseNode:
        """The node of a name.

        Raises
        ------
        ConfigError
            If there is none; the message lists the others.
        """
        if name not in self.nodes:
            known = ", ".join(sorted(self.nodes)) or "none"
            raise ConfigError(f"Expected a node of the pacs file, got '{name}'; it has: {known}.")
        return self.nodes[name]


def read_pacs_file(path: Path) -> PacsFile:
    """Read and check the file; its paths become absolute. No secret is read.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong; the message names every one.
    """
    return placed(read_tables(path, PacsFile, "pacs file", may_hold_secrets=True), path.resolve().parent)


def placed(table: Some, folder: Path) -> Some:
    """The table with all its paths, at any depth, made absolute from `folder`."""
    return table.model_copy(update={name: _placed(value, folder) for name, value in table})


def _placed(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, BaseModel):
        return placed(value, folder)
    if isinstance(value, dict):
        return {key: _placed(one, folder) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_placed(one, folder) for one in value)
    return value
