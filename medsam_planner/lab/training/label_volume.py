"""Label volumes, from which training samples are cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["LabelVolume", "indexed"]
_VOXELS_KEPT = 256
"""Voxels stored per label, among which the centre of a sample is chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelVolume:
    """Labels on a grid, the image where there is one, and the groups of labels that form structures."""

    name: str
    labels: NDArray[np.uint16]
    """(K, J, I)"""
    spacing_mm: tuple[float, float, float]
    structures: tuple[tuple[int, ...], ...]
    """Each structure is a union of labels."""
    image: NDArray[np.float32] | None = None
    """(K, J, I) intensities in any unit; None where they are to be synthesised."""
    weight: float = 1.0
    """Relative sampling weight."""
    axes: tuple[int, ...] = (0, 1, 2)
    """Axes across which the slices of samples lie; one that is named twice is drawn twice as often."""
    tissues: tuple[tuple[int, ...], ...] = ()
    """Groups of labels with the same synthetic intensity, as one bone beside another."""
    extents: dict[int, tuple[slice, slice, slice]] = field(default_factory=dict)
    """Bounding box of every label."""
    tissue: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))
    """(L,) tissue of each label (:class:`~medsam_planner.lab.training.tissues.Tissue`)."""
    _voxels: dict[int, NDArray[np.intp]] = field(default_factory=dict)

    def voxels_of(self, label: int) -> NDArray[np.intp]:
        """(N, 3) a fixed random sample of a label's voxels; empty where it is absent."""
        if label not in self._voxels:
            box = self.extents.get(label)
            found = np.zeros((0, 3), dtype=np.intp)
            if box is not None:
                flat = np.flatnonzero(self.labels[box] == label)
                chosen = flat[np.random.default_rng(label).permutation(len(flat))[:_VOXELS_KEPT]]
                inside = np.stack(np.unravel_index(chosen, self.labels[box].shape), axis=1)
                found = inside + np.array([part.start for part in box])
            self._voxels[label] = found
        return self._voxels[label]


def indexed(volume: LabelVolume) -> LabelVolume:
    """The same volume with the bounding boxes of its labels, and without structures that have no voxel."""
    boxes = ndimage.find_objects(volume.labels)
    extents = {number: box for number, box in enumerate(boxes, start=1) if box is not None}
    present = tuple(s for s in volume.structures if any(number in extents for number in s))
    return LabelVolume(
        name=volume.name,
        labels=volume.labels,
        spacing_mm=volume.spacing_mm,
        structures=present,
        image=volume.image,
        weight=volume.weight,
        axes=volume.axes,
        tissues=volume.tissues,
        extents=extents,
        tissue=volume.tissue if len(volume.tissue) else np.zeros(int(volume.labels.max()) + 1, dtype=np.uint8),
    )
