"""Error of landmarks against readers, in mm, with an interval over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.statistics import Estimate, mean_over_patients

__all__ = ["LandmarkStudy", "landmark_study"]


@dataclass(frozen=True, slots=True)
class LandmarkStudy:
    """Distances of one method's landmarks from the readers' middle, and of the readers from each other."""

    error_mm: Estimate
    error_mm_by_landmark: Mapping[str, Estimate]
    reader_mm: Estimate | None
    """Mean distance between two readers; None with one reader."""


def landmark_study(
    found: Mapping[str, Mapping[str, ArrayLike]],
    readers: Mapping[str, Sequence[Mapping[str, ArrayLike]]],
    *,
    seed: int = 0,
) -> LandmarkStudy:
    """Compare landmarks with those of readers.

    Parameters
    ----------
    found : mapping
        Position (3,), LPS mm, by patient and landmark.
    readers : mapping
        By patient: one mapping of landmark to position for each reader.
    seed : int
        Of the bootstrap over patients.

    Raises
    ------
    ConfigError
        If a patient has no reader, or no landmark was set by both sides.
    """
    errors: list[tuple[str, str, float]] = []
    between: list[tuple[str, float]] = []
    for patient, points in found.items():
        theirs = readers.get(patient, ())
        if not theirs:
            raise ConfigError(f"Expected landmarks of at least one reader for patient '{patient}', got none.")
        for name, place in points.items():
            given = [np.asarray(one[name], dtype=np.float64) for one in theirs if name in one]
            if not given:
                continue
            distance = float(np.linalg.norm(np.asarray(place, dtype=np.float64) - np.mean(given, axis=0)))
            errors.append((patient, name, distance))
            between += [
                (patient, float(np.linalg.norm(one - other)))
                for number, one in enumerate(given)
                for other in given[number + 1 :]
            ]
    if not errors:
        raise ConfigError("Expected a landmark of one name from both sides, got none.")
    names = dict.fromkeys(name for _, name, _ in errors)
    return LandmarkStudy(
        _mean([(patient, value) for patient, _, value in errors], seed),
        {name: _mean([(patient, value) for patient, one, value in errors if one == name], seed) for name in names},
        _mean(between, seed) if between else None,
    )


def _mean(values: Sequence[tuple[str, float]], seed: int) -> Estimate:
    return mean_over_patients([value for _, value in values], [patient for patient, _ in values], seed=seed)
