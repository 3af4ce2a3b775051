"""What a simulated person asks for, and what the program answers, through the session that a real one uses."""

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

__all__ = ["Answer", "FirstPrompts", "Protocol", "Step", "ask", "ellipse_dice", "first_prompts", "inscribed_ellipse"]

_VESSEL_WORDS = ("vessel", "artery", "arteries", "vein", "vascul")
"""The challenge gives no box for vessels, as a box around a tree says nothing."""


class Protocol(Enum):
    """How a structure is asked for."""

    BOX = "box"
    """One loose 2D box on the middle slice; then corrections anywhere in the volume."""
    CLICK = "click"
    """One click off the centre of the middle slice; then corrections anywhere."""
    CVPR25 = "cvpr25"
    """The range of slices and a 2D box on the middle one; then corrections (comparable with the CVPR 2025 challenge for
    interactive 3D segmentation, whose own files decide what counts as its result)."""
    SURVEY = "survey"
    """As ``box``; and beside it all answers to the box, a lone click, and a wall (:mod:`.survey`)."""
    SLICES = "slices"
    """Many kinds of prompts on single slices, nothing carried to 3D."""


@dataclass(frozen=True, slots=True)
class FirstPrompts:
    """What is said before anything has been answered."""

    axis: int
    slice_index: int
    """The middle one of the slices that hold the structure, across `axis`."""
    prompts: tuple[Box | Click, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The 3D mask after the first prompt or after a correction."""

    click: Click | None
    """What was added; None for the first prompt, and where nothing was left to correct."""
    scores: MaskScores
    ends: EndScores
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model made of a structure."""

    slice_scores: MaskScores | None
    """On the prompted slice, as shown while prompting; None where no first prompt was given."""
    first_answer_s: float
    """From the first prompt to the answer on its slice."""
    steps: tuple[Step, ...]
    """After the first prompt, then after each correction."""
    failure: str | None = None
    """Why no mask came: from then on an empty one is scored."""


def first_prompts(structure: Structure, protocol: Protocol, seed: int) -> FirstPrompts:
    """The prompts that open `protocol`: the same ones for every model, drawn from `seed` and the structure's name."""
    drawn = np.random.default_rng([seed, *structure.key.encode()])
    affine, truth = structure.volume.affine, structure.truth
    axis = acquisition_axis(affine)
    others = tuple(other for other in range(3) if other != axis)
    filled = np.flatnonzero(truth.any(axis=others))
    index = middle_slice(truth, axis)
    box = first_box(truth, affine, axis, seed=int(drawn.integers(2**31)))
    if protocol in (Protocol.BOX, Protocol.SURVEY):
        return FirstPrompts(axis, index, (box,))
    if protocol is Protocol.CLICK:
        pixel = inner_click(slice_across(truth, axis, index), drawn)
        return FirstPrompts(axis, index, (Click(lps_from_index(affine, np.insert(pixel, axis, index))),))
    if any(word in structure.name.lower() for word in _VESSEL_WORDS):
        return FirstPrompts(axis, index, ())
    extent = box_extent(box, affine, truth.shape)
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


def ellipse_dice(structure: Structure, asked: FirstPrompts) -> float | None:
    """Dice on the prompted slice of the ellipse in the 2D box that was drawn there; None where none was."""
    box = next((one for one in reversed(asked.prompts) if isinstance(one, Box)), None)
    if box is None:
        return None
    extent = box_extent(box, structure.volume.affine, structure.truth.shape)
    corners = np.delete(np.stack([extent.low_index, extent.high_index]), asked.axis, axis=1)
    truth = slice_across(structure.truth, asked.axis, asked.slice_index)
    return dice(truth, inscribed_ellipse(corners.reshape(4).astype(np.float64), (truth.shape[0], truth.shape[1])))


def ask(
    session: Session, structure: Structure, asked: FirstPrompts, *, corrections: int, triplanar: bool = False
) -> tuple[Answer, NDArray[np.bool_], NDArray[np.bool_]]:
    """Prompt a fresh session and correct what comes back.

    Returns
    -------
    Answer, (K, J, I) bool, (K, J, I) bool
        What it was worth, the mask after the first prompt, and the one after the last correction.
    """
    truth, affine = structure.truth, structure.volume.affine
    steps_mm = spacing_mm(affine)
    empty = np.zeros(truth.shape, dtype=bool)
    slice_scores, first_answer_s, failure = None, 0.0, None
    masks: list[NDArray[np.bool_]] = []
    steps: list[Step] = []

    def keep(mask: NDArray[np.bool_], click: Click | None, seconds: float) -> None:
        masks.append(mask)
        if len(masks) > 1 and mask is masks[-2]:
            steps.append(Step(click, steps[-1].scores, steps[-1].ends, seconds))
            return
        found = score(truth, mask, steps_mm.tolist()), end_scores(truth, mask, asked.axis)
        steps.append(Step(click, *found, seconds))

    try:
        if asked.prompts:
            started = time.perf_counter()
            for prompt in asked.prompts:
                session.add(prompt)
            shown = session.preview()[asked.axis][asked.slice_index].mask()
            first_answer_s = time.perf_counter() - started
            in_plane_mm = np.delete(steps_mm, asked.axis).tolist()
            slice_scores = score(slice_across(truth, asked.axis, asked.slice_index), shown, in_plane_mm)
            keep(*_segmented(session, triplanar, None))
        else:
            keep(empty, None, 0.0)
        for _ in range(corrections):
            click = next_click(truth, masks[-1], affine)
            if click is None:
                keep(masks[-1], None, 0.0)
                continue
            session.add(click)
            keep(*_segmented(session, triplanar, click))
    except MedsamPlannerError as error:
        failure = f"{type(error).__name__}: {error}"
        while len(steps) <= corrections:
            keep(empty, None, 0.0)
    return Answer(slice_scores, first_answer_s, tuple(steps), failure), masks[0], masks[-1]


def _segmented(session: Session, triplanar: bool, click: Click | None) -> tuple[NDArray[np.bool_], Click | None, float]:
    started = time.perf_counter()
    mask = np.asarray(session.segment(samples=0, triplanar=triplanar).mask.array, dtype=bool)
    return mask, click, time.perf_counter() - started
