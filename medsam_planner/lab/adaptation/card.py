"""The card of adapted weights, Markdown: what they are of, what was gained, what was forgotten, what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from medsam_planner.lab.evaluation.statistics import paired_difference
from medsam_planner.lab.model_card.markdown_tables import markdown_table
from medsam_planner.provenance import versions

if TYPE_CHECKING:
    from medsam_planner.lab.adaptation.learner import Learner

__all__ = ["Measured", "card_text"]


@dataclass(frozen=True, slots=True)
class Measured:
    """3D Dice after one box, before and after the adaptation."""

    held_back_before: list[float]
    held_back_after: list[float]
    """Of the search for the number of steps, whose model had not seen these cases; empty where none was held back."""
    held_back_patients: list[str]
    other_groups: list[str]
    other_patients: list[str]
    others_before: list[float]
    others_after: list[float]
    is_procedural: bool
    """Whether the others are procedural anatomy."""


def card_text(
    label: str, learner: Learner, patients: int, cases_sha256: Sequence[str], steps: int, measured: Measured
) -> str:
    """The card; it names no case and no patient."""
    base = learner.base
    lines = [
        f"# Weights adapted to {label}",
        "",
        "Research use only. This file holds changes to base weights; it is of no use without them.",
        "",
        f"- Base: {base.name}, SHA-256 `{base.weights_sha256}`, unchanged",
        f"- Trained: {learner.trained}, {steps} steps",
        f"- Cases: {len(cases_sha256)} of {patients} patients, by the SHA-256 of image and labels:",
        *(f"    - `{one}`" for one in cases_sha256),
        "",
        "## What was gained",
        "",
        _gained(measured),
        "",
        "## What was forgotten",
        "",
        _forgotten(measured),
        "",
        "## What is not known",
        "",
        "- How it does on scanners, protocols and patients unlike the cases above.",
        "- The temperature of stochastic passes is the base's: it was not fitted again.",
        "- Margins: no calibration of the base applies, and calibration files of the base refuse these weights. Run "
        "`medsam-planner calibrate` with them, on other patients.",
        "",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _gained(measured: Measured) -> str:
    if not measured.held_back_before:
        return (
            "Not measured: all cases are of one patient, so none was held back, and the number of steps is a default. "
            "Review a second patient to know."
        )
    table = _table(measured.held_back_before, measured.held_back_after, measured.held_back_patients)
    return (
        "3D Dice after one loose box, on patients held back while the number of steps was chosen. The number of steps "
        "was chosen on these cases, so the gain is an optimistic one; the file itself is trained on all cases.\n\n"
        + table
    )


def _forgotten(measured: Measured) -> str:
    if not measured.others_before:
        return "Not measured: there was no case of other anatomy."
    of = "procedural anatomy" if measured.is_procedural else ", ".join(dict.fromkeys(measured.other_groups))
    table = _table(measured.others_before, measured.others_after, measured.other_patients)
    return f"3D Dice after one loose box on other anatomy ({of}).\n\n{table}"


def _table(before: Sequence[float], after: Sequence[float], patients: Sequence[str]) -> str:
    change = paired_difference(after, before, patients).difference
    interval = "one patient, no interval" if change.low is None else f"{change.low:+.3f} to {change.high:+.3f}"
    return markdown_table(
        ["structures (patients)", "base", "adapted", "change", "95 % interval"],
        [
            [
                f"{len(before)} ({len(set(patients))})",
                f"{fmean(before):.3f}",
                f"{fmean(after):.3f}",
                f"{change.mean:+.3f}",
                interval,
            ]
        ],
    )
