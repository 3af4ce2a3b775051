"""Single slices under many kinds of prompts: exact and loose boxes, clicks, corrections, a neighbour's mask, the ends.

For every label's largest connected part its middle slice in each plane is asked for (three slices of the acquired plane
where slices are thick). A lone click falls off-centre; corrections fall into the largest error; a neighbour's true mask
stands for propagation, also one slice beyond the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.protocol import PromptableModel, SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.geometry import slice_across, spacing_mm
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.lab.evaluation.cases import Case, Structure, read_structures
from medsam_planner.lab.evaluation.protocols import inscribed_ellipse
from medsam_planner.lab.evaluation.scores import dice
from prompts.annotator import Looseness, inner_click, loose_box, slice_correction

__all__ = ["EndQuality", "SliceScores", "end_quality", "score_slices", "slice_segmenter", "slice_table"]

Mask = NDArray[np.bool_]
SMALLEST_STRUCTURE_PX = 20
SMALLEST_PLANE_PX = 8
THICK_SLICE_MM = 2.5
SLAB_PX = 24
"""A plane with fewer pixels along one side cuts most structures at both ends; reported as a group of its own."""
_MOST_PADDING = 1 / 3
"""Of a loose box, as a share of the structure's extent. Cases are crops of larger slices: without this limit, the
padding meant for a whole slice would fill a small crop."""
_CACHE_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Dice of every kind of prompt on one slice of one structure."""

    case: str
    patient: str
    group: str
    """Modality and anatomy."""
    label: int
    axis: int
    index: int
    area_px: int
    dice: dict[str, float]
    quality: dict[str, float]
    """Predicted IoU where the model gave one."""


@dataclass(frozen=True, slots=True)
class EndQuality:
    """What the model thinks of itself at the ends of structures, prompted with the neighbour's true mask."""

    beyond_end: float
    """Predicted IoU one slice past the end, mean."""
    at_last_slice: float
    """Predicted IoU on the last slice, mean."""
    area_beyond_over_last: float
    """Area found one slice past the end, as a share of the last slice's, mean."""
    ends: int


def slice_segmenter(structure: Structure, model: PromptableModel) -> SliceSegmenter:
    """The structure's study under a model, as a session would set it up."""
    normalisation = normalisation_for(structure.volume, None, model.default_window)
    return SliceSegmenter(structure.volume, model, normalisation, EmbeddingCache(_CACHE_BYTES))


def score_slices(
    model: PromptableModel, case: Case, *, seed: int = 0, most: int | None = None
) -> Iterator[tuple[Structure, SliceSegmenter, list[SliceScores]]]:
    """Ask for the structures of a case on slices of all three planes, one structure at a time."""
    rng = np.random.default_rng([seed, *case.name.encode()])
    segmenter = None
    for structure in read_structures(case, most=most):
        segmenter = segmenter or slice_segmenter(structure, model)
        found = []
        steps_mm = spacing_mm(structure.volume.affine)
        is_thick = steps_mm.max() > THICK_SLICE_MM
        for axis in range(3):
            if structure.truth.shape[axis] < SMALLEST_PLANE_PX or (is_thick and steps_mm[axis] < steps_mm.max()):
                continue
            for index in _chosen(structure.truth, axis, (0.2, 0.5, 0.8) if is_thick else (0.5,)):
                truth = slice_across(structure.truth, axis, index)
                if truth.sum() < SMALLEST_STRUCTURE_PX:
                    continue
                neighbour = slice_across(structure.truth, axis, index - 1) if index > 0 else None
                scores, qualities = _Asked(segmenter, axis, index, truth, rng).all_kinds(neighbour)
                found.append(
                    SliceScores(
                        case=case.name,
                        patient=case.patient,
                        group=case.group + (" (slab plane)" if min(truth.shape) < SLAB_PX else ""),
                        label=structure.label,
                        axis=axis,
                        index=index,
                        area_px=int(truth.sum()),
                        dice=scores,
                        quality=qualities,
                    )
                )
        yield structure, segmenter, found


def _chosen(truth: Mask, axis: int, shares: Sequence[float]) -> list[int]:
    filled = np.flatnonzero(truth.any(axis=tuple(other for other in range(3) if other != axis)))
    return sorted({int(filled[int(share * (len(filled) - 1))]) for share in shares})


