"""The cases that a person named, a project or a folder of cases, as examples of one structure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from medsam_planner.errors import ConfigError
from medsam_planner.lab.adaptation.chosen import labelled
from medsam_planner.lab.automatic.examples import Example
from medsam_planner.lab.evaluation.cases import Case, find_cases
from medsam_planner.lab.project.project import Project

__all__ = ["examples_in", "taken_cases"]


def taken_cases(folder: Path, only: Sequence[str] = ()) -> list[Case]:
    """Cases of a folder, or the reviewed studies of a project.

    Parameters
    ----------
    folder : Path
    only : sequence of str
        Patterns of names; all if empty.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if not (folder / "project.toml").is_file():
        return find_cases(folder, only)
    found = Project(folder).reviewed_cases()
    chosen = [one for one in found if not only or any(fnmatch(one.name, pattern) for pattern in only)]
    if not chosen:
        raise ConfigError(f"None of the {len(found)} reviewed studies has a name that matches {' or '.join(only)}.")
    return chosen


def examples_in(folder: Path, label: str, only: Sequence[str] = ()) -> list[Example]:
    """Examples of a structure.

    Parameters
    ----------
    folder, only
        As of :func:`taken_cases`.
    label : str
        Name of the structure, or the number of its label.

    Raises
    ------
    ConfigError
        As :func:`~medsam_planner.lab.adaptation.chosen.labelled`, or if a case does not state its patient.
    """
    shown = labelled(taken_cases(folder, only), label)
    for one in shown:
        if not json.loads((one.case.folder / "meta.json").read_text(encoding="utf-8")).get("subject"):
            raise ConfigError(
                f'{one.case.folder / "meta.json"} does not state the patient. Add "subject": a pseudonym, the same in '
                "all cases of a patient, so that no patient is trained on and held back at once."
            )
    reviewed = Project(folder).reviewed() if (folder / "project.toml").is_file() else []
    slices = {one.study.name: one.slices for one in reviewed}
    return [Example(one, slices.get(one.case.name)) for one in shown]
