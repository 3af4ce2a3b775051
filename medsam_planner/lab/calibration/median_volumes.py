"""Which volume is usual for a structure, from the references of patients who take no part in a calibration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from fnmatch import fnmatch

from medsam_planner.calibration.record import UsualSize
from medsam_planner.lab.evaluation.cases import Case, reference_volumes_ml
from medsam_planner.progress import Progress, track

__all__ = ["usual_sizes"]


def usual_sizes(
    trained_on: Sequence[Case],
    set_aside: Sequence[Case],
    *,
    labels: Sequence[str] = ("*",),
    progress: Progress | None = None,
) -> dict[str, UsualSize]:
    """Median reference volume by the structure's name. Only labels are read, nothing is segmented.

    Never from calibration patients: their scores would then hang on their own reference masks, and on one another's,
    as the score of the next patient does not. They would no longer be drawn alike with it, and the quantile of their
    scores would promise nothing.

    Parameters
    ----------
    trained_on, set_aside : sequence of Case
        Of patients the weights were trained on, and of others; none of them is calibrated on.
    labels
        Patterns of structure names.
    progress : Progress, optional

    Returns
    -------
    dict of UsualSize
        A patient with several references of one name counts once, with their mean.
    """
    volumes_ml: dict[str, dict[str, list[float]]] = {}
    cases = [*trained_on, *set_aside]
    for case in track(cases, "usual sizes", progress, total=len(cases)):
        for name, volume_ml in reference_volumes_ml(case):
            if any(fnmatch(name, pattern) for pattern in labels):
                volumes_ml.setdefault(name, {}).setdefault(case.patient, []).append(volume_ml)
    seen = {case.patient for case in trained_on}
    return {
        name: UsualSize(
            median_ml=statistics.median(statistics.fmean(found) for found in by_patient.values()),
            trained_on=len(by_patient.keys() & seen),
            set_aside=len(by_patient.keys() - seen),
        )
        for name, by_patient in sorted(volumes_ml.items())
    }
