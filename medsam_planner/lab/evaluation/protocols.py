"""Protocols of an evaluation: a simulated annotator prompts a structure through the session that a user has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.geometry import acquisition_axis, lps_from_index, slice_across, spacing_mm
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.evaluation.scores import EndScores, MaskScores, dice, end_scores, score
from medsam_planner.segmentation.session import Session
from prompts import Box, Click, box_extent, first_box, next_click
from prompts.annotator import inner_click, middle_slice

__all__ = [
    "FirstPrompts",
    "InteractionScores",
    "InteractionStep",
    "Protocol",
    "ellipse_dice",
    "first_prompts",
    "inscribed_ellipse",
    "simulate",
]

_VESSEL_WORDS = ("vessel", "artery", "arteries", "vein", "vascul")
"""The challenge gives no box for vessels: a box around a branching structure is not informative."""


class Protocol(Enum):
    """How a structure is prompted and corrected."""

    BOX = "box"
    """One loose 2D box on the middle slice; then corrections anywhere in the volume."""
    CLICK = "click"
    """One click off the centre of the middle slice; then corrections anywhere."""
    CVPR25 = "cvpr25"
    """The range of slices and a 2D box on the middle one; then corrections (comparable with the CVPR 2025 challenge for
    interactive 3D segmentation, whose own files decide what counts as its result)."""
    SURVEY = "survey"
    """As ``box``, and in addition every mask offered for the box, a single click, and a painted wall
    (:mod:`~medsam_planner.lab.evaluation.survey`)."""
    SLICES = "slices"
    """Many kinds of prompts on single slices, without propagation to 3D."""


@dataclass(frozen=True, slots=True)
class FirstPrompts:
    """The prompts given before the first prediction."""

    axis: int
    slice_index: int
    """The middle one of the slices that hold the structure, across `axis`."""
    prompts: tuple[Box | Click, ...]


@dataclass(frozen=True, slots=True)
class InteractionStep:
    """The 3D mask after the first prompt or after a correction."""

    click: Click | None
    """The correction; None for the first prompt, and where nothing was left to correct."""
    scores: MaskScores
    ends: EndScores
    seconds: float


@dataclass(frozen=True, slots=True)
class InteractionScores:
    """Scores of a model over one simulated interaction."""

    slice_scores: MaskScores | None
    """On the prompted slice, before propagation; None where no first prompt was given."""
    first_answer_s: float
    """Seconds from the first prompt to the prediction on its slice."""
    steps: tuple[InteractionStep, ...]
    """After the first prompt, then after each correction."""
    failure: str | None = None
    """Why the model failed; from then on an empty mask is scored."""


def first_prompts(structure: Structure, protocol: Protocol, seed: int) -> FirstPrompts:
    """The first prompts of a protocol. They are the same for every model.

    Parameters
    ----------
    structure : Structure
        The structure with its reference.
    protocol : Protocol
        The protocol of the evaluation.
    seed : int
        With the structure's key it determines the box or the click.

    Returns
    -------
    FirstPrompts
        Without any prompt where the protocol gives none (vessels in the CVPR 2025 protocol).
    """
    rng = np.random.default_rng([seed, *structure.key.encode()])
    affine, reference = structure.volume.affine, structure.reference
    axis = acquisition_axis(affine)
    others = tuple(other for other in range(3) if other != axis)
    filled = np.flatnonzero(reference.any(axis=others))
    index = middle_slice(reference, axis)
    box = first_box(reference, affine, axis, seed=int(rng.integers(2**31)))
    if protocol in (Protocol.BOX, Protocol.SURVEY):
        return FirstPrompts(axis, index, (box,))
    if protocol is Protocol.CLICK:
        pixel = inner_click(slice_across(reference, axis, index), rng)
        return FirstPrompts(axis, index, (Click(lps_from_index(affine, np.insert(pixel, axis, index))),))
    if any(word in structure.name.lower() for word in _VESSEL_WORDS):
        return FirstPrompts(axis, index, ())
    extent = box_extent(box, affine, reference.shape)
    low, high = extent.low_index.copy(), extent.high_index.copy()
    low[axis], high[axis] = filled[0], filled[-1]
    if low[axis] == high[axis]:
        return FirstPrompts(axis, index, (box,))
    corners = lps_from_index(affine, [low, high])
    return FirstPrompts(axis, index, (Box(corners[0], corners[1]), box))


def inscribed_ellipse(box: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The ellipse that touches the four sides of a box of pixel centres (first row, first column, last row, last)."""
    half = (box[2:] - box[:2] + 1) / 2
    centre = (box[2:] + box[:2]) / 2
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(((rows - centre[0]) / half[0]) ** 2 + ((columns - centre[1]) / half[1]) ** 2 <= 1)


