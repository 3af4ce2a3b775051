"""One training sample: a few slices through a structure, their reference masks, and the prompt on the first slice.

All random choices come from one generator, so that a sample is a function of its seed and of the volumes. Positions in
the plane are (row, column) in mm around a point of the structure; a third coordinate runs across slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.compact_crops import SMALLEST_CROP_PX
from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.lab.training.appearance import degrade
from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.simulated_prompts import training_box
from medsam_planner.lab.training.slice_rendering import coarse_mask, rendered_slices
from medsam_planner.lab.training.slice_space import lies_on_volume, random_space
from medsam_planner.lab.training.targets import Target, TargetKind, draw_target
from prompts.annotator import inner_click, outer_click

__all__ = ["SLICES", "Stack", "chance_of_use", "draw_stack"]

SLICES = 4
_ORDERS = ((0, 1, 2, 3), (0, 1, 2, -1), (0, 1, -1, -2), (0, 1, 3, 2), (0, 2, 4, -2))
"""Offsets of the slices from the prompted one, in the order of prompting."""
SMALLEST_STRUCTURE_PX = 16
"""Structures with fewer pixels on the prompted slice are not used."""
CUT_SHARE = 0.1
"""Share of synthetic samples whose study ends within the structure."""
ONTO_END = 0.35
"""Share of stacks that begin near an end of the structure."""
_ACROSS_PX, _ALONG_PX = 1.5, 3.0
"""Standard deviations of the means on both sides of a border, and of the mean of their difference along it."""
_STEP = 0.08
"""Difference that is seen, relative to the 2nd to 98th percentile range of the crop."""
_SEEN_BADLY, _SEEN_WELL = 0.25, 0.7
_LEAST_CHANCE = 0.05
"""Structures without a visible border are not left out altogether: real ones have some."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """S slices, the prompted one first."""

    images: NDArray[np.float32]
    """(S, N, N) intensities in any unit."""
    reference: NDArray[np.bool_]
    """(S, N, N)"""
    outside_px: NDArray[np.float32]
    """(S,) area of the structure beyond each crop, in model pixels."""
    centres_mm: NDArray[np.float32]
    """(S, 2) middle of each crop in the plane."""
    sides_mm: NDArray[np.float32]
    """(S,) side of each crop."""
    heights_mm: NDArray[np.float32]
    """(S,) position of each slice across the plane."""
    prompt: SlicePrompt
    """On the first slice, in model pixels."""
    ambiguous: bool
    """Whether the prompt may mean several structures: a box, or one click."""


def draw_stack(
    volumes: Sequence[LabelVolume],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
    size: int,
    *,
    click_share: float = 0.5,
) -> Stack:
    """Draw samples until one has enough pixels of its structure.

    Parameters
    ----------
    volumes : sequence of LabelVolume
        The volumes to choose from.
    shares : (V,) float64
        Probability of each volume; they sum to one.
    rng : numpy.random.Generator
        Source of all random choices.
    size : int
        Side of the crops in model pixels.
    click_share : float
        Share of samples that begin with a click; the others begin with a box.
    """
    while True:
        volume = volumes[int(rng.choice(len(volumes), p=shares))]
        target = draw_target(volume, rng)
        stack = None if target is None else _stack(volume, target, rng, size, click_share)
        if stack is not None:
            return stack


def _begun_near_end(
    volume: LabelVolume, target: Target, axis_mm: NDArray[np.float64], rng: np.random.Generator
) -> Target:
    """The target with its centre in the outermost tenth of its voxels along a direction."""
    points = volume.voxels_of(target.labels[0]) * np.asarray(volume.spacing_mm)
    along = points @ axis_mm
    last = points[along >= np.quantile(along, 0.9)]
    return replace(target, centre_mm=last[int(rng.integers(len(last)))])


def _stack(
    volume: LabelVolume, target: Target, rng: np.random.Generator, size: int, click_share: float
) -> Stack | None:
    axis = volume.axes[int(rng.integers(len(volume.axes)))]
    space = random_space(volume, target, rng, axis)
    direction = float(rng.choice([-1.0, 1.0]))
    if target.kind is not TargetKind.LESION and rng.random() < ONTO_END:
        target = _begun_near_end(volume, target, space.frame[0] * direction, rng)
        space = replace(space, origin_mm=target.centre_mm)
    spacing = np.asarray(volume.spacing_mm)
    if volume.image is None:
        pixel_mm = float(spacing.min())
        step = float(np.exp(rng.uniform(np.log(0.7), np.log(6.0))))
        step = min(step, max(target.reach_mm / 2, 0.7))
    else:
        pixel_mm = float(np.delete(spacing, axis).mean())
        step = float(spacing[axis]) * (2 if spacing[axis] < 2.5 and rng.random() < 0.3 else 1)
    heights = np.array(_ORDERS[int(rng.integers(len(_ORDERS)))], dtype=np.float64) * step * direction
    if volume.image is not None and not lies_on_volume(volume, space, heights):
        return None
    mask, coarse_mm = coarse_mask(volume, target, space, heights, pixel_mm)
    clicked = rng.random() < click_share
    seed: tuple[int, int] | None = None
    if (
        target.kind in (TargetKind.LABELS, TargetKind.LESION)
        and target.target_bodies < 2
        and (clicked or rng.random() < 0.3)
    ):
        seed = _deep_pixel(mask[0], rng)
        if seed is None:
            return None
        mask = _connected(mask, heights, seed)
    if np.count_nonzero(mask[0]) * coarse_mm**2 < SMALLEST_STRUCTURE_PX * pixel_mm**2:
        return None
    half = coarse_mm * (mask.shape[-1] - 1) / 2
    low, high = box_around(mask[0]).reshape(2, 2) * coarse_mm - half
    centres, sides = _crops(low, high, coarse_mm, clicked, pixel_mm, rng, size)
    images, reference = rendered_slices(volume, target, space, heights, centres, sides, pixel_mm, rng, size)
    if seed is not None:
        at = (np.array(seed) * coarse_mm - half - centres[0]) / sides[0] * size + (size - 1) / 2
        near = _nearest_true(reference[0], at)
        if near is None:
            return None
        reference = _connected(reference, heights, near)
    if volume.image is None and rng.random() < CUT_SHARE:
        _cut_short(images, reference, rng)
    if np.count_nonzero(reference[0]) < SMALLEST_STRUCTURE_PX:
        return None
    area = mask.sum((1, 2)) * (coarse_mm / (sides / size)) ** 2
    outside = np.maximum(area - reference.sum((1, 2)), 0) if clicked else np.zeros(SLICES)
    native_px = max(pixel_mm / (sides[0] / size), 0.7)
    images = degrade(images, rng, strength=1.0 if volume.image is None else 0.35, native_px=native_px)
    if volume.image is None and rng.random() > chance_of_use(images[0], reference[0]):
        return None
    prompt, ambiguous = _prompt(reference[0], clicked, rng, step_mm=sides[0] / size)
    return Stack(
        images,
        reference,
        outside.astype(np.float32),
        centres.astype(np.float32),
        sides.astype(np.float32),
        heights.astype(np.float32),
        prompt,
        ambiguous,
    )


def chance_of_use(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Probability with which a sample is used: a person segments what is seen, mostly in one piece.

    Parameters
    ----------
    image : (N, N) float32
        The prompted slice.
    mask : (N, N) bool
        Its reference, with at least one pixel.

    Returns
    -------
    float
        From 1, where :data:`_SEEN_WELL` of the border shows a step of intensity and the largest piece holds almost
        everything, down to :data:`_LEAST_CHANCE`.
    """
    border = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if not border.any():
        return _LEAST_CHANCE
    step = _mean_over(image, mask, _ACROSS_PX) - _mean_over(image, ~mask, _ACROSS_PX)
    low, high = np.percentile(image, (2, 98))
    along = np.abs(_mean_over(step, border, _ALONG_PX))[border]
    seen = float(np.mean(along > _STEP * (high - low)))
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    largest = float(np.bincount(pieces[mask]).max() / np.count_nonzero(mask))
    chance = min((seen - _SEEN_BADLY) / (_SEEN_WELL - _SEEN_BADLY), (largest - 0.3) / 0.6)
    return float(np.clip(chance, _LEAST_CHANCE, 1.0))


