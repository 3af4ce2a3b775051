"""Scores on single slices under many kinds of prompts, and predictions at the ends of structures.

The largest connected part of every label is prompted on its middle slice in each plane; where slices are thick, on
three slices of the acquired plane. The first click is off-centre, and corrections are in the largest error. To imitate
propagation, a slice is also prompted with the reference mask of its neighbour; so is the slice one beyond each end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.protocol import ModelWithMemory, PromptableModel, SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.engine.slice_memory import PredictedSlice
from medsam_planner.geometry import slice_across, spacing_mm
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.lab.evaluation.cases import Case, Structure
from medsam_planner.lab.evaluation.protocols import inscribed_ellipse
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.lab.evaluation.scores import dice
from prompts.annotator import Looseness, inner_click, loose_box, slice_correction

__all__ = ["EndQuality", "SliceScores", "end_quality", "score_slices", "slice_segmenter", "slice_table"]

Mask = NDArray[np.bool_]
SMALLEST_STRUCTURE_PX = 20
SMALLEST_PLANE_PX = 8
THICK_SLICE_MM = 2.5
SLAB_PX = 24
"""A plane with fewer pixels along one side cuts most structures at both ends; it is reported as a group of its own."""
_MOST_PADDING = 1 / 3
"""Limit of the padding of a loose box, as a share of the structure's extent. Cases are crops of larger slices: without
this limit, a padding that suits a whole slice would fill a small crop."""
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
    """Predicted IoU by kind of prompt, where the model gives one."""
    is_trained_on: bool = False
    """Whether the weights were trained on this patient."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of ``evaluation.json``."""
        return {"seen" if name == "is_trained_on" else name: value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SliceScores:
        """The opposite of :meth:`as_json`."""
        values = dict(document)
        return cls(is_trained_on=values.pop("seen"), **values)


@dataclass(frozen=True, slots=True)
class EndQuality:
    """Predicted IoU and false area at the ends of structures, prompted with the reference of the neighbouring slice."""

    beyond_end: float
    """Mean predicted IoU one slice beyond the end."""
    at_last_slice: float
    """Mean predicted IoU on the last slice."""
    area_beyond_over_last: float
    """Mean area segmented one slice beyond the end, as a share of the last slice's."""
    ends: int


def slice_segmenter(structure: Structure, model: PromptableModel) -> SliceSegmenter:
    """The segmenter of a structure's study, set up as a session does."""
    normalisation = normalisation_for(structure.volume, None, model.default_window)
    return SliceSegmenter(structure.volume, model, normalisation, EmbeddingCache(_CACHE_BYTES))


def score_slices(
    model: PromptableModel, case: Case, *, seed: int = 0, labels: Sequence[int] | None = None
) -> Iterator[tuple[Structure, SliceSegmenter, list[SliceScores]]]:
    """Prompt the structures of a case on slices of all three planes.

    Parameters
    ----------
    model : PromptableModel
        The loaded weights.
    case : Case
        The case.
    seed : int
        Of boxes and clicks.
    labels : sequence of int, optional
        Only these labels.

    Yields
    ------
    Structure, SliceSegmenter, list of SliceScores
        One structure, the segmenter of its study, and the scores of its slices.
    """
    rng = np.random.default_rng([seed, *case.name.encode()])
    segmenter = None
    for structure in read_structures(case, labels=labels):
        segmenter = segmenter or slice_segmenter(structure, model)
        found = []
        steps_mm = spacing_mm(structure.volume.affine)
        is_thick = steps_mm.max() > THICK_SLICE_MM
        for axis in range(3):
            if structure.reference.shape[axis] < SMALLEST_PLANE_PX or (is_thick and steps_mm[axis] < steps_mm.max()):
                continue
            for index in _chosen(structure.reference, axis, (0.2, 0.5, 0.8) if is_thick else (0.5,)):
                reference = slice_across(structure.reference, axis, index)
                if reference.sum() < SMALLEST_STRUCTURE_PX:
                    continue
                neighbour = slice_across(structure.reference, axis, index - 1) if index > 0 else None
                scores, qualities = _PromptedSlice(segmenter, axis, index, reference, rng).scores_by_kind(neighbour)
                found.append(
                    SliceScores(
                        case=case.name,
                        patient=case.patient,
                        group=case.group + (" (slab plane)" if min(reference.shape) < SLAB_PX else ""),
                        label=structure.label,
                        axis=axis,
                        index=index,
                        area_px=int(reference.sum()),
                        dice=scores,
                        quality=qualities,
                    )
                )
        yield structure, segmenter, found


def _chosen(reference: Mask, axis: int, shares: Sequence[float]) -> list[int]:
    filled = np.flatnonzero(reference.any(axis=tuple(other for other in range(3) if other != axis)))
    return sorted({int(filled[int(share * (len(filled) - 1))]) for share in shares})


@dataclass(slots=True, eq=False)
class _PromptedSlice:
    """One slice, prompted in every way."""

    segmenter: SliceSegmenter
    axis: int
    index: int
    reference: Mask
    rng: np.random.Generator

    def boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The exact and the loose box."""
        loose = loose_box(self.reference, Looseness.UNEVEN, self.rng, most=_MOST_PADDING)
        return box_around(self.reference), np.round(loose).reshape(4)

    def scores_by_kind(self, neighbour: Mask | None) -> tuple[dict[str, float], dict[str, float]]:
        """Dice and predicted IoU by kind of prompt; `neighbour` is the reference on the slice before."""
        reference, rng = self.reference, self.rng
        scores: dict[str, float] = {}
        qualities: dict[str, float] = {}

        def keep(name: str, prompt: SlicePrompt, previous: SlicePrediction | None = None) -> SlicePrediction:
            return scored(name, self.segmenter.segment(self.axis, self.index, prompt, previous=previous))

        def scored(name: str, prediction: SlicePrediction) -> SlicePrediction:
            qualities[name], scores[name] = prediction.quality, dice(reference, prediction.mask())
            return prediction

        exact, loose = self.boxes()
        shape = (reference.shape[0], reference.shape[1])
        scores["ellipse_exact"] = dice(reference, inscribed_ellipse(exact, shape))
        scores["ellipse_loose"] = dice(reference, inscribed_ellipse(loose, shape))
        keep("box_exact", SlicePrompt(box=exact))
        prediction = keep("box_loose", SlicePrompt(box=loose))
        click = slice_correction(reference, prediction.mask(), rng)
        scores["box_and_click"] = scores["box_loose"]
        if click is not None:
            keep(
                "box_and_click", SlicePrompt(box=loose, points=click[0][None], labels=np.array([click[1]])), prediction
            )
        points, labels = [inner_click(reference, rng)], [True]
        prediction = keep("click", SlicePrompt(points=np.stack(points), labels=np.array(labels)))
        scores["three_clicks"] = scores["click"]
        for _ in range(2):
            click = slice_correction(reference, prediction.mask(), rng)
            if click is None:
                break
            points.append(click[0])
            labels.append(click[1])
            prediction = keep("three_clicks", SlicePrompt(points=np.stack(points), labels=np.array(labels)), prediction)
        if neighbour is not None and neighbour.sum() >= SMALLEST_STRUCTURE_PX // 2:
            scored("neighbour_mask", _propagated(self.segmenter, self.axis, self.index - 1, neighbour, self.index))
            scores["neighbour_copied"] = dice(reference, neighbour)
        return scores, qualities


def end_quality(structure: Structure, segmenter: SliceSegmenter) -> list[tuple[float, float, float]]:
    """Predictions at both ends of a structure along the axis with the thickest slices.

    Returns
    -------
    list of (float, float, float)
        Per end: the predicted IoU one slice beyond it, the predicted IoU on the last slice, and the area segmented
        beyond as a share of the last slice's.
    """
    axis = int(np.argmax(spacing_mm(structure.volume.affine)))
    part = np.moveaxis(structure.reference, axis, 0)
    filled = np.flatnonzero(part.any(axis=(1, 2)))
    found = []
    for last, step in ((int(filled[0]), -1), (int(filled[-1]), 1)):
        beyond, inner = last + step, last - step
        if part[last].sum() < SMALLEST_STRUCTURE_PX // 2 or not 0 <= beyond < len(part):
            continue
        if not 0 <= inner < len(part) or not part[inner].any():
            continue
        past = _propagated(segmenter, axis, last, part[last], beyond)
        within = _propagated(segmenter, axis, inner, part[inner], last)
        found.append((past.quality, within.quality, float(past.mask().sum() / part[last].sum())))
    return found


def _propagated(segmenter: SliceSegmenter, axis: int, source: int, mask: Mask, onto: int) -> SlicePrediction:
    """The prediction of a slice from the mask of one other; a model with a memory also remembers that slice."""
    probability = mask.astype(np.float32)
    prompt = SlicePrompt(mask=probability, reference_slice=segmenter.image(axis, source))
    remembers = isinstance(segmenter.model, ModelWithMemory)
    memory = (PredictedSlice(source, probability, prompted=True),) if remembers else ()
    return segmenter.segment(axis, onto, prompt, memory=memory)


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