def ellipse_dice(structure: Structure, opening: FirstPrompts) -> float | None:
    """Dice on the prompted slice of the ellipse inscribed in the 2D box; None without a box."""
    box = next((one for one in reversed(opening.prompts) if isinstance(one, Box)), None)
    if box is None:
        return None
    extent = box_extent(box, structure.volume.affine, structure.reference.shape)
    corners = np.delete(np.stack([extent.low_index, extent.high_index]), opening.axis, axis=1)
    reference = slice_across(structure.reference, opening.axis, opening.slice_index)
    return dice(
        reference, inscribed_ellipse(corners.reshape(4).astype(np.float64), (reference.shape[0], reference.shape[1]))
    )


def simulate(
    session: Session, structure: Structure, opening: FirstPrompts, *, corrections: int, triplanar: bool = False
) -> tuple[InteractionScores, NDArray[np.bool_], NDArray[np.bool_]]:
    """Prompt a fresh session, and correct its masks with one click after another.

    Parameters
    ----------
    session : Session
        On the structure's volume, without prompts.
    structure : Structure
        The structure with its reference.
    opening : FirstPrompts
        The first prompts.
    corrections : int
        Clicks, each inside the largest error of the mask before.
    triplanar : bool
        Whether propagation also runs across the other two planes.

    Returns
    -------
    InteractionScores, (K, J, I) bool, (K, J, I) bool
        The scores, the mask after the first prompt, and the mask after the last correction.
    """
    reference, affine = structure.reference, structure.volume.affine
    steps_mm = spacing_mm(affine)
    empty = np.zeros(reference.shape, dtype=bool)
    slice_scores, first_answer_s, failure = None, 0.0, None
    masks: list[NDArray[np.bool_]] = []
    steps: list[InteractionStep] = []

    def keep(mask: NDArray[np.bool_], click: Click | None, seconds: float) -> None:
        masks.append(mask)
        if len(masks) > 1 and mask is masks[-2]:
            steps.append(InteractionStep(click, steps[-1].scores, steps[-1].ends, seconds))
            return
        found = score(reference, mask, steps_mm.tolist()), end_scores(reference, mask, opening.axis)
        steps.append(InteractionStep(click, *found, seconds))

    try:
        if opening.prompts:
            started = time.perf_counter()
            for prompt in opening.prompts:
                session.add(prompt)
            shown = session.preview()[opening.axis][opening.slice_index].mask()
            first_answer_s = time.perf_counter() - started
            in_plane_mm = np.delete(steps_mm, opening.axis).tolist()
            slice_scores = score(slice_across(reference, opening.axis, opening.slice_index), shown, in_plane_mm)
            keep(*_segmented(session, triplanar, None))
        else:
            keep(empty, None, 0.0)
        for _ in range(corrections):
            click = next_click(reference, masks[-1], affine)
            if click is None:
                keep(masks[-1], None, 0.0)
                continue
            session.add(click)
            keep(*_segmented(session, triplanar, click))
    except MedsamPlannerError as error:
        failure = f"{type(error).__name__}: {error}"
        while len(steps) <= corrections:
            keep(empty, None, 0.0)
    return InteractionScores(slice_scores, first_answer_s, tuple(steps), failure), masks[0], masks[-1]


def _segmented(session: Session, triplanar: bool, click: Click | None) -> tuple[NDArray[np.bool_], Click | None, float]:
    started = time.perf_counter()
    mask = np.asarray(session.segment(samples=0, triplanar=triplanar).mask.array, dtype=bool)
    return mask, click, time.perf_counter() - started