def _mean_over(values: NDArray[np.float32], mask: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian mean of the values inside a mask."""
    weights = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px)
    return np.asarray(ndimage.gaussian_filter(values * mask, sigma_px) / np.maximum(weights, 1e-3), dtype=np.float32)


def _crops(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    margin_mm: float,
    clicked: bool,
    pixel_mm: float,
    rng: np.random.Generator,
    size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, 2) centres and (S,) sides of the crops that a prompt on the structure's extent leads to."""
    extent = float((high - low).max()) + margin_mm
    smallest = SMALLEST_CROP_PX * pixel_mm
    centre = (low + high) / 2 + rng.normal(0, 0.03, 2) * extent
    if clicked:
        centre = centre + rng.uniform(-0.4, 0.4, 2) * (high - low)
        side = max(extent, smallest / 3) * float(np.exp(rng.uniform(np.log(0.6), np.log(6.0))))
    else:
        loose = extent * float(rng.uniform(1.0, 1.25))
        side = loose * float(rng.uniform(1.5, 2.4) if rng.random() < 0.5 else rng.uniform(1.7, 1.95))
    side = max(side, smallest)
    centres, sides = np.repeat(centre[None], SLICES, 0), np.full(SLICES, side)
    if rng.random() < 0.4:
        centres[1:] += rng.normal(0, 0.05, (SLICES - 1, 2)) * side
        sides[1:] *= np.exp(rng.uniform(-0.2, 0.2, SLICES - 1))
    return centres, sides


def _connected(mask: NDArray[np.bool_], heights: NDArray[np.float64], seed: tuple[int, int]) -> NDArray[np.bool_]:
    """The part of a stack, connected in the plane and across slices, that contains a pixel of its first slice."""
    order = np.argsort(heights)
    parts, _ = ndimage.label(mask[order], structure=np.ones((3, 3, 3)))
    first = int(np.flatnonzero(order == 0)[0])
    kept = parts == parts[first, seed[0], seed[1]]
    result = np.zeros_like(mask)
    result[order] = kept
    return result & mask


def _deep_pixel(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int] | None:
    if not mask.any():
        return None
    middle = mask.shape[0] // 2
    if mask[middle, middle]:
        return middle, middle
    row, column = inner_click(mask, rng)
    return int(row), int(column)


def _nearest_true(mask: NDArray[np.bool_], at: NDArray[np.float64]) -> tuple[int, int] | None:
    occupied = np.argwhere(mask)
    if len(occupied) == 0:
        return None
    away = ((occupied - at) ** 2).sum(1)
    best = int(away.argmin())
    if away[best] > 9:
        return None
    return int(occupied[best, 0]), int(occupied[best, 1])


def _cut_short(images: NDArray[np.float32], reference: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Let the study end within the structure, as thin slabs of slices do; changes both arrays in place."""
    axis = int(rng.integers(1, 3))
    lines = np.flatnonzero(reference[0].any(axis=2 - axis))
    if len(lines) < 8:
        return
    at = int(rng.uniform(lines[0] + 0.5 * (lines[-1] - lines[0]), lines[-1]))
    side = images.shape[axis]
    view, mask = np.moveaxis(images, axis, 1), np.moveaxis(reference, axis, 1)
    if rng.random() < 0.5:
        view[:, at + 1 :] = view[:, at : at + 1]
        mask[:, at + 1 :] = False
    else:
        at = side - 1 - at
        at = int(np.clip(at, lines[0], lines[0] + 0.5 * (lines[-1] - lines[0])))
        view[:, :at] = view[:, at : at + 1].copy()
        mask[:, :at] = False


def _prompt(
    reference: NDArray[np.bool_], clicked: bool, rng: np.random.Generator, *, step_mm: float
) -> tuple[SlicePrompt, bool]:
    """The prompt on the first slice, and whether it may mean several structures."""
    if not clicked:
        box = training_box(reference, rng, step_mm=step_mm)
        if rng.random() < 0.88:
            return SlicePrompt(box=box), True
        click = inner_click(reference, rng)
        return SlicePrompt(box=box, points=click[None], labels=np.array([True])), True
    points, labels = [inner_click(reference, rng)], [True]
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 3))):
            if rng.random() < 0.5:
                points.append(inner_click(reference, rng))
                labels.append(True)
            else:
                other = outer_click(reference, rng)
                if other is not None:
                    points.append(other)
                    labels.append(False)
    return SlicePrompt(points=np.array(points), labels=np.array(labels)), len(points) == 1
