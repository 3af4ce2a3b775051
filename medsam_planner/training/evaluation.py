"""How good a compact model is on slices of real cases, beside the ellipse inscribed in the same box.

    python -m medsam_planner.training.evaluation CASES_DIR [--weights FILE] [--only PATTERN ...]

For every label's largest connected part, its middle slice in each plane is asked for (three slices of the acquired
plane where slices are thick). Boxes are loose (each side grown by 0–5/256 of the slice) or exact; a lone click falls
off-centre; two corrections follow in the largest error; a neighbour's true mask stands for propagation, also one slice
beyond the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.compact import CompactModel
from medsam_planner.engine.protocol import Crop, PromptableModel, SlicePrompt
from medsam_planner.engine.zoom import best_field, extract, paste, prompt_to_crop, slice_to_crop
from medsam_planner.progress import Progress, track
from medsam_planner.training.config import read_config
from medsam_planner.training.simulated_prompts import correction, inner_click
from medsam_planner.training.sources import case_folders, is_ct, read_case

__all__ = ["SliceScores", "dice", "evaluate", "predict_slice", "summary_text"]

Mask = NDArray[np.bool_]
SMALLEST_STRUCTURE_PX = 20
THICK_SLICE_MM = 2.5
SLAB_PX = 24
"""A plane with fewer pixels along one side cuts most structures at both ends; reported as a group of its own."""


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Dice of every kind of prompt on one slice of one structure."""

    case: str
    group: str
    """Modality and anatomy."""
    structure: int
    area_px: int
    dice: dict[str, float]
    quality: dict[str, float]
    """Predicted IoU where the model gave one."""


def dice(truth: Mask, predicted: Mask) -> float:
    """2 |A ∩ B| / (|A| + |B|); 1 when both are empty."""
    total = int(truth.sum()) + int(predicted.sum())
    return 1.0 if total == 0 else 2.0 * int((truth & predicted).sum()) / total


