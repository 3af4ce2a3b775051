"""One training sample: a structure on a slice, the field a prompt would open, the prompt, and where a walk goes next.

Everything is drawn from one generator, so a sample is a function of its seed and of the volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.compact import SMALLEST_FIELD_PX
from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.geometry import slice_across
from medsam_planner.training.anatomy import LabelVolume
from medsam_planner.training.appearance import degrade, paint
from medsam_planner.training.field_grid import FieldGrid
from medsam_planner.training.simulated_prompts import Asked, drifted, grown_box, inner_click, outer_click

__all__ = ["Sample", "draw_sample"]

SMALLEST_STRUCTURE_PX = 16
"""Fewer pixels on the slice than this is not asked for."""
LARGEST_WALK_MM = 5.0
"""Distance between neighbouring slices in propagation that training covers."""
CUT_SHARE = 0.25
ONTO_END = 0.25
"""Prompted slices that lie at most two slices before the structure's end, with the walk going on over it."""
EXAMPLE_SHARE = 0.85
"""Masks that come with the image they were drawn on; the rest come without, as from a resampled or edited mask."""
SHORTEST_SLAB_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A field, what is true in it, and what was asked."""

    image: NDArray[np.float32]
    """(N, N) intensities in any unit."""
    truth: NDArray[np.bool_]
    """(N, N)"""
    outside_px: float
    """Area of the structure beyond the field, in model pixels."""
    prompt: SlicePrompt
    """In model pixels."""
    onward: Onward | None = None
    """The slice that a walk from here comes to, or None at the border of the study."""


@dataclass(frozen=True, slots=True, eq=False)
class Onward:
    """The next slice of a walk, in the same field."""

    image: NDArray[np.float32]
    """(N, N) on the scale of the sample's own image."""
    truth: NDArray[np.bool_]
    """(N, N)"""
    outside_px: float


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """One slice of a volume."""

    labels: NDArray[np.uint8]
    image: NDArray[np.float32] | None
    truth: NDArray[np.bool_]

    def cut(self, kept: tuple[slice, slice]) -> _Slice:
        """Part of the slice."""
        return _Slice(self.labels[kept], None if self.image is None else self.image[kept], self.truth[kept])


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """A slice that is asked about, the neighbour a walk would come from, and the one it would go to."""

    asked: _Slice
    neighbour: _Slice
    onward: _Slice | None
    spacing_mm: NDArray[np.float64]
    tissues: tuple[tuple[int, ...], ...]


def draw_sample(volumes: Sequence[LabelVolume], rng: np.random.Generator, size: int) -> Sample:
    """Draw until a structure with enough pixels is met; `volumes` are weighted by their own weights."""
    weights = np.array([volume.weight for volume in volumes])
    weights /= weights.sum()
    while True:
        volume = volumes[int(rng.choice(len(volumes), p=weights))]
        asked = Asked(str(rng.choice([kind.value for kind in Asked], p=[0.36, 0.26, 0.38])))
        plane = _draw_plane(volume, asked, rng)
        if plane is None:
            continue
        sample = _draw_field(_cut_short(plane, rng), asked, rng, size)
        if sample is not None:
            return sample


def _draw_plane(volume: LabelVolume, asked: Asked, rng: np.random.Generator) -> _Plane | None:
    structure = volume.structures[int(rng.integers(len(volume.structures)))]
    boxes = [volume.extents[number] for number in structure if number in volume.extents]
    axis = int(rng.integers(3))
    first = min(box[axis].start for box in boxes)
    last = max(box[axis].stop for box in boxes) - 1
    step_mm = volume.spacing_mm[axis]
    index = int(rng.integers(first, last + 1))
    neighbour = index
    reach = max(int(LARGEST_WALK_MM / step_mm), 1)
    direction = int(rng.choice([-1, 1]))
    onward = index + direction * (int(rng.integers(1, reach + 1)) if reach > 1 and rng.random() < 0.3 else 1)
    if asked is Asked.MASK:
        jump = int(rng.integers(1, reach + 1)) if reach > 1 and rng.random() < 0.3 else 1
        if rng.random() < 0.1:
            jump = 0
        if rng.random() < 0.5:
            # The end of the structure: the walk comes from its last slice, or stands on it.
            edge = last if direction > 0 else first
            neighbour = edge - direction * int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))
            index = neighbour + direction * max(jump, 1)
        else:
            neighbour = index - direction * jump
        onward = index + direction * max(jump, 1)
    elif rng.random() < ONTO_END:
        index = (last if direction > 0 else first) - direction * int(rng.integers(0, 3))
        onward = index + direction
        neighbour = index
    count = volume.labels.shape[axis]
    if not (0 <= index < count and 0 <= neighbour < count):
        return None
    table = np.zeros(256, dtype=bool)
    table[list(structure)] = True

    def taken(number: int) -> _Slice:
        labels = slice_across(volume.labels, axis, number)
        image = None if volume.image is None else slice_across(volume.image, axis, number)
        return _Slice(labels, image, table[labels])

    return _Plane(
        asked=taken(index),
        neighbour=taken(neighbour),
        onward=taken(onward) if 0 <= onward < count else None,
        spacing_mm=np.array([step for other, step in enumerate(volume.spacing_mm) if other != axis]),
        tissues=volume.tissues,
    )


