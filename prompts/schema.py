"""The schema of prompt files: the logs of one study's structures, with what is needed to rebuild the masks.

::

    {
      "schema_version": 1,
      "frame": "LPS",
      "unit": "mm",
      "structures": {
        "liver": [
          {"kind": "box", "corner_lps_mm": [x, y, z], "opposite_lps_mm": [x, y, z]},
          {"kind": "click", "position_lps_mm": [x, y, z], "positive": false},
          {"kind": "scribble", "positions_lps_mm": [[x, y, z], ...], "positive": true, "undone": true}
        ]
      },
      "provenance": {"image_sha256": "...", "seed": 0, ...}
    }

Entries are in the order in which they were given. ``{"kind": "clear"}`` removes all prompts before it, and ``{"kind":
"choice", "answer": 1}`` chooses the second best candidate prediction for the box or click before it. Entries marked
``undone`` come last and can be redone when the session is resumed. ``positive`` (default true), ``undone`` (default
false) and ``provenance`` may be absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from prompts.log import Choice, Clear, Entry, PromptLog
from prompts.record import PromptFile, Provenance
from prompts.shapes import Box, Click, Scribble
from prompts.strict import Node

__all__ = ["SCHEMA_VERSION", "prompt_file_document", "prompt_file_from_node"]

SCHEMA_VERSION = 1


def prompt_file_document(prompt_file: PromptFile) -> dict[str, Any]:
    """A prompt file as a JSON object, with keys in the order of the schema."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "frame": "LPS",
        "unit": "mm",
        "structures": {log.structure: _log_document(log) for log in prompt_file.logs},
    }
    provenance = {entry.name: getattr(prompt_file.provenance, entry.name) for entry in fields(Provenance)}
    for name in ("versions", "settings"):
        provenance[name] = _sorted(provenance[name])
    if known := {name: value for name, value in provenance.items() if value is not None and value != {}}:
        document["provenance"] = known
    return document


def prompt_file_from_node(root: Node) -> PromptFile:
    """Read the parsed JSON of a prompt file.

    Raises
    ------
    PromptError
        If it does not follow the schema.
    """
    root.require_keys({"schema_version", "frame", "unit", "structures"}, optional={"provenance"})
    version = root["schema_version"]
    if version.integer() != SCHEMA_VERSION:
        version.refuse(f"{SCHEMA_VERSION}", "A file of a later version needs a later release of this program.")
    if root["frame"].text() != "LPS":
        root["frame"].refuse('"LPS"', "From RAS, change the sign of the first two numbers of every position.")
    if root["unit"].text() != "mm":
        root["unit"].refuse('"mm"', "Convert every position to millimetres.")
    logs = tuple(_log(name, entries) for name, entries in root["structures"].items())
    if not logs:
        root["structures"].refuse("at least one structure", 'For example {"liver": [...]}.')
    return PromptFile(logs, _provenance(root["provenance"]) if "provenance" in root else Provenance())


def _log_document(log: PromptLog) -> list[dict[str, Any]]:
    entries = [_entry_document(entry) for entry in log.history]
    for entry in entries[len(entries) - log.undone :]:
        entry["undone"] = True
    return entries


def _entry_document(entry: Entry) -> dict[str, Any]:
    match entry:
        case Click():
            return {"kind": "click", "position_lps_mm": entry.position_lps_mm, "positive": entry.positive}
        case Box():
            return {
                "kind": "box",
                "corner_lps_mm": entry.corner_lps_mm,
                "opposite_lps_mm": entry.opposite_lps_mm,
            }
        case Scribble():
            return {"kind": "scribble", "positions_lps_mm": entry.positions_lps_mm, "positive": entry.positive}
        case Clear():
            return {"kind": "clear"}
        case Choice():
            return {"kind": "choice", "answer": entry.candidate}


def _log(structure: str, entries: Node) -> PromptLog:
    history: list[Entry] = []
    undone = 0
    for entry in entries.elements():
        history.append(_entry(entry))
        if "undone" in entry and entry["undone"].flag():
            undone += 1
        elif undone:
            entry.refuse(
                "an undone entry after an undone one", 'Undone entries stand last: set "undone": true or move it.'
            )
    return entries.attempt(lambda: PromptLog.from_history(structure, history, undone=undone))


def _entry(node: Node) -> Entry:
    readers: dict[str, Callable[[Node], Entry]] = {
        "box": _box,
        "choice": _choice,
        "clear": _clear,
        "click": _click,
        "scribble": _scribble,
    }
    node.require_keys({"kind"}, others_allowed=True)
    kind = node["kind"].text()
    if kind not in readers:
        node["kind"].refuse(" or ".join(f'"{known}"' for known in readers))
    return readers[kind](node)


def _click(node: Node) -> Click:
    node.require_keys({"kind", "position_lps_mm"}, optional={"positive", "undone"})
    position = node["position_lps_mm"].numbers(3)
    return node.attempt(lambda: Click(position, positive=_positive(node)))


def _box(node: Node) -> Box:
    node.require_keys({"kind", "corner_lps_mm", "opposite_lps_mm"}, optional={"undone"})
    corner, opposite = node["corner_lps_mm"].numbers(3), node["opposite_lps_mm"].numbers(3)
    return node.attempt(lambda: Box(corner, opposite))


def _scribble(node: Node) -> Scribble:
    node.require_keys({"kind", "positions_lps_mm"}, optional={"positive", "undone"})
    positions = [position.numbers(3) for position in node["positions_lps_mm"].elements()]
    return node.attempt(lambda: Scribble(positions, positive=_positive(node)))


def _clear(node: Node) -> Clear:
    node.require_keys({"kind"}, optional={"undone"})
    return Clear()


def _choice(node: Node) -> Choice:
    node.require_keys({"kind", "answer"}, optional={"undone"})
    return Choice(node["answer"].integer(at_least=0))


def _positive(node: Node) -> bool:
    return node["positive"].flag() if "positive" in node else True


def _provenance(node: Node) -> Provenance:
    readers: dict[str, Callable[[Node], Any]] = {
        "image_sha256": Node.text,
        "affine": lambda matrix: tuple(row.numbers(4) for row in matrix.elements(4)),
        "shape": lambda counts: tuple(count.integer(at_least=1) for count in counts.elements(3)),
        "frame_of_reference_uid": Node.text,
        "modality": Node.text,
        "window": Node.text,
        "model": Node.text,
        "weights_sha256": Node.text,
        "seed": lambda seed: seed.integer(at_least=0),
        "samples": lambda samples: samples.integer(at_least=0),
        "versions": lambda versions: {package: version.text() for package, version in versions.items()},
        "settings": Node.object,
    }
    node.require_keys(set(), optional=set(readers))
    return Provenance(**{key: readers[key](value) for key, value in node.items()})


def _sorted(value: Any) -> Any:
    """Objects with their keys in order: two equal mappings must give the same bytes however they were filled."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
