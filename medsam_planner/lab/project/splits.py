"""Splits of a data set by patient, and the check that no patient is on two sides of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medsam_planner.errors import ConfigError

__all__ = ["check_splits", "splits_by_patient"]

Splits = list[dict[str, list[str]]]
"""As nnU-Net's ``splits_final.json``: for each fold the names under ``train`` and ``val``."""


def splits_by_patient(patients: Mapping[str, str], folds: int, *, seed: int = 0) -> Splits:
    """Cross-validation folds in which all studies of a patient are together.

    Parameters
    ----------
    patients : mapping
        Patient of each study.
    folds : int
        Fewer where there are fewer patients.
    seed : int

    Raises
    ------
    ConfigError
        If there are fewer than two patients or folds.
    """
    names = sorted(set(patients.values()))
    if len(names) < 2 or folds < 2:
        raise ConfigError(f"Expected two patients and two folds or more to split, got {len(names)} and {folds}.")
    shuffled = [names[int(number)] for number in np.random.default_rng(seed).permutation(len(names))]
    found: Splits = []
    for number in range(min(folds, len(names))):
        held = set(shuffled[number :: min(folds, len(names))])
        found.append(
            {
                "train": sorted(one for one, patient in patients.items() if patient not in held),
                "val": sorted(one for one, patient in patients.items() if patient in held),
            }
        )
    return found


def check_splits(splits: Sequence[Mapping[str, Sequence[str]]], patients: Mapping[str, str]) -> None:
    """Refuse splits in which a patient is on both sides, or that name a study which is not there.

    Parameters
    ----------
    splits : sequence of mapping
        As :func:`splits_by_patient` gives them.
    patients : mapping
        Patient of each study.

    Raises
    ------
    ConfigError
        Names the fold, the patient and the studies.
    """
    for fold, split in enumerate(splits):
        sides = {side: list(names) for side, names in split.items()}
        for side, names in sides.items():
            unknown = [name for name in names if name not in patients]
            if unknown:
                raise ConfigError(f"Fold {fold}, {side}: {unknown[0]!r} is no reviewed study of the project.")
        train, val = sides.get("train", []), sides.get("val", [])
        for patient in sorted({patients[name] for name in train} & {patients[name] for name in val}):
            there = [name for name in train if patients[name] == patient]
            here = [name for name in val if patients[name] == patient]
            raise ConfigError(
                f"Fold {fold}: patient {patient} is in two parts, {', '.join(there)} in train and {', '.join(here)} in "
                "val. Put all studies of a patient on one side, or leave the splits to this program."
            )
