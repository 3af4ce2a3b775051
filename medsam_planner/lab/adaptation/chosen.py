"""The cases of one structure: which label it is in each, and which patients are held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.cases import Case, Structure
from medsam_planner.lab.evaluation.references import label_values, read_structures

__all__ = ["Labelled", "labelled", "split_by_patient"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A case that shows a structure, and the value of its label there."""

    case: Case
    value: int

    def structure(self, *, largest_part: bool = True) -> Structure:
        """The structure with image and reference.

        Raises
        ------
        StudyError, ConfigError
            As :func:`~medsam_planner.lab.evaluation.references.read_structures`.
        """
        (found,) = read_structures(self.case, largest_part=largest_part, labels=(self.value,))
        return found


def labelled(cases: Sequence[Case], label: str) -> list[Labelled]:
    """The cases that show a structure.

    Parameters
    ----------
    cases : sequence of Case
        Those without the structure are left out.
    label : str
        Name of the structure, upper and lower case alike, or the number of its label where labels have no names.

    Raises
    ------
    ConfigError
        If no case shows it, or a name and the labels of a case disagree.
    """
    found, names = [], set[str]()
    for case in cases:
        names |= set(case.label_names.values())
        values = [value for value, name in case.label_names.items() if name.casefold() == label.casefold()]
        if not values and label.isdecimal() and int(label) not in case.label_names:
            values = [int(label)]
        if len(values) > 1:
            raise ConfigError(f"{case.folder}: labels {values} are all named {label!r}. Give each its own name.")
        if not values:
            continue
        if values[0] not in label_values(case):
            if case.label_names:
                raise ConfigError(
                    f"{case.folder}: meta.json names label {values[0]} {label!r}, but its labels hold "
                    f"{label_values(case)} only. Correct the names, or leave the case out."
                )
            continue
        found.append(Labelled(case, values[0]))
    if not found:
        listed = ", ".join(sorted(names)[:20]) or "no names, so give the number of a label"
        raise ConfigError(f"None of the {len(cases)} cases shows {label!r}. Their structures: {listed}.")
    return found


def split_by_patient(shown: Sequence[Labelled], seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Cases to train on and cases held back: a quarter of the patients, at least one where there are two."""
    patients = sorted({one.case.patient for one in shown})
    if len(patients) < 2:
        return list(shown), []
    order = np.random.default_rng(seed).permutation(len(patients))
    back = {patients[int(number)] for number in order[: max(1, len(patients) // 4)]}
    return [one for one in shown if one.case.patient not in back], [one for one in shown if one.case.patient in back]