def inscribed_ellipse(box: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """The ellipse that touches the four sides of a box of pixel centres."""
    half = (box[2:] - box[:2] + 1) / 2
    centre = (box[2:] + box[:2]) / 2
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(((rows - centre[0]) / half[0]) ** 2 + ((columns - centre[1]) / half[1]) ** 2 <= 1)


@dataclass(frozen=True, slots=True, eq=False)
class SliceAnswer:
    """What a model said about a slice."""

    logits: NDArray[np.float32]
    """(H, W)"""
    quality: float
    """Predicted IoU."""
    crop: Crop
    """The field it was said of."""

    def mask(self) -> Mask:
        """(H, W) pixels more likely inside than not."""
        return np.asarray(self.logits > 0)


def predict_slice(
    model: PromptableModel,
    image: NDArray[np.float32],
    prompt: SlicePrompt,
    spacing_mm: tuple[float, float],
    previous: SliceAnswer | None = None,
) -> SliceAnswer:
    """Answer a prompt on a slice; a correction keeps its answer's field while it holds every click."""
    shape = (image.shape[0], image.shape[1])
    if previous is None:
        crops = model.crops(prompt, shape, spacing_mm)
    elif prompt.points is None or np.all(np.abs(slice_to_crop(prompt.points, previous.crop) / model.size - 0.5) < 0.48):
        crops = (previous.crop,)
    else:
        crops = model.crops(replace(prompt, mask=(previous.logits > 0).astype(np.float32)), shape, spacing_mm)
    answers = []
    for crop in crops:
        embedding = model.encode(extract(image, crop)[None])
        before = None if previous is None else extract(previous.logits, crop)
        decoded = model.decode(embedding, prompt_to_crop(prompt, crop), previous_logits=before)
        answers.append(SliceAnswer(paste(decoded.logits[0], crop, shape), float(decoded.quality[0]), crop))
    return answers[best_field([answer.quality for answer in answers], [answer.mask() for answer in answers])]


def _is_coarse(spacing_mm: tuple[float, float, float], axis: int) -> bool:
    """Whether a slice across `axis` would show thick slices as tall pixels."""
    return max(spacing_mm) > THICK_SLICE_MM and spacing_mm[axis] < max(spacing_mm)


def _slices(truth: Mask, axis: int, shares: tuple[float, ...]) -> list[int]:
    filled = np.flatnonzero(truth.any(axis=tuple(other for other in range(3) if other != axis)))
    chosen = {int(filled[int(share * (len(filled) - 1))]) for share in shares}
    return sorted(chosen)


def _largest_part(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == int(sizes.argmax()))


def _asked(
    model: PromptableModel,
    image: NDArray[np.float32],
    truth: Mask,
    neighbour: Mask | None,
    spacing: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[dict[str, float], dict[str, float]]:
    scores: dict[str, float] = {}
    qualities: dict[str, float] = {}
    rows, columns = np.nonzero(truth)
    exact = np.array([rows.min(), columns.min(), rows.max(), columns.max()], dtype=np.float64)
    pads = rng.uniform(0, 5 / 256, 4) * np.array([*truth.shape, *truth.shape])
    # Cases are crops: the loose box of a whole slice would swallow a small crop, so growth stops at a third of the box.
    pads = np.minimum(pads, np.tile((exact[2:] - exact[:2] + 1) / 3, 2))
    loose = exact + pads * np.array([-1, -1, 1, 1])
    loose = np.clip(np.round(loose), 0, np.tile(np.array(truth.shape) - 1, 2))

    def keep(name: str, prompt: SlicePrompt, previous: SliceAnswer | None = None) -> SliceAnswer:
        answer = predict_slice(model, image, prompt, spacing, previous)
        qualities[name] = answer.quality
        scores[name] = dice(truth, answer.mask())
        return answer

    shape = (truth.shape[0], truth.shape[1])
    scores["ellipse_exact"] = dice(truth, inscribed_ellipse(exact, shape))
    scores["ellipse_loose"] = dice(truth, inscribed_ellipse(loose, shape))
    keep("box_exact", SlicePrompt(box=exact))
    answer = keep("box_loose", SlicePrompt(box=loose))
    fix = correction(truth, answer.mask(), rng)
    scores["box_and_click"] = scores["box_loose"]
    if fix is not None:
        keep("box_and_click", SlicePrompt(box=loose, points=fix[0][None], labels=np.array([fix[1]])), answer)
    points, labels = [inner_click(truth, rng)], [True]
    answer = keep("click", SlicePrompt(points=np.stack(points), labels=np.array(labels)))
    scores["three_clicks"] = scores["click"]
    for _ in range(2):
        fix = correction(truth, answer.mask(), rng)
        if fix is None:
            break
        points.append(fix[0])
        labels.append(fix[1])
        answer = keep("three_clicks", SlicePrompt(points=np.stack(points), labels=np.array(labels)), answer)
    if neighbour is not None and neighbour.sum() >= SMALLEST_STRUCTURE_PX // 2:
        keep("neighbour_mask", SlicePrompt(mask=neighbour.astype(np.float32)))
        scores["neighbour_copied"] = dice(truth, neighbour)
    return scores, qualities


def evaluate(
    model: PromptableModel,
    folders: Sequence[Path],
    *,
    seed: int = 0,
    most_structures: int = 40,
    progress: Progress | None = None,
) -> Iterator[SliceScores]:
    """Ask for every structure of the cases on slices of all three planes; yields one score per slice."""
    for folder in track(folders, "cases", progress):
        case = read_case(folder)
        if case.image is None:
            continue
        rng = np.random.default_rng([seed, *folder.name.encode()])
        anatomy = folder.name.rsplit("_", 1)[0] if folder.name[-1].isdigit() else folder.name
        group = f"{'CT' if is_ct(folder) else 'MR'} {anatomy}"
        for structure in case.structures:
            part = _largest_part(np.isin(case.labels, structure))
            shares = (0.2, 0.5, 0.8) if max(case.spacing_mm) > THICK_SLICE_MM else (0.5,)
            for axis in range(3):
                if part.shape[axis] < 8 or (
                    max(case.spacing_mm) > 2.5 and case.spacing_mm[axis] < max(case.spacing_mm)
                ):
                    continue
                spacing = [step for other, step in enumerate(case.spacing_mm) if other != axis]
                for index in _slices(part, axis, shares):
                    truth = np.take(part, index, axis=axis)
                    if truth.sum() < SMALLEST_STRUCTURE_PX:
                        continue
                    neighbour = np.take(part, index - 1, axis=axis) if index > 0 else None
                    image = np.take(case.image, index, axis=axis)
                    slab = " (slab plane)" if min(truth.shape) < SLAB_PX else ""
                    scores, qualities = _asked(model, image, truth, neighbour, (spacing[0], spacing[1]), rng)
                    yield SliceScores(folder.name, group + slab, structure[0], int(truth.sum()), scores, qualities)


def emptiness(model: PromptableModel, folders: Sequence[Path], *, seed: int = 0) -> dict[str, float]:
    """Predicted IoU and leaked area one slice beyond the ends of structures, and predicted IoU on their last slices."""
    ended, going, leaked = [], [], []
    for folder in folders:
        case = read_case(folder)
        if case.image is None:
            continue
        axis = int(np.argmax(case.spacing_mm))
        spacing = [step for other, step in enumerate(case.spacing_mm) if other != axis]
        for structure in case.structures:
            part = np.moveaxis(_largest_part(np.isin(case.labels, structure)), axis, 0)
            images = np.moveaxis(case.image, axis, 0)
            filled = np.flatnonzero(part.any(axis=(1, 2)))
            for last, step in ((filled[0], -1), (filled[-1], 1)):
                inner = last - step
                if (
                    part[last].sum() < SMALLEST_STRUCTURE_PX // 2
                    or not 0 <= last + step < len(part)
                    or not part[inner].any()
                ):
                    continue
                beyond = SlicePrompt(mask=part[last].astype(np.float32))
                answer = predict_slice(model, images[last + step], beyond, (spacing[0], spacing[1]))
                ended.append(answer.quality)
                leaked.append(float(answer.mask().sum() / part[last].sum()))
                inside = SlicePrompt(mask=part[inner].astype(np.float32))
                going.append(predict_slice(model, images[last], inside, (spacing[0], spacing[1])).quality)
    if not ended:
        return {}
    return {
        "quality_beyond_end": float(np.mean(ended)),
        "quality_at_last_slice": float(np.mean(going)),
        "area_beyond_end_over_last": float(np.mean(leaked)),
        "ends": float(len(ended)),
    }


def summary_text(scores: Sequence[SliceScores]) -> str:
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
    head = "group".ljust(30) + "slices" + "".join(kind.rjust(17) for kind in kinds)
    return "\n".join(
        [
            head,
            *(name.ljust(30) + f"{count:6d}" + "".join(f"{value:17.3f}" for value in row) for name, count, row in rows),
        ]
    )


def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m medsam_planner.training.evaluation")
    parser.add_argument("cases", type=Path, help="folder of cases (image.nii.gz, labels.nii.gz, meta.json)")
    shipped = Path(__file__).resolve().parents[2] / "weights" / "compact.safetensors"
    parser.add_argument("--weights", type=Path, default=shipped)
    parser.add_argument("--only", nargs="*", help="patterns of case names; those held out of training if not given")
    parser.add_argument("--json", type=Path, help="write every slice's scores here")
    options = parser.parse_args(arguments)
    patterns = options.only or read_config(Path(__file__).with_name("compact.toml")).data.held_out
    folders = [f for f in case_folders(options.cases, exclude=()) if any(f.match(pattern) for pattern in patterns)]
    model = CompactModel(options.weights)
    scores = list(evaluate(model, folders))
    sys.stdout.write(f"weights {model.weights_sha256}\n{summary_text(scores)}\n")
    sys.stdout.write(json.dumps(emptiness(model, folders), indent=1) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(score) for score in scores]))


if __name__ == "__main__":
    _main(sys.argv[1:])
