"""``deidentification.json``: what was done, in numbers, without any identifier and without names of input files."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medsam_planner.deidentification.profile import Profile
from medsam_planner.deidentification.pseudonyms import Pseudonyms
from medsam_planner.errors import ConfigError, OutputError
from medsam_planner.io.files import write_json
from prompts.whole_file import is_partial

__all__ = ["REPORT", "Deidentified", "begin_report", "finish_report"]

REPORT = "deidentification.json"
_KIND = "medsam-planner deidentification"
_NOTE = (
    "Research use only. A person has to look at the results before they are passed on: no rule recognises every "
    "identifier in pixels."
)
_OTHER_FILE = re.compile(r"it has the SOPInstanceUID of .* and another content")
_DETAIL = re.compile(r" \(.*\)")


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What was done with a folder."""

    out: Path
    counts: Mapping[str, int]
    """Files by what became of them: ``"written"``, ``"already there"``, ``"left out"``, ``"refused"``."""
    left_out: Mapping[str, int]
    """Files by why they were left out by rule."""
    refused: tuple[tuple[str, str], ...]
    """Name and reason of each file that was not written and could be after a change. Names may identify a patient."""
    warnings: tuple[str, ...]


def begin_report(out: Path, profile: Profile, pseudonyms: Pseudonyms) -> None:
    """Check that `out` is empty or of an earlier run with the same settings, and write what this run will do.

    Raises
    ------
    OutputError
        If it holds files and no report of this program.
    ConfigError
        If the key or the options were others.
    """
    settings = _settings(profile, pseudonyms)
    path = out / REPORT
    if not path.is_file():
        if any(not is_partial(name) for name in os.listdir(out)):
            raise OutputError(
                f"Expected an empty folder, or one that this command wrote, for the results; {out} holds other files. "
                "Name a new folder."
            )
        write_json(path, {"kind": _KIND, "settings": settings, "is_complete": False})
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        kind, before = earlier["kind"], earlier["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is no report of this program. Name a new folder.") from error
    if kind != _KIND or before != settings:
        raise ConfigError(
            f"{out} was written with another key or other options, so its files and the new ones would not fit "
            "together. Use the same ones, or name a new folder."
        )
    write_json(path, {**earlier, "is_complete": False})


def finish_report(done: Deidentified, profile: Profile, pseudonyms: Pseudonyms, attributes: Counter[str]) -> None:
    """Write the counts of a run that has ended."""
    told = (_OTHER_FILE.sub("two files have one SOPInstanceUID", why) for _, why in done.refused)
    reasons = Counter(_DETAIL.sub("", why) for why in told)
    document: Mapping[str, Any] = {
        "kind": _KIND,
        "settings": _settings(profile, pseudonyms),
        "is_complete": True,
        "files": dict(done.counts),
        "left_out": dict(sorted(done.left_out.items())),
        "refused": dict(sorted(reasons.items())),
        "attributes_in_this_run": dict(sorted(attributes.items())),
        "warnings": list(done.warnings),
        "note": _NOTE,
    }
    write_json(done.out / REPORT, document)


def _settings(profile: Profile, pseudonyms: Pseudonyms) -> dict[str, Any]:
    return {
        "profile": "PS3.15 2026c, Basic Application Level Confidentiality Profile",
        "codes": [f"{code.value} {code.meaning}" for code in profile.codes()],
        "regions": [list(asdict(region).values()) for region in profile.regions],
        "key": pseudonyms.fingerprint,
        "version": version("medsam-planner"),
    }
