"""Population median volumes of structures, from reference masks of patients who take no part in a calibration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fnmatch import fnmatch

from medsam_planner.calibration.record import MedianVolume
from medsam_planner.lab.evaluation.cases import Case
from medsam_planner.lab.evaluation.references import reference_volumes_ml
from medsam_planner.progress import Progress, track

__all__ = ["median_volumes"]


def median_volumes(
    trained_on: Sequence[Case],
    set_aside: Sequence[Case],
    *,
    labels: Sequence[str] = ("*",),
    progress: Progress | None = None,
) -> dict[str, MedianVolume]:
    """Median reference volume by name of the structure. Only labels are read, nothing is segmented.

    Calibration patients must not be among these patients. Otherwise their scores would depend on their own reference
    masks and on those of the others, while the score of the next patient does not: calibration patients and the next
    patient would no longer be exchangeable, and the quantile of the scores would guarantee nothing.

    Parameters
    ----------
    trained_on, set_aside : sequence of Case
        Cases of patients the weights were trained on, and of others; no calibration patient among them.
    labels
        Patterns of structure names; all structures by default.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Returns
    -------
    dict of MedianVolume
        By name of the structure. A patient with several structures of one name counts once, with their mean.
    """
    volumes_ml: dict[str, dict[str, list[float]]] = {}
    cases = [*trained_on, *set_aside]
    for case in track(cases, "median volumes", progress, total=len(cases)):
        for name, volume_ml in reference_volumes_ml(case):
            if any(fnmatch(name, pattern) for pattern in labels):
                volumes_ml.setdefault(name, {}).setdefault(case.patient, []).append(volume_ml)
    in_training = {case.patient for case in trained_on}
    return {
        name: MedianVolume(
            median_ml=statistics.median(statistics.fmean(found) for found in by_patient.values()),
            trained_on=len(by_patient.keys() & in_training),
            set_aside=len(by_patient.keys() - in_training),
        )
        for name, by_patient in sorted(volumes_ml.items())
    }
