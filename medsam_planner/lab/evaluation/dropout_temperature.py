"""The temperature of MC dropout: fitted on half of the patients, measured on the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.lab.evaluation.finished import FinishedStructures
from medsam_planner.lab.evaluation.records import DropoutRecord
from xai.errors import UncertaintyError

__all__ = ["FittedTemperature", "fit_temperature", "halves"]

VOXELS = 10_000
"""At most so many voxels per patient, so that patients with many structures do not dominate."""


@dataclass(frozen=True, slots=True)
class FittedTemperature:
    """A temperature, fitted on half of the patients of each modality and measured on the other half."""

    temperature: float
    fitted_on: int
    """Patients."""
    measured_on: int
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float


def fit_temperature(
    records: Sequence[DropoutRecord], finished: FinishedStructures, seed: int
) -> FittedTemperature | None:
    """Fit the temperature of MC dropout on half of the patients, and measure it on the others.

    Parameters
    ----------
    records : sequence of DropoutRecord
        Structures with metrics.
    finished : FinishedStructures
        The folder of their logits and references.
    seed : int
        Of the halves and of the voxels.

    Returns
    -------
    FittedTemperature or None
        None with fewer than two patients, or where no temperature is best.
    """
    from xai.calibration import brier_score, fit_dropout_temperature, mean_of_scaled_passes, measure_reliability

    fitting, measuring = halves({record.patient: record.modality for record in records}, seed)
    if not fitting or not measuring:
        return None

    def pooled(patients: frozenset[str]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        shares = [_patient(name, records, finished, seed) for name in sorted(patients)]
        return np.concatenate([share[0] for share in shares], axis=1), np.concatenate([share[1] for share in shares])

    try:
        temperature = fit_dropout_temperature(*pooled(fitting))
    except UncertaintyError:
        return None
    logits, reference = pooled(measuring)
    before, after = mean_of_scaled_passes(logits, 1.0), mean_of_scaled_passes(logits, temperature)
    return FittedTemperature(
        temperature=temperature,
        fitted_on=len(fitting),
        measured_on=len(measuring),
        ece_before=measure_reliability(before, reference).expected_calibration_error,
        ece_after=measure_reliability(after, reference).expected_calibration_error,
        brier_before=brier_score(before, reference),
        brier_after=brier_score(after, reference),
    )


def _patient(
    name: str, records: Sequence[DropoutRecord], finished: FinishedStructures, seed: int
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """(T, N) logits and (N,) reference of a patient; at most `VOXELS`, so that patients have a similar weight."""
    bands = [finished.arrays(record.key) for record in records if record.patient == name]
    logits = np.concatenate([band["logits"] for band in bands], axis=1)
    reference = np.concatenate([band["truth"] for band in bands])
    chosen = np.random.default_rng([seed, *name.encode()]).permutation(len(reference))[:VOXELS]
    return logits[:, chosen], reference[chosen]


def halves(modality_by_patient: dict[str, str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Split the patients at random into two halves, with patients of every modality in both."""
    names = sorted(modality_by_patient)
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    dealt = sorted(shuffled, key=lambda name: modality_by_patient[name])
    return frozenset(dealt[::2]), frozenset(dealt[1::2])