@dataclass(slots=True, eq=False)
class _Asked:
    """One slice being asked for in every way."""

    segmenter: SliceSegmenter
    axis: int
    index: int
    truth: Mask
    rng: np.random.Generator

    def answer(self, prompt: SlicePrompt, previous: SlicePrediction | None = None) -> SlicePrediction:
        return self.segmenter.segment(self.axis, self.index, prompt, previous=previous)

    def boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The exact and the loose box."""
        loose = loose_box(self.truth, Looseness.UNEVEN, self.rng, most=_MOST_PADDING)
        return box_around(self.truth), np.round(loose).reshape(4)

    def all_kinds(self, neighbour: Mask | None) -> tuple[dict[str, float], dict[str, float]]:
        """Dice and predicted quality by kind of prompt."""
        truth, rng = self.truth, self.rng
        scores: dict[str, float] = {}
        qualities: dict[str, float] = {}

        def keep(name: str, prompt: SlicePrompt, previous: SlicePrediction | None = None) -> SlicePrediction:
            answer = self.answer(prompt, previous)
            qualities[name], scores[name] = answer.quality, dice(truth, answer.mask())
            return answer

        exact, loose = self.boxes()
        shape = (truth.shape[0], truth.shape[1])
        scores["ellipse_exact"] = dice(truth, inscribed_ellipse(exact, shape))
        scores["ellipse_loose"] = dice(truth, inscribed_ellipse(loose, shape))
        keep("box_exact", SlicePrompt(box=exact))
        answer = keep("box_loose", SlicePrompt(box=loose))
        fix = slice_correction(truth, answer.mask(), rng)
        scores["box_and_click"] = scores["box_loose"]
        if fix is not None:
            keep("box_and_click", SlicePrompt(box=loose, points=fix[0][None], labels=np.array([fix[1]])), answer)
        points, labels = [inner_click(truth, rng)], [True]
        answer = keep("click", SlicePrompt(points=np.stack(points), labels=np.array(labels)))
        scores["three_clicks"] = scores["click"]
        for _ in range(2):
            fix = slice_correction(truth, answer.mask(), rng)
            if fix is None:
                break
            points.append(fix[0])
            labels.append(fix[1])
            answer = keep("three_clicks", SlicePrompt(points=np.stack(points), labels=np.array(labels)), answer)
        if neighbour is not None and neighbour.sum() >= SMALLEST_STRUCTURE_PX // 2:
            beside = self.segmenter.image(self.axis, self.index - 1)
            keep("neighbour_mask", SlicePrompt(mask=neighbour.astype(np.float32), example=beside))
            scores["neighbour_copied"] = dice(truth, neighbour)
        return scores, qualities


def end_quality(structure: Structure, segmenter: SliceSegmenter) -> list[tuple[float, float, float]]:
    """For each end of a structure along the thickest axis: predicted IoU past it, on its last slice, leaked area."""
    axis = int(np.argmax(spacing_mm(structure.volume.affine)))
    part = np.moveaxis(structure.truth, axis, 0)
    filled = np.flatnonzero(part.any(axis=(1, 2)))
    found = []
    for last, step in ((int(filled[0]), -1), (int(filled[-1]), 1)):
        beyond, inner = last + step, last - step
        if part[last].sum() < SMALLEST_STRUCTURE_PX // 2 or not 0 <= beyond < len(part):
            continue
        if not 0 <= inner < len(part) or not part[inner].any():
            continue

        def carried(index: int, source: int) -> SlicePrediction:
            prompt = SlicePrompt(mask=part[source].astype(np.float32), example=segmenter.image(axis, source))
            return segmenter.segment(axis, index, prompt)

        past, within = carried(beyond, last), carried(last, inner)
        found.append((past.quality, within.quality, float(past.mask().sum() / part[last].sum())))
    return found


def slice_table(scores: Sequence[SliceScores]) -> str:
    """Mean Dice by group and kind of prompt, as a table; the last line is the mean over groups."""
    kinds = list(dict.fromkeys(kind for score in scores for kind in score.dice))
    groups = sorted({score.group for score in scores})

    def mean(chosen: Sequence[SliceScores], kind: str) -> float:
        values = [score.dice[kind] for score in chosen if kind in score.dice]
        return float(np.mean(values)) if values else float("nan")

    by_group = {group: [score for score in scores if score.group == group] for group in groups}
    rows = [(group, len(chosen), [mean(chosen, kind) for kind in kinds]) for group, chosen in by_group.items()]
    rows.append(("mean of slices", len(scores), [mean(scores, kind) for kind in kinds]))
    means = [float(np.nanmean([row[2][number] for row in rows[: len(groups)]])) for number in range(len(kinds))]
    rows.append(("mean of groups", len(scores), means))
    width = 2 + max(len(name) for name, _, _ in rows)
    head = "group".ljust(width) + "slices" + "".join(kind.rjust(17) for kind in kinds)
    lines = [
        name.ljust(width) + f"{count:6d}" + "".join(f"{value:17.3f}" for value in row) for name, count, row in rows
    ]
    return "\n".join([head, *lines])
