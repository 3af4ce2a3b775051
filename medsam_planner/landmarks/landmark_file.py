"""Landmark files: named points of one study, strict JSON.

::

    {
      "kind": "medsam-planner landmarks",
      "schema_version": 1,
      "frame": "LPS",
      "unit": "mm",
      "landmarks": {
        "AC": {"position_lps_mm": [0.4, -3.1, 52.0]},
        "PC": {"position_lps_mm": [0.2, 22.6, 50.1], "clicked_lps_mm": [1, 23, 50], "refined": "darkest within 3 mm"}
      },
      "image_sha256": "..."
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom

from medsam_planner.errors import ConfigError, PromptError
from medsam_planner.io.files import write_json
from medsam_planner.volumes import volume_sha256
from prompts.json_text import parse_json
from prompts.shapes import Click, PositionLpsMm
from prompts.strict import Node
from prompts.text_file import read_text_file

__all__ = ["Landmark", "Landmarks", "read_landmarks", "write_landmarks"]

_HEAD: dict[str, str | int] = {
    "kind": "medsam-planner landmarks",
    "schema_version": 1,
    "frame": "LPS",
    "unit": "mm",
}


@dataclass(frozen=True, slots=True)
class Landmark:
    """One point.

    Raises
    ------
    PromptError
        If a position is not three finite numbers.
    """

    position_lps_mm: PositionLpsMm
    clicked_lps_mm: PositionLpsMm | None = None
    """Where it was clicked, if it was refined after that."""
    refined: str | None = None
    """How it was refined."""

    def __post_init__(self) -> None:
        for name in ("position_lps_mm", "clicked_lps_mm"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Click(value).position_lps_mm)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of one study by name, in order."""

    points: Mapping[str, Landmark] = field(default_factory=dict)
    image_sha256: str | None = None
    """Of the study's voxels and geometry (:func:`medsam_planner.volumes.volume_sha256`); None where not known."""

    @property
    def positions_lps_mm(self) -> dict[str, PositionLpsMm]:
        """Position by name."""
        return {name: point.position_lps_mm for name, point in self.points.items()}

    def position(self, name: str) -> PositionLpsMm:
        """Position of one landmark.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        if name not in self.points:
            raise ConfigError(f"Expected one of the landmarks {sorted(self.points) or 'none'}, got '{name}'.")
        return self.points[name].position_lps_mm

    def require_of(self, study: highdicom.Volume, where: str) -> None:
        """Refuse landmarks of another study; where none is stated, nothing can be checked.

        Raises
        ------
        ConfigError
        """
        if self.image_sha256 is not None and self.image_sha256 != volume_sha256(study):
            raise ConfigError(
                f"The landmarks in {where} were set on another study or series. Move them with `medsam-planner move`, "
                "or set them on this one."
            )


def read_landmarks(path: Path) -> Landmarks:
    """Read a landmark file.

    Raises
    ------
    ConfigError
        If it cannot be read or does not follow the schema; the message names the place.
    """
    try:
        root = Node(parse_json(read_text_file(path, "a landmark file", PromptError), str(path)), str(path))
        root.require_keys({*_HEAD, "landmarks"}, optional={"image_sha256"})
        root.require_values(_HEAD)
        points = {name: _point(node) for name, node in root["landmarks"].items()}
        if not points or not all(points):
            root["landmarks"].refuse("at least one named landmark")
        return Landmarks(points, root["image_sha256"].text() if "image_sha256" in root else None)
    except PromptError as error:
        raise ConfigError(str(error)) from error


def write_landmarks(path: Path, landmarks: Landmarks) -> None:
    """Write a landmark file atomically.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    document: dict[str, Any] = {**_HEAD, "landmarks": {name: _entry(one) for name, one in landmarks.points.items()}}
    if landmarks.image_sha256 is not None:
        document["image_sha256"] = landmarks.image_sha256
    write_json(path, document)


def _entry(point: Landmark) -> dict[str, Any]:
    entry: dict[str, Any] = {"position_lps_mm": list(point.position_lps_mm)}
    if point.clicked_lps_mm is not None:
        entry["clicked_lps_mm"] = list(point.clicked_lps_mm)
    if point.refined is not None:
        entry["refined"] = point.refined
    return entry


def _point(node: Node) -> Landmark:
    node.require_keys({"position_lps_mm"}, optional={"clicked_lps_mm", "refined"})
    x, y, z = node["position_lps_mm"].numbers(3)
    clicked: PositionLpsMm | None = None
    if "clicked_lps_mm" in node:
        a, b, c = node["clicked_lps_mm"].numbers(3)
        clicked = (a, b, c)
    refined = node["refined"].text() if "refined" in node else None
    return node.attempt(lambda: Landmark((x, y, z), clicked, refined))
