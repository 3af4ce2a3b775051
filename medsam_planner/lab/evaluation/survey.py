"""The survey protocol beyond box and corrections: every mask offered for the box, a single click, a painted wall.

A box around a hollow structure may mean its wall or everything inside. To test this, the outer layer of the structure
on its middle slice is painted into the image with an intensity of its own, so that the wall has a visible border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.geometry import slice_across, spacing_mm
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.evaluation.protocols import (
    FirstPrompts,
    InteractionScores,
    Protocol,
    ellipse_dice,
    first_prompts,
)
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import StudyVolume, volume_like
from prompts import next_click

__all__ = ["HARM", "harmful_share", "survey", "walled"]

HARM = 0.02
"""Fall of the 3D Dice that makes a correction harmful."""
WALL_SHARE = 0.35
"""Thickness of a wall, relative to the radius of the largest disc inside the structure."""
SMALLEST_RADIUS_PX = 5.0
"""Smallest radius of that disc; the wall of a smaller structure would leave hardly any inside."""
WALL_CONTRAST = 0.5
"""Contrast of the painted wall, relative to the 5th to 95th percentile range of intensities around the structure."""


def survey(
    session: Session, structure: Structure, opening: FirstPrompts, scores: InteractionScores, model: PromptableModel
) -> dict[str, float | None]:
    """The additional metrics of :data:`~medsam_planner.lab.evaluation.protocols.Protocol.SURVEY`.

    Parameters
    ----------
    session : Session
        The session of the interaction; further structures are added to it.
    structure : Structure
        The structure with its reference.
    opening : FirstPrompts
        The first prompts.
    scores : InteractionScores
        Of the box and the corrections.
    model : PromptableModel
        The model of the session.

    Returns
    -------
    dict of str to float or None
        None where a metric does not exist.
    """
    reference = slice_across(structure.reference, opening.axis, opening.slice_index)
    for prompt in opening.prompts:
        session.add(prompt, structure="offered")
    ellipse = ellipse_dice(structure, opening)
    own = 0.0 if scores.slice_scores is None else scores.slice_scores.dice
    return {
        "slice_best_dice": _best_offered(session, reference),
        "below_ellipse": None if ellipse is None else float(own < ellipse),
        "harmful_corrections": harmful_share(scores),
        "click_slice_dice": _clicked(session, structure, reference),
        "wall_slice_dice": _wall_dice(structure, opening, model, session.seed),
    }


def harmful_share(scores: InteractionScores) -> float | None:
    """Share of the corrections after which the 3D Dice is lower by more than :data:`HARM`; None without corrections."""
    before = [step.scores.dice for step in scores.steps]
    falls = [
        before[number] - step.scores.dice for number, step in enumerate(scores.steps[1:]) if step.click is not None
    ]
    return float(np.mean([fall > HARM for fall in falls])) if falls else None


def walled(structure: Structure, opening: FirstPrompts) -> tuple[StudyVolume, NDArray[np.bool_]] | None:
    """Paint a wall on the middle slice of a structure.

    Parameters
    ----------
    structure : Structure
        The structure with its reference.
    opening : FirstPrompts
        Names the slice.

    Returns
    -------
    StudyVolume, (K, J, I) bool
        The study with the painted wall, and the wall; or None where the structure is too small.
    """
    reference = slice_across(structure.reference, opening.axis, opening.slice_index)
    pixel_mm = np.delete(spacing_mm(structure.volume.affine), opening.axis)
    depth_mm = ndimage.distance_transform_edt(np.pad(reference, 1), sampling=pixel_mm)[1:-1, 1:-1]
    if depth_mm.max() < SMALLEST_RADIUS_PX * pixel_mm.max():
        return None
    thickness_mm = max(WALL_SHARE * depth_mm.max(), 2 * pixel_mm.max())
    ring = reference & (depth_mm <= thickness_mm)
    image = np.array(structure.volume.array, dtype=np.float32)
    painted = slice_across(image, opening.axis, opening.slice_index)
    rows, columns = np.nonzero(reference)
    margin = int(np.ptp(rows) + np.ptp(columns)) // 4 + 2
    around = painted[
        max(rows.min() - margin, 0) : rows.max() + margin, max(columns.min() - margin, 0) : columns.max() + margin
    ]
    painted[ring] += WALL_CONTRAST * max(float(np.ptp(np.percentile(around, (5, 95)))), 1.0)
    wall = np.zeros(structure.reference.shape, dtype=bool)
    slice_across(wall, opening.axis, opening.slice_index)[...] = ring
    return StudyVolume.from_volume(volume_like(structure.volume, image), structure.volume.source), wall


def _best_offered(session: Session, reference: NDArray[np.bool_]) -> float:
    return max(dice(reference, offered.mask()) for offered in session.candidate_masks(structure="offered").predictions)


def _clicked(session: Session, structure: Structure, reference: NDArray[np.bool_]) -> float:
    opening = first_prompts(structure, Protocol.CLICK, session.seed)
    for prompt in opening.prompts:
        session.add(prompt, structure="clicked")
    return dice(reference, session.preview(structure="clicked")[opening.axis][opening.slice_index].mask())


def _wall_dice(structure: Structure, opening: FirstPrompts, model: PromptableModel, seed: int) -> float | None:
    painted = walled(structure, opening)
    if painted is None:
        return None
    study, wall = painted
    own = Session(study, model, seed=seed)
    for prompt in opening.prompts:
        own.add(prompt)
    predicted = np.zeros_like(wall)
    for clicks_left in (2, 1, 0):
        found = own.preview()[opening.axis][opening.slice_index].mask()
        slice_across(predicted, opening.axis, opening.slice_index)[...] = found
        click = next_click(wall, predicted, structure.volume.affine)
        if click is None or clicks_left == 0:
            break
        own.add(click)
    return dice(wall, predicted)
