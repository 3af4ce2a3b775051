"""The structure that a training sample segments: a label, several labels, a wall, a lumen, a lesion.

A target is chosen on the labels of one volume and then applied to any stack of slices through it, coarse or fine. Walls
and lesions are in no label map: they are added to the stack as labels of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.tissues import Tissue

__all__ = ["EXTRA_LABELS", "Target", "TargetKind", "draw_target"]

EXTRA_LABELS = 4
"""At most so many labels are added by a target to those of its volume."""
_UNSUITABLE = (Tissue.UNSPLIT, Tissue.AIR)
"""Tissues that are seldom a structure of interest; the air of an airway is one."""


class TargetKind(Enum):
    """How a structure follows from the labels."""

    LABELS = "labels"
    SHELL = "shell"
    """A layer around the labels."""
    WALL = "wall"
    """The labels without their inside."""
    LUMEN = "lumen"
    """The inside of the labels."""
    FILLED = "filled"
    """The labels and what they enclose on each slice."""
    LESION = "lesion"
    """A body inside the labels."""


_KINDS = (TargetKind.LABELS, TargetKind.SHELL, TargetKind.WALL, TargetKind.LUMEN, TargetKind.FILLED, TargetKind.LESION)
_SHARES = (0.68, 0.06, 0.08, 0.04, 0.04, 0.10)


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """A lesion: an ellipsoid with a wavy surface."""

    centre_mm: NDArray[np.float64]
    frame: NDArray[np.float64]
    """(3, 3) mm → radii."""
    waves: NDArray[np.float64]
    """(W, 3) wave vectors on the unit ball."""
    phases: NDArray[np.float64]
    roughness: float

    def holds(self, points_mm: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(...) bool: whether each of the (..., 3) points lies inside."""
        local = ((points_mm - self.centre_mm.astype(np.float32)) @ self.frame.T.astype(np.float32)).astype(np.float32)
        radius = np.sqrt((local * local).sum(-1))
        near = radius < 1 + 3 * self.roughness
        level = np.zeros_like(radius)
        part = local[near]
        level[near] = np.sin(part @ self.waves.T.astype(np.float32) + self.phases.astype(np.float32)).mean(-1)
        return np.asarray(radius < 1 + self.roughness * level * 1.5)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A structure of one volume."""

    kind: TargetKind
    labels: tuple[int, ...]
    centre_mm: NDArray[np.float64]
    """(3,) a point of the structure (for a shell: beside it), along the volume's axes."""
    reach_mm: float
    """Half the side of a cube around the centre that contains the structure, or the part of it that is used."""
    thickness_mm: float = 0.0
    painted: bool = True
    """Whether a wall, a lumen or a lesion gets a tissue of its own."""
    bodies: tuple[_Body, ...] = ()
    target_bodies: int = 0
    """The first so many bodies are the target; the others are distractors."""

    def applied(
        self, labels: NDArray[np.uint16], points_mm: NDArray[np.float32], pixel_mm: float, fresh: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """Add what the target adds to a stack, and find the target in it.

        Parameters
        ----------
        labels : (S, H, W) uint16
            Labels of the volume on the stack.
        points_mm : (S, H, W, 3) float32
            Positions of its pixels along the volume's axes.
        pixel_mm : float
            Size of a pixel.
        fresh : int
            First label that the volume does not use.

        Returns
        -------
        (S, H, W) uint16, (S, H, W) bool
            Labels, and the mask of the target.
        """
        inside = np.isin(labels, self.labels) if len(self.labels) > 1 else labels == self.labels[0]
        if self.kind is TargetKind.LABELS:
            return labels, inside
        if self.kind is TargetKind.FILLED:
            return labels, np.stack([ndimage.binary_fill_holes(part) for part in inside])
        if self.kind is TargetKind.LESION:
            return self._with_bodies(labels, points_mm, inside, fresh)
        result = labels.copy()
        if self.kind is TargetKind.SHELL:
            layer = _within(~inside, self.thickness_mm / pixel_mm) & ~inside
            if self.painted:
                result[layer] = fresh
            return result, layer
        inner = inside & ~_within(inside, self.thickness_mm / pixel_mm)
        if self.painted:
            result[inner] = fresh
        return result, inner if self.kind is TargetKind.LUMEN else inside & ~inner

    def _with_bodies(
        self, labels: NDArray[np.uint16], points_mm: NDArray[np.float32], organ: NDArray[np.bool_], fresh: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        result, target = labels.copy(), np.zeros(labels.shape, dtype=bool)
        for number, body in enumerate(self.bodies):
            part = body.holds(points_mm)
            if self.painted:  # confined to the organ
                part &= organ
            result[part] = fresh
            if number < self.target_bodies:
                target |= part
            else:
                target &= ~part
        return result, target

    def with_added_tissues(self, tissues: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(L,) tissues of a volume's labels, followed by random ones for the labels that targets add."""
        choices = (Tissue.UNKNOWN, Tissue.ORGAN, Tissue.SOFT, Tissue.FLUID, Tissue.MARROW, Tissue.VESSEL, Tissue.FAT)
        return np.concatenate([tissues, rng.choice(choices, EXTRA_LABELS).astype(np.uint8)])


def _within(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """On each slice, the pixels of a mask at most `pixels` away from its complement."""
    found = np.zeros(mask.shape, dtype=bool)
    for number, part in enumerate(mask):
        if not part.all():
            found[number] = part & (ndimage.distance_transform_edt(part) <= max(pixels, 1.0))
    return found


def draw_target(volume: LabelVolume, rng: np.random.Generator) -> Target | None:
    """Choose a structure of a volume at random; None where the choice is unsuitable."""
    structure = volume.structures[int(rng.integers(len(volume.structures)))]
    label = structure[int(rng.integers(len(structure)))]
    if label not in volume.extents:
        return None
    tissue = Tissue(int(volume.tissue[label]))
    if tissue in _UNSUITABLE and rng.random() < 0.8:
        return None
    kind = TargetKind.LABELS
    if volume.image is None:
        kind = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
        if tissue is Tissue.UNSPLIT:
            kind = TargetKind.LESION
    labels = structure
    if kind is TargetKind.LABELS and volume.image is None and rng.random() < 0.22:
        labels = _with_neighbours(volume, label, rng)
    boxes = [volume.extents[number] for number in labels if number in volume.extents]
    sides_mm = np.array(
        [
            (max(box[axis].stop for box in boxes) - min(box[axis].start for box in boxes)) * volume.spacing_mm[axis]
            for axis in range(3)
        ]
    )
    points = volume.voxels_of(label)
    if len(points) == 0:
        return None
    centre_mm = points[int(rng.integers(len(points)))] * np.asarray(volume.spacing_mm)
    extent = float(np.median(sides_mm))
    reach_mm = min(0.5 * float(np.linalg.norm(sides_mm)), 220.0)
    if kind is TargetKind.LESION:
        return _lesion(volume, labels, centre_mm, extent, rng)
    thickness = 0.0
    if kind in (TargetKind.SHELL, TargetKind.WALL, TargetKind.LUMEN):
        least = 1.2 * min(volume.spacing_mm)
        narrow = float(np.min(sides_mm))
        most = 0.45 * extent if kind is TargetKind.SHELL else 0.3 * narrow
        thickness = float(np.clip(extent * np.exp(rng.uniform(np.log(0.05), np.log(0.3))), least, max(most, least)))
        thickness = min(thickness, 12.0)
        if kind is not TargetKind.SHELL and narrow < 5 * least:
            kind, thickness = TargetKind.LABELS, 0.0
    return Target(
        kind,
        labels,
        centre_mm,
        reach_mm + (thickness if kind is TargetKind.SHELL else 0.0),
        thickness_mm=thickness,
        painted=bool(rng.random() < 0.85),
    )


def _with_neighbours(volume: LabelVolume, label: int, rng: np.random.Generator) -> tuple[int, ...]:
    """A label and one to three labels that touch it, as a kidney and its pelvis form one structure."""
    points = volume.voxels_of(label)
    points = points[rng.permutation(len(points))[:24]]
    steps = rng.integers(-3, 4, (len(points) * 4, 3))
    at = np.clip(np.repeat(points, 4, axis=0) + steps, 0, np.array(volume.labels.shape) - 1)
    found, counts = np.unique(volume.labels[tuple(at.T)], return_counts=True)
    kept = (found != label) & (found != 0) & ~np.isin(volume.tissue[found], _UNSUITABLE)
    found, counts = found[kept], counts[kept]
    if len(found) == 0:
        return (label,)
    number = min(int(rng.integers(1, 4)), len(found))
    joined = rng.choice(found, number, replace=False, p=counts / counts.sum())
    return (label, *(int(other) for other in joined))


def _lesion(
    volume: LabelVolume,
    labels: tuple[int, ...],
    centre_mm: NDArray[np.float64],
    extent: float,
    rng: np.random.Generator,
) -> Target | None:
    """One body, or a cluster of bodies of which one or all are the target."""
    least = 4.0 * min(volume.spacing_mm)
    size = extent * float(np.exp(rng.uniform(np.log(0.08), np.log(0.45))))
    radius = 0.5 * float(np.clip(size, least, 90.0))
    count = 1 if rng.random() < 0.6 else int(rng.integers(2, 6))
    bodies = []
    for number in range(count):
        own = radius * float(np.exp(rng.normal(0, 0.25)))
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        radii = own * np.exp(rng.normal(0, 0.25, 3))
        away = rng.standard_normal(3)
        away *= 0.0 if number == 0 else radius * rng.uniform(1.0, 4.0) / np.linalg.norm(away)
        bodies.append(
            _Body(
                centre_mm + away,
                turn / radii[:, None],
                rng.normal(0, rng.uniform(1.5, 6.0), (5, 3)),
                rng.uniform(0, 6.3, 5),
                float(rng.uniform(0.0, 0.45)),
            )
        )
    targets = count if count > 1 and rng.random() < 0.4 else 1
    reach_mm = radius * (1.8 if targets == 1 else 5.5)
    return Target(
        TargetKind.LESION,
        labels,
        centre_mm,
        reach_mm,
        painted=bool(rng.random() < 0.6),
        bodies=tuple(bodies),
        target_bodies=targets,
    )
