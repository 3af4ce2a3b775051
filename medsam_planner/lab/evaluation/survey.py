"""What is asked of a structure beside its box and the corrections: the other answers, a lone click, its wall.

A wall stands for what a box alone cannot tell from its inside. It is the outer layer of the structure on its middle
slice, painted as a tissue of its own, since a border that is nowhere to be seen can be found by nobody.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.geometry import slice_across, spacing_mm
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.evaluation.protocols import Answer, FirstPrompts, Protocol, ellipse_dice, first_prompts
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import StudyVolume, volume_like
from prompts import next_click

__all__ = ["HARM", "harmful_share", "survey", "walled"]

HARM = 0.02
"""Fall of the 3D Dice that makes a correction harmful."""
WALL_SHARE = 0.35
"""Thickness of a wall over the radius of the largest disc in the structure."""
SMALLEST_RADIUS_PX = 5.0
"""Of that disc; in a smaller structure a wall has no inside to speak of."""
WALL_CONTRAST = 0.5
"""Of the painted wall, over the spread of intensities around the structure."""


def survey(
    session: Session, structure: Structure, asked: FirstPrompts, answer: Answer, model: PromptableModel
) -> dict[str, float | None]:
    """The figures of :data:`~medsam_planner.lab.evaluation.protocols.Protocol.SURVEY`; None where one does not exist.

    Parameters
    ----------
    session : Session
        In which the structure was asked for under its usual name.
    structure : Structure
    asked : FirstPrompts
    answer : Answer
        What came of the box and the corrections.
    model : PromptableModel
        Name or path of the weights.
    """
    truth = slice_across(structure.truth, asked.axis, asked.slice_index)
    for prompt in asked.prompts:
        session.add(prompt, structure="offered")
    ellipse = ellipse_dice(structure, asked)
    own = 0.0 if answer.slice_scores is None else answer.slice_scores.dice
    return {
        "slice_best_dice": _best_offered(session, truth),
        "below_ellipse": None if ellipse is None else float(own < ellipse),
        "harmful_corrections": harmful_share(answer),
        "click_slice_dice": _clicked(session, structure, truth),
        "wall_slice_dice": _wall_dice(structure, asked, model, session.seed),
    }


def harmful_share(answer: Answer) -> float | None:
    """Share of an answer's corrections after which the 3D Dice is lower by more than :data:`HARM`."""
    before = [step.scores.dice for step in answer.steps]
    falls = [
        before[number] - step.scores.dice for number, step in enumerate(answer.steps[1:]) if step.click is not None
    ]
    return float(np.mean([fall > HARM for fall in falls])) if falls else None


def walled(structure: Structure, asked: FirstPrompts) -> tuple[StudyVolume, NDArray[np.bool_]] | None:
    """The study with the wall of a structure painted on its middle slice, and the wall; None where it is too small.

    Returns
    -------
    StudyVolume, (K, J, I) bool
    """
    truth = slice_across(structure.truth, asked.axis, asked.slice_index)
    pixel_mm = np.delete(spacing_mm(structure.volume.affine), asked.axis)
    depth_mm = ndimage.distance_transform_edt(np.pad(truth, 1), sampling=pixel_mm)[1:-1, 1:-1]
    if depth_mm.max() < SMALLEST_RADIUS_PX * pixel_mm.max():
        return None
    thickness_mm = max(WALL_SHARE * depth_mm.max(), 2 * pixel_mm.max())
    ring = truth & (depth_mm <= thickness_mm)
    image = np.array(structure.volume.array, dtype=np.float32)
    seen = slice_across(image, asked.axis, asked.slice_index)
    rows, columns = np.nonzero(truth)
    margin = int(np.ptp(rows) + np.ptp(columns)) // 4 + 2
    around = seen[
        max(rows.min() - margin, 0) : rows.max() + margin, max(columns.min() - margin, 0) : columns.max() + margin
    ]
    seen[ring] += WALL_CONTRAST * max(float(np.ptp(np.percentile(around, (5, 95)))), 1.0)
    wall = np.zeros(structure.truth.shape, dtype=bool)
    slice_across(wall, asked.axis, asked.slice_index)[...] = ring
    return StudyVolume.from_volume(volume_like(structure.volume, image), structure.volume.source), wall


def _best_offered(session: Session, truth: NDArray[np.bool_]) -> float:
    return max(dice(truth, answer.mask()) for answer in session.alternatives(structure="offered").predictions)


def _clicked(session: Session, structure: Structure, truth: NDArray[np.bool_]) -> float:
    asked = first_prompts(structure, Protocol.CLICK, session.seed)
    for prompt in asked.prompts:
        session.add(prompt, structure="clicked")
    return dice(truth, session.preview(structure="clicked")[asked.axis][asked.slice_index].mask())


def _wall_dice(structure: Structure, asked: FirstPrompts, model: PromptableModel, seed: int) -> float | None:
    made = walled(structure, asked)
    if made is None:
        return None
    study, wall = made
    own = Session(study, model, seed=seed)
    for prompt in asked.prompts:
        own.add(prompt)
    predicted = np.zeros_like(wall)
    for clicks_left in (2, 1, 0):
        found = own.preview()[asked.axis][asked.slice_index].mask()
        slice_across(predicted, asked.axis, asked.slice_index)[...] = found
        click = next_click(wall, predicted, structure.volume.affine)
        if click is None or clicks_left == 0:
            break
        own.add(click)
    return dice(wall, predicted)
