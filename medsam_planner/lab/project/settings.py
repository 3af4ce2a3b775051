"""``project.toml``: what is annotated, by whom, and with which model. A person may edit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsam_planner.io.files import write_whole
from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.io.toml_tables import read_tables
from prompts.names import require_different

__all__ = ["ProjectSettings", "ProjectStructure", "coded", "read_settings", "write_settings"]

_Text = Annotated[str, Field(min_length=1, max_length=200)]


class ProjectStructure(BaseModel):
    """A structure with its anatomy in codes; without codes where the table does not know its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Text
    scheme: str = ""
    code: str = ""
    meaning: str = ""


class ProjectSettings(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: _Text
    model: _Text = "compact"
    annotators: list[_Text] = []
    """Who may change the project; anybody if empty."""
    structures: Annotated[list[ProjectStructure], Field(min_length=1)]

    @model_validator(mode="after")
    def _structures_can_be_told_apart(self) -> Self:
        require_different([one.name for one in self.structures])
        if len({one.name for one in self.structures}) < len(self.structures):
            raise ValueError("expected each structure once")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the structures; their labels are 1, 2, … in this order."""
        return [one.name for one in self.structures]


def coded(name: str) -> ProjectStructure:
    """A structure with the codes that the table of structures has for its name."""
    found = structure_codes(name)
    if not found.is_known:
        return ProjectStructure(name=name)
    concept = found.type
    return ProjectStructure(name=name, scheme=concept.scheme_designator, code=concept.value, meaning=concept.meaning)


def read_settings(path: Path) -> ProjectSettings:
    """Read ``project.toml``.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong.
    """
    return read_tables(path, ProjectSettings, "project file")


def write_settings(path: Path, settings: ProjectSettings) -> None:
    """Write ``project.toml``, whole or not at all."""
    lines = [
        "# An annotation project; see docs/use/annotate.md. Labels are numbered in the order of the structures.",
        f"schema_version = {settings.schema_version}",
        f"name = {_quoted(settings.name)}",
        f"model = {_quoted(settings.model)}",
        f"annotators = [{', '.join(map(_quoted, settings.annotators))}]",
    ]
    for structure in settings.structures:
        lines += ["", "[[structures]]"]
        lines += [f"{key} = {_quoted(value)}" for key, value in structure.model_dump().items() if value]
    write_whole(path, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
