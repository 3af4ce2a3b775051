"""The figures by which an answer is judged: their names, what they mean, and how they follow from the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medsam_planner.lab.evaluation.protocols import Answer, Protocol
from medsam_planner.lab.evaluation.scores import area_under_scores, clicks_to

__all__ = ["FIGURES", "Figure", "figures_of", "figures_shown"]

_LEVELS = {"080": 0.80, "090": 0.90}
_CHALLENGE_STEPS = 5
"""The challenge's area is under the last five scores: with the first prompt and five clicks, those after each click."""
_CHALLENGE_LEAST_DICE = 0.2
"""Where the Dice is not above this, the challenge counts a surface Dice of 0."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of the tables."""

    name: str
    label: str
    meaning: str
    digits: int = 3
    protocols: tuple[Protocol, ...] = (Protocol.BOX, Protocol.CLICK, Protocol.CVPR25, Protocol.SURVEY)


_WALKED = (Protocol.BOX, Protocol.CLICK, Protocol.SURVEY)
_CHALLENGE = (Protocol.CVPR25,)
_SURVEY = (Protocol.SURVEY,)

FIGURES = (
    Figure("slice_dice", "slice, Dice", "on the prompted slice, after the first prompt"),
    Figure("slice_surface_dice_2mm", "slice, NSD 2 mm", "on the prompted slice, after the first prompt"),
    Figure("slice_hd95_mm", "slice, HD95 mm", "on the prompted slice, after the first prompt", 1),
    Figure("slice_best_dice", "slice, best of offered", "Dice of the best answer that is offered", protocols=_SURVEY),
    Figure("below_ellipse", "below ellipse", "share of boxes answered worse than by their ellipse", 2, _SURVEY),
    Figure("click_slice_dice", "lone click, Dice", "on its slice, after one click off the centre", protocols=_SURVEY),
    Figure("wall_slice_dice", "wall, Dice", "a painted wall on its slice, box and two clicks", protocols=_SURVEY),
    Figure("first_dice", "3D first, Dice", "whole volume, after the first prompt alone"),
    Figure("first_surface_dice_1mm", "3D first, NSD 1 mm", "whole volume, after the first prompt alone"),
    Figure("first_surface_dice_2mm", "3D first, NSD 2 mm", "whole volume, after the first prompt alone"),
    Figure("first_surface_dice_5mm", "3D first, NSD 5 mm", "whole volume, after the first prompt alone"),
    Figure("first_hd95_mm", "3D first, HD95 mm", "whole volume, after the first prompt alone", 1),
    Figure("final_dice", "3D final, Dice", "whole volume, after the last correction"),
    Figure("final_surface_dice_1mm", "3D final, NSD 1 mm", "whole volume, after the last correction"),
    Figure("final_surface_dice_2mm", "3D final, NSD 2 mm", "whole volume, after the last correction"),
    Figure("final_surface_dice_5mm", "3D final, NSD 5 mm", "whole volume, after the last correction"),
    Figure("final_hd95_mm", "3D final, HD95 mm", "whole volume, after the last correction", 1),
    Figure("harmful_corrections", "harmful", "share of corrections that lower the 3D Dice by over 0.02", 3, _SURVEY),
    Figure(
        "mean_dice_over_clicks",
        "AUC over clicks, Dice",
        "area under the 3D Dice from the first prompt to the last correction (trapezoid), over the corrections: 0 to 1",
        protocols=_WALKED,
    ),
    Figure(
        "mean_surface_dice_2mm_over_clicks",
        "AUC over clicks, NSD 2 mm",
        "the same of the surface Dice at 2 mm",
        protocols=_WALKED,
    ),
    Figure("reached_080", "reach 0.80", "share of structures whose 3D Dice reaches 0.80", protocols=_WALKED),
    Figure("reached_090", "reach 0.90", "share of structures whose 3D Dice reaches 0.90", protocols=_WALKED),
    Figure(
        "clicks_to_080",
        "clicks to 0.80",
        "corrections after the first prompt until the 3D Dice is 0.80; one more than were given where it never is",
        1,
        _WALKED,
    ),
    Figure(
        "clicks_to_090",
        "clicks to 0.90",
        "corrections after the first prompt until the 3D Dice is 0.90; one more than were given where it never is",
        1,
        _WALKED,
    ),
    Figure("first_slices_beyond", "slices beyond, first", "slices past the structure's ends that the mask enters", 1),
    Figure("first_slices_missed", "slices missed, first", "slices of the structure on which the mask is empty", 1),
    Figure("final_slices_beyond", "slices beyond, final", "slices past the structure's ends that the mask enters", 1),
    Figure("final_slices_missed", "slices missed, final", "slices of the structure on which the mask is empty", 1),
    Figure("challenge_dsc_auc", "DSC AUC (of 4)", "area under the last five Dice", 2, _CHALLENGE),
    Figure("challenge_nsd_auc", "NSD AUC (of 4)", "area under the last five surface Dice at 2 mm", 2, _CHALLENGE),
    Figure("challenge_dsc_final", "DSC final", "Dice after the last correction", 3, _CHALLENGE),
    Figure(
        "challenge_nsd_final",
        "NSD final",
        "surface Dice at 2 mm after the last correction; 0 where the Dice is at most 0.2",
        3,
        _CHALLENGE,
    ),
    Figure("first_answer_s", "s, first answer", "encode and decode the prompted slice", 2),
    Figure("volume_s", "s, 3D", "from the answer on the slice to the 3D mask", 2),
    Figure("correction_s", "s, correction", "mean of the corrections, each to a new 3D mask", 2),
    Figure("total_s", "s, all", "all of them together", 1),
)


