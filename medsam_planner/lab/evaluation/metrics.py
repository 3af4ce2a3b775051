"""The metrics of an evaluation: names, meanings, and how they follow from the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medsam_planner.lab.evaluation.protocols import InteractionScores, Protocol
from medsam_planner.lab.evaluation.scores import area_under_scores, clicks_to

__all__ = ["METRICS", "Metric", "metrics_of", "metrics_shown"]

_LEVELS = {"080": 0.80, "090": 0.90}
_CHALLENGE_STEPS = 5
"""The challenge's area is under the last five scores: those after each of the five clicks that follow the box."""
_CHALLENGE_LEAST_DICE = 0.2
"""The challenge counts a surface Dice of 0 where the Dice is not above this."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, one column of the tables."""

    name: str
    label: str
    meaning: str
    digits: int = 3
    protocols: tuple[Protocol, ...] = (Protocol.BOX, Protocol.CLICK, Protocol.CVPR25, Protocol.SURVEY)


_PROPAGATED = (Protocol.BOX, Protocol.CLICK, Protocol.SURVEY)
_CHALLENGE = (Protocol.CVPR25,)
_SURVEY = (Protocol.SURVEY,)

METRICS = (
    Metric("slice_dice", "slice, Dice", "on the prompted slice, after the first prompt"),
    Metric("slice_surface_dice_2mm", "slice, NSD 2 mm", "on the prompted slice, after the first prompt"),
    Metric("slice_hd95_mm", "slice, HD95 mm", "on the prompted slice, after the first prompt", 1),
    Metric(
        "slice_best_dice",
        "slice, best of offered",
        "Dice of the best mask that is offered for the box",
        protocols=_SURVEY,
    ),
    Metric(
        "below_ellipse",
        "below ellipse",
        "share of boxes whose prediction is worse than their inscribed ellipse",
        2,
        _SURVEY,
    ),
    Metric("click_slice_dice", "single click, Dice", "on its slice, after one click off the centre", protocols=_SURVEY),
    Metric(
        "wall_slice_dice", "wall, Dice", "a painted wall on its slice, after a box and two clicks", protocols=_SURVEY
    ),
    Metric("first_dice", "3D first, Dice", "whole volume, after the first prompt"),
    Metric("first_surface_dice_1mm", "3D first, NSD 1 mm", "whole volume, after the first prompt"),
    Metric("first_surface_dice_2mm", "3D first, NSD 2 mm", "whole volume, after the first prompt"),
    Metric("first_surface_dice_5mm", "3D first, NSD 5 mm", "whole volume, after the first prompt"),
    Metric("first_hd95_mm", "3D first, HD95 mm", "whole volume, after the first prompt", 1),
    Metric("final_dice", "3D final, Dice", "whole volume, after the last correction"),
    Metric("final_surface_dice_1mm", "3D final, NSD 1 mm", "whole volume, after the last correction"),
    Metric("final_surface_dice_2mm", "3D final, NSD 2 mm", "whole volume, after the last correction"),
    Metric("final_surface_dice_5mm", "3D final, NSD 5 mm", "whole volume, after the last correction"),
    Metric("final_hd95_mm", "3D final, HD95 mm", "whole volume, after the last correction", 1),
    Metric("harmful_corrections", "harmful", "share of corrections that lower the 3D Dice by over 0.02", 3, _SURVEY),
    Metric(
        "mean_dice_over_clicks",
        "AUC over clicks, Dice",
        "area under the 3D Dice from the first prompt to the last correction (trapezoid), over the corrections: 0 to 1",
        protocols=_PROPAGATED,
    ),
    Metric(
        "mean_surface_dice_2mm_over_clicks",
        "AUC over clicks, NSD 2 mm",
        "the same for the surface Dice at 2 mm",
        protocols=_PROPAGATED,
    ),
    Metric("reached_080", "reach 0.80", "share of structures whose 3D Dice reaches 0.80", protocols=_PROPAGATED),
    Metric("reached_090", "reach 0.90", "share of structures whose 3D Dice reaches 0.90", protocols=_PROPAGATED),
    Metric(
        "clicks_to_080",
        "clicks to 0.80",
        "corrections after the first prompt until the 3D Dice reaches 0.80; one more than were given if it never does",
        1,
        _PROPAGATED,
    ),
    Metric(
        "clicks_to_090",
        "clicks to 0.90",
        "corrections after the first prompt until the 3D Dice reaches 0.90; one more than were given if it never does",
        1,
        _PROPAGATED,
    ),
    Metric(
        "first_slices_beyond",
        "slices beyond, first",
        "slices beyond the ends of the structure on which the mask is not empty",
        1,
    ),
    Metric("first_slices_missed", "slices missed, first", "slices of the structure on which the mask is empty", 1),
    Metric(
        "final_slices_beyond",
        "slices beyond, final",
        "slices beyond the ends of the structure on which the mask is not empty",
        1,
    ),
    Metric("final_slices_missed", "slices missed, final", "slices of the structure on which the mask is empty", 1),
    Metric("challenge_dsc_auc", "DSC AUC (of 4)", "area under the last five Dice", 2, _CHALLENGE),
    Metric("challenge_nsd_auc", "NSD AUC (of 4)", "area under the last five surface Dice at 2 mm", 2, _CHALLENGE),
    Metric("challenge_dsc_final", "DSC final", "Dice after the last correction", 3, _CHALLENGE),
    Metric(
        "challenge_nsd_final",
        "NSD final",
        "surface Dice at 2 mm after the last correction; 0 where the Dice is at most 0.2",
        3,
        _CHALLENGE,
    ),
    Metric("first_answer_s", "s, first slice", "encode and decode the prompted slice", 2),
    Metric("volume_s", "s, 3D", "from the prediction on the slice to the 3D mask", 2),
    Metric("correction_s", "s, correction", "mean over the corrections, each up to the new 3D mask", 2),
    Metric("total_s", "s, all", "sum of all", 1),
)