def _cut_short(plane: _Plane, rng: np.random.Generator) -> _Plane:
    """Now and then the slice ends within the structure, as it does across thin slabs of slices."""
    filled = np.nonzero(plane.asked.truth | plane.neighbour.truth)
    axis = int(rng.integers(2))
    if rng.random() > CUT_SHARE or len(filled[0]) == 0:
        return plane
    low, high = int(filled[axis].min()), int(filled[axis].max()) + 1
    start = int(rng.uniform(low, low + 0.5 * (high - low))) if rng.random() < 0.7 else 0
    stop = int(rng.uniform(low + 0.6 * (high - low), high)) if rng.random() < 0.7 else plane.asked.truth.shape[axis]
    if stop - start < SHORTEST_SLAB_PX:
        return plane
    kept = (slice(start, stop), slice(None)) if axis == 0 else (slice(None), slice(start, stop))
    return replace(
        plane,
        asked=plane.asked.cut(kept),
        neighbour=plane.neighbour.cut(kept),
        onward=None if plane.onward is None else plane.onward.cut(kept),
    )


def _one_part(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One connected part, drawn by area."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())[1:].astype(np.float64)
    return np.asarray(parts == 1 + int(rng.choice(count, p=sizes / sizes.sum())))


def _continued(onward: NDArray[np.bool_], part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of the next slice that `part` goes on in."""
    parts, _ = ndimage.label(onward, structure=np.ones((3, 3)))
    return np.asarray(onward & np.isin(parts, np.unique(parts[part & onward])))


def _turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rotation, sometimes with a flip, from model axes to slice axes."""
    angle = 0.5 * np.pi * rng.integers(4)
    if rng.random() < 0.4:
        angle += rng.uniform(-0.6, 0.6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn * np.array([1.0, rng.choice([-1.0, 1.0])])


def _draw_field(plane: _Plane, asked: Asked, rng: np.random.Generator, size: int) -> Sample | None:
    truth = plane.asked.truth
    onward = None if plane.onward is None else plane.onward.truth
    seen = plane.neighbour.truth if asked is Asked.MASK else truth
    if np.count_nonzero(seen) < SMALLEST_STRUCTURE_PX:
        return None
    if asked is Asked.CLICK or (asked is Asked.BOX and rng.random() < 0.3):
        seen = truth = _one_part(truth, rng)
        if np.count_nonzero(seen) < SMALLEST_STRUCTURE_PX:
            return None
        onward = None if onward is None else _continued(onward, truth)
    spacing = plane.spacing_mm
    turn = _turn(rng)
    # Positions in mm along the model's own axes: rows of `turn` map back because it is orthogonal.
    own_mm = (np.argwhere(seen) * spacing) @ turn
    low, high = own_mm.min(0), own_mm.max(0)
    pixel_mm = float(spacing.mean())
    smallest_mm = SMALLEST_FIELD_PX * float(spacing.min())
    box_mm = grown_box(low, high, rng, slice_mm=float((np.asarray(truth.shape) * spacing).mean()))
    extent = float((box_mm[1] - box_mm[0]).max()) + pixel_mm
    click_mm: NDArray[np.float64] | None = None
    if asked is Asked.CLICK:
        click_mm = (inner_click(seen, rng) * spacing) @ turn
        centre = click_mm + rng.normal(0, 0.02, 2) * extent
        side_mm = max(float((high - low).max()) + pixel_mm, smallest_mm / 3) * float(
            np.exp(rng.uniform(np.log(0.45), np.log(6.0)))
        )
    else:
        middle = (box_mm[0] + box_mm[1]) / 2 if asked is Asked.BOX else (low + high) / 2
        centre = middle + rng.normal(0, 0.03, 2) * extent
        side_mm = extent * rng.uniform(1.5, 2.4) if rng.random() < 0.5 else extent * rng.uniform(1.7, 1.95)
    side_mm = max(side_mm, smallest_mm)
    step_mm = side_mm / size
    grid = FieldGrid.over(centre, turn, step_mm, size, spacing)
    inside, outside_px = grid.covered(truth)
    if asked is Asked.CLICK and np.count_nonzero(inside) < SMALLEST_STRUCTURE_PX:
        return None
    native_px = max(pixel_mm / step_mm, 0.7)
    with_example = asked is Asked.MASK and rng.random() < EXAMPLE_SHARE
    shown = [plane.asked, *([plane.neighbour] if with_example else []), *([plane.onward] if plane.onward else [])]
    images = _images(shown, plane.tissues, grid, rng, native_px)
    example = images[1] if with_example else None

    prompt = SlicePrompt()
    if asked is Asked.MASK:
        mask = drifted(grid.sample_mask(plane.neighbour.truth), rng, native_px=native_px)
        box = _box_of(mask, rng, native_px) if rng.random() < 0.5 else None
        prompt = SlicePrompt(box=box, mask=mask, example=example)
        share_clicked = 0.15
    elif asked is Asked.BOX:
        prompt = SlicePrompt(box=np.concatenate(grid.to_model(box_mm)))
        share_clicked = 0.2
    else:
        share_clicked = 0.0
    prompt = _with_clicks(prompt, inside, rng, share_clicked, None if click_mm is None else grid.to_model(click_mm))
    after = None if onward is None else Onward(images[-1], *grid.covered(onward))
    return Sample(image=images[0], truth=inside, outside_px=outside_px, prompt=prompt, onward=after)


def _images(
    slices: Sequence[_Slice],
    tissues: Sequence[Sequence[int]],
    grid: FieldGrid,
    rng: np.random.Generator,
    native_px: float,
) -> NDArray[np.float32]:
    """(S, N, N) the field on every slice, as one scanner would have shown it."""
    real = [grid.sample(part.image) for part in slices if part.image is not None]
    if real:
        drawn, strength = np.stack(real), 0.35
    else:
        shares, numbers = grid.shares([part.labels for part in slices])
        alike = [np.flatnonzero(np.isin(numbers, tissue)) for tissue in tissues]
        drawn, strength = paint(shares, rng, [layers.tolist() for layers in alike if len(layers)]), 1.0
    return degrade(drawn, rng, strength=strength, native_px=native_px)


def _box_of(mask: NDArray[np.float32], rng: np.random.Generator, native_px: float) -> NDArray[np.float64] | None:
    """Box through the centres of the outermost slice pixels of a mask, a little off."""
    seen = mask > 0.5
    if not seen.any():
        return None
    rim = max(native_px - 1, 0.0) / 2
    return box_around(seen) + np.array([rim, rim, -rim, -rim]) + rng.normal(0, 0.6, 4)


def _with_clicks(
    prompt: SlicePrompt,
    inside: NDArray[np.bool_],
    rng: np.random.Generator,
    share_clicked: float,
    first: NDArray[np.float64] | None,
) -> SlicePrompt:
    """Add the click that opened the field, and now and then one more inside or outside."""
    points: list[NDArray[np.float64]] = [] if first is None else [first]
    labels = [True] * len(points)
    more_inside, more_outside = (share_clicked, 0.5 * share_clicked) if first is None else (0.2, 0.15)
    if inside.any() and rng.random() < more_inside:
        points.append(inner_click(inside, rng))
        labels.append(True)
    if rng.random() < more_outside:
        outer = outer_click(inside, rng)
        if outer is not None:
            points.append(outer)
            labels.append(False)
    if not points:
        return prompt
    return replace(prompt, points=np.stack(points), labels=np.array(labels))
