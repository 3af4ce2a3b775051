"""What the records of a study on masks answer of the check-lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medsam_planner.lab.readers.crossed_bootstrap import RESAMPLES
from medsam_planner.lab.readers.mask_comparison import METRICS
from medsam_planner.lab.readers.mask_study import MaskStudy
from medsam_planner.lab.readers.reader_masks import AGAIN
from medsam_planner.provenance import versions
from medsam_planner.reading.study_file import StudyFile

__all__ = ["mask_answers"]


def mask_answers(
    study: StudyFile, found: MaskStudy, tested: Mapping[str, Any], cautions: Sequence[str], headline: str
) -> dict[str, str]:
    """Sentences by the names of the records in ``checklist.toml``."""
    assert study.masks is not None
    cases, patients, readers = len(found.cases), len(found.patients), ", ".join(found.readers)
    second = [name for name in found.readers if any(f"{name}{AGAIN}" in case.path_by_reader for case in found.cases)]
    within = f"second readings of {', '.join(second)}" if second else "no second readings, so none within readers"
    metrics = ", ".join(metric.label for metric in METRICS.values())
    answers = {
        "sources": f"{cases} cases of {patients} patients; SHA-256 of every label map in study.json.",
        "structures": f"{len(found.structures)} structures: {', '.join(found.structures)}.",
        "missing": "Every reader must have read every case. A structure that one reader did not draw counts as empty, "
        "one that none drew is left out; both are listed among the cautions.",
        "reference": f"Consensus of the readers but the one compared, by {study.masks.reference}; beside it STAPLE and "
        "majority of all readers.",
        "why_reference": "No reader is compared with a reference that contains the reader itself.",
        "readers": f"Masks of {readers}. Their qualifications are not recorded: state them.",
        "variation": f"Between readers: scores against the others, ICC(2,1), κ, Bland–Altman; {within}.",
        "unit": "Patients are the unit of every interval and test.",
        "software": ", ".join(f"{name} {number}" for name, number in versions().items()) + ".",
        "metrics": metrics + ".",
        "statistics": f"95 % BCa intervals of {RESAMPLES} bootstrap samples over patients and readers.",
        "flow": f"{cases} cases read by {len(found.readers)} readers; none lost between reading and analysis.",
        "performance": headline,
        "precision": "Each mean has its interval: summary.csv.",
        "failures": "Every score of every case, structure and reader: scores.csv.",
        "goal": "Agreement of readers" + (f", and of the model {found.model} with them." if found.model else "."),
    }
    if study.masks.only or study.masks.structures:
        chosen = (*study.masks.only, *study.masks.structures)
        answers["subset"] = f"Chosen in the study file: {', '.join(chosen)}."
    if cautions:
        answers["limits"] = " ".join(cautions)
    stated = tested["stated"]
    if stated is not None:
        answers["hypothesis"] = (
            f"The model is not worse than readers by {stated['margin']:g} or more in "
            f"{METRICS[stated['metric']].label}, one-sided at {stated['alpha']:g}, stated in the study file."
        )
        answers["protocol"] = "The study file, by its SHA-256 in study.json."
    if tested.get("patients_needed") is not None:
        answers["power"] = (
            f"{tested['patients_needed']} patients for a power of {stated['power']:g} at a spread of "
            f"{stated['spread']:g} and a true difference of {stated['difference']:g} (paired t test)."
        )
    return answers