def figures_shown(protocol: Protocol) -> tuple[Figure, ...]:
    """The columns of a protocol."""
    return tuple(figure for figure in FIGURES if protocol in figure.protocols)


def figures_of(
    answer: Answer, protocol: Protocol, more: Mapping[str, float | None] | None = None
) -> dict[str, float | None]:
    """Every figure of one answer, in the order of :data:`FIGURES`; None where it does not exist.

    Parameters
    ----------
    answer : Answer
    protocol : Protocol
    more : mapping, optional
        Figures that do not follow from the answer, by name.
    """
    first, final, corrections = answer.steps[0], answer.steps[-1], len(answer.steps) - 1
    found: dict[str, float | None] = {}
    for prefix, scores in (("slice", answer.slice_scores), ("first", first.scores), ("final", final.scores)):
        for name in ("dice", "surface_dice_1mm", "surface_dice_2mm", "surface_dice_5mm", "hd95_mm"):
            found[f"{prefix}_{name}"] = None if scores is None else float(getattr(scores, name))
    for prefix, step in (("first", first), ("final", final)):
        found[f"{prefix}_slices_beyond"] = step.ends.slices_beyond
        found[f"{prefix}_slices_missed"] = step.ends.slices_missed
    dices = [step.scores.dice for step in answer.steps]
    surfaces = [step.scores.surface_dice_2mm for step in answer.steps]
    found["mean_dice_over_clicks"] = area_under_scores(dices) / corrections if corrections else None
    found["mean_surface_dice_2mm_over_clicks"] = area_under_scores(surfaces) / corrections if corrections else None
    for name, level in _LEVELS.items():
        needed = clicks_to(dices, level)
        found[f"reached_{name}"] = float(needed is not None)
        found[f"clicks_to_{name}"] = float(corrections + 1 if needed is None else needed)
    found |= _challenge(dices, surfaces)
    corrected = [step.seconds for step in answer.steps[1:] if step.click is not None]
    found["first_answer_s"] = answer.first_answer_s
    found["volume_s"] = first.seconds
    found["correction_s"] = float(np.mean(corrected)) if corrected else None
    found["total_s"] = answer.first_answer_s + sum(step.seconds for step in answer.steps)
    found |= more or {}
    return {figure.name: found.get(figure.name) for figure in figures_shown(protocol)}


def _challenge(dices: Sequence[float], surfaces: Sequence[float]) -> dict[str, float | None]:
    counted = [
        surface if value > _CHALLENGE_LEAST_DICE else 0.0 for value, surface in zip(dices, surfaces, strict=True)
    ]
    return {
        "challenge_dsc_auc": area_under_scores(dices[-_CHALLENGE_STEPS:]),
        "challenge_nsd_auc": area_under_scores(counted[-_CHALLENGE_STEPS:]),
        "challenge_dsc_final": dices[-1],
        "challenge_nsd_final": counted[-1],
    }
