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

Version 2 adds three kinds of entries; files without them are still written as version 1, which older releases read::

    {"kind": "initial_mask", "mask": {"first_voxel_lps_mm": [x, y, z], "voxel_steps_lps_mm": [[x, y, z], ...],
                                      "size": [k, j, i], "runs": "4 12 8 12"}}
    {"kind": "edit", "mask": {...}, "positive": false}
    {"kind": "removal", "prompt": 0}

Version 3 adds ``"notes": ["..."]`` to an ``initial_mask``: what is not known of it. Files without notes are written as
an earlier version.

``runs`` holds the numbers of voxels that lie outside, inside, outside and so on (:class:`prompts.VoxelMask`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

from prompts.log import Choice, Clear, Entry, PromptLog, Removal
from prompts.record import PromptFile, Provenance
from prompts.shapes import Box, Click, Edit, InitialMask, PositionLpsMm, Scribble
from prompts.strict import Node
from prompts.voxel_mask import VoxelMask

__all__ = ["SCHEMA_VERSION", "prompt_file_document", "prompt_file_from_node"]

SCHEMA_VERSION = 3
"""The latest version; files are written in the earliest one that has all of their kinds of entries."""
_SINCE_2 = (InitialMask, Edit, Removal)
_KINDS_SINCE_2 = frozenset({"initial_mask", "edit", "removal"})
_RUNS = re.compile(r"[0-9]+( [0-9]+)*")
_LONGEST_RUN_DIGITS = 12
"""No grid has more voxels."""


def prompt_file_document(prompt_file: PromptFile) -> dict[str, Any]:
    """A prompt file as a JSON object, with keys in the order of the schema."""
    document: dict[str, Any] = {
        "schema_version": _earliest_version(prompt_file),
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
    if not 1 <= version.integer() <= SCHEMA_VERSION:
        version.refuse(f"1 to {SCHEMA_VERSION}", "A file of a later version needs a later release of this program.")
    if root["frame"].text() != "LPS":
        root["frame"].refuse('"LPS"', "From RAS, change the sign of the first two numbers of every position.")
    if root["unit"].text() != "mm":
        root["unit"].refuse('"mm"', "Convert every position to millimetres.")
    kinds = _readers(version.integer())
    logs = tuple(_log(name, entries, kinds) for name, entries in root["structures"].items())
    if not logs:
        root["structures"].refuse("at least one structure", 'For example {"liver": [...]}.')
    return PromptFile(logs, _provenance(root["provenance"]) if "provenance" in root else Provenance())


def _earliest_version(prompt_file: PromptFile) -> int:
    entries = [entry for log in prompt_file.logs for entry in log.history]
    if any(isinstance(entry, InitialMask) and entry.notes for entry in entries):
        return 3
    return 2 if any(isinstance(entry, _SINCE_2) for entry in entries) else 1


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
        case InitialMask():
            notes = {"notes": list(entry.notes)} if entry.notes else {}
            return {"kind": "initial_mask", "mask": _mask_document(entry.mask), **notes}
        case Edit():
            return {"kind": "edit", "mask": _mask_document(entry.mask), "positive": entry.positive}
        case Removal():
            return {"kind": "removal", "prompt": entry.prompt}


def _mask_document(mask: VoxelMask) -> dict[str, Any]:
    return {
        "first_voxel_lps_mm": mask.first_voxel_lps_mm,
        "voxel_steps_lps_mm": mask.voxel_steps_lps_mm,
        "size": mask.size,
        "runs": " ".join(map(str, mask.runs)),  # text, because a list would take a line for each run
    }


def _log(structure: str, entries: Node, kinds: dict[str, Callable[[Node], Entry]]) -> PromptLog:
    history: list[Entry] = []
    undone = 0
    for entry in entries.elements():
        history.append(_entry(entry, kinds))
        if "undone" in entry and entry["undone"].flag():
            undone += 1
        elif undone:
            entry.refuse(
                "an undone entry after an undone one", 'Undone entries stand last: set "undone": true or move it.'
            )
    return entries.attempt(lambda: PromptLog.from_history(structure, history, undone=undone))


def _readers(version: int) -> dict[str, Callable[[Node], Entry]]:
    """Readers of the kinds of entries that a version of the schema has."""
    readers: dict[str, Callable[[Node], Entry]] = {
        "box": _box,
        "choice": _choice,
        "clear": _clear,
        "click": _click,
        "scribble": _scribble,
    }
    if version >= 2:
        readers |= {"edit": _edit, "initial_mask": _initial_mask, "removal": _removal}
    if version >= 3:
        readers |= {"initial_mask": _noted_initial_mask}
    return readers


def _entry(node: Node, kinds: dict[str, Callable[[Node], Entry]]) -> Entry:
    node.require_keys({"kind"}, others_allowed=True)
    kind = node["kind"].text()
    if kind not in kinds:
        advice = 'This kind needs "schema_version": 2.' if kind in _KINDS_SINCE_2 else ""
        node["kind"].refuse(" or ".join(f'"{known}"' for known in kinds), advice)
    return kinds[kind](node)


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


def _initial_mask(node: Node) -> InitialMask:
    node.require_keys({"kind", "mask"}, optional={"undone"})
    return InitialMask(_mask(node["mask"]))


def _noted_initial_mask(node: Node) -> InitialMask:
    node.require_keys({"kind", "mask"}, optional={"notes", "undone"})
    mask, notes = _mask(node["mask"]), [note.text() for note in node["notes"].elements()] if "notes" in node else []
    return node.attempt(lambda: InitialMask(mask, tuple(notes)))


def _edit(node: Node) -> Edit:
    node.require_keys({"kind", "mask"}, optional={"positive", "undone"})
    return Edit(_mask(node["mask"]), positive=_positive(node))


def _removal(node: Node) -> Removal:
    node.require_keys({"kind", "prompt"}, optional={"undone"})
    return Removal(node["prompt"].integer(at_least=0))


def _mask(node: Node) -> VoxelMask:
    node.require_keys({"first_voxel_lps_mm", "voxel_steps_lps_mm", "size", "runs"})
    first = _vector(node["first_voxel_lps_mm"])
    k_step, j_step, i_step = (_vector(step) for step in node["voxel_steps_lps_mm"].elements(3))
    k, j, i = (count.integer(at_least=1) for count in node["size"].elements(3))
    counts = _counts(node["runs"].text())
    if counts is None:
        node["runs"].refuse("numbers of voxels with one space between them", 'For example "0 12 28 12".')
    return node.attempt(lambda: VoxelMask(first, (k_step, j_step, i_step), (k, j, i), counts))


@lru_cache(maxsize=8)
def _counts(runs: str) -> tuple[int, ...] | None:
    """The numbers in a text; None where it is malformed. Kept, because the same log is read again for each prompt."""
    if not _RUNS.fullmatch(runs) or any(len(run) > _LONGEST_RUN_DIGITS for run in runs.split()):
        return None
    return tuple(int(run) for run in runs.split())


def _vector(node: Node) -> PositionLpsMm:
    x, y, z = node.numbers(3)
    return x, y, z


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