def metrics_shown(protocol: Protocol) -> tuple[Metric, ...]:
    """The columns of a protocol."""
    return tuple(metric for metric in METRICS if protocol in metric.protocols)


def metrics_of(
    scores: InteractionScores, protocol: Protocol, more: Mapping[str, float | None] | None = None
) -> dict[str, float | None]:
    """Every metric of an interaction, in the order of :data:`METRICS`; None where it does not exist.

    Parameters
    ----------
    scores : InteractionScores
        Scores of one interaction.
    protocol : Protocol
        The protocol of the evaluation.
    more : mapping, optional
        Metrics that do not follow from the scores, by name.
    """
    first, final, corrections = scores.steps[0], scores.steps[-1], len(scores.steps) - 1
    values: dict[str, float | None] = {}
    for prefix, own in (("slice", scores.slice_scores), ("first", first.scores), ("final", final.scores)):
        for name in ("dice", "surface_dice_1mm", "surface_dice_2mm", "surface_dice_5mm", "hd95_mm"):
            values[f"{prefix}_{name}"] = None if own is None else float(getattr(own, name))
    for prefix, step in (("first", first), ("final", final)):
        values[f"{prefix}_slices_beyond"] = step.ends.slices_beyond
        values[f"{prefix}_slices_missed"] = step.ends.slices_missed
    dices = [step.scores.dice for step in scores.steps]
    surfaces = [step.scores.surface_dice_2mm for step in scores.steps]
    values["mean_dice_over_clicks"] = area_under_scores(dices) / corrections if corrections else None
    values["mean_surface_dice_2mm_over_clicks"] = area_under_scores(surfaces) / corrections if corrections else None
    for name, level in _LEVELS.items():
        needed = clicks_to(dices, level)
        values[f"reached_{name}"] = float(needed is not None)
        values[f"clicks_to_{name}"] = float(corrections + 1 if needed is None else needed)
    values |= _challenge(dices, surfaces)
    corrected = [step.seconds for step in scores.steps[1:] if step.click is not None]
    values["first_answer_s"] = scores.first_answer_s
    values["volume_s"] = first.seconds
    values["correction_s"] = float(np.mean(corrected)) if corrected else None
    values["total_s"] = scores.first_answer_s + sum(step.seconds for step in scores.steps)
    values |= more or {}
    return {metric.name: values.get(metric.name) for metric in metrics_shown(protocol)}


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
