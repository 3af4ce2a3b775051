"""The masks that a case names: read and brought onto the study's grid, segmented, or found in the study itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import highdicom
import numpy as np
from scipy import ndimage

from medsam_planner.errors import ConfigError, PlanningError, StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.resampling import resample_like
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.planning.case import EntryTable
from medsam_planner.planning.known_part import KnownPart, known_part
from medsam_planner.progress import Progress
from medsam_planner.report import StructureRole
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = ["CaseMasks", "body_mask", "on_grid", "skin_mask", "surface_of_mask", "unknown_end"]

_AIR_BELOW_HU = -300.0
_TISSUE_SHARE = 0.15
"""Of the 99th percentile of an MR: above the noise of air, below any tissue that makes up the skin."""
_VIEW_TRIANGLES = 40_000


@dataclass(frozen=True, slots=True, eq=False)
class CaseMasks:
    """What a case has named so far, and what each is for."""

    study: StudyVolume
    results: Mapping[str, SegmentationResult]
    """Structures that were segmented."""
    masks: dict[str, highdicom.Volume] = field(default_factory=dict)
    """Structures that came as masks, by name; grows as they are asked for."""
    roles: dict[str, StructureRole] = field(default_factory=dict)
    known_parts: dict[str, KnownPart] = field(default_factory=dict)
    """Of masks whose file covers only part of the study."""

    def read(self, name: str, path: Path) -> highdicom.Volume:
        """The mask in a file, from now on known by `name`.

        Raises
        ------
        ConfigError
            If the file holds no mask, or one that does not lie in the study.
        """
        self.masks[name], part = _read_mask(path, self.study)
        if part is not None:
            self.known_parts[name] = part
        return self.masks[name]

    def entered(self, table: EntryTable, name: str) -> highdicom.Volume:
        """What a tool enters through."""
        if not table.skin:
            return self.named(name, table.mask, table.structure, StructureRole.ENTRY)
        if "skin" not in self.masks:
            self.masks["skin"] = skin_mask(self.study)
        self.roles["skin"] = StructureRole.ENTRY
        return self.masks["skin"]

    def named(self, name: str, path: Path | None, structure: str | None, role: StructureRole) -> highdicom.Volume:
        """A mask of its own, read once and called `name`, or that of a structure.

        Raises
        ------
        ConfigError
            If no structure is called so, or as :meth:`read`.
        """
        if path is not None:
            if name not in self.masks:
                self.read(name, path)
                self.roles[name] = role
            return self.masks[name]
        if structure in self.masks:
            return self.masks[structure]
        if structure is not None and structure in self.results:
            self.roles.setdefault(structure, role)
            return self.results[structure].mask
        raise unknown_end(name, structure, {*self.results, *self.masks})


def skin_mask(study: StudyVolume) -> highdicom.Volume:
    """The body of a CT: everything denser than fat-free air, its largest part, holes filled slice by slice.

    Raises
    ------
    StudyError
        If the study is no CT: only HU tell the body from the air around it.
    """
    if study.source is None or study.source.modality != "CT":
        raise StudyError("Expected a CT to find the skin in (HU tell body from air); name an entry mask or structure.")
    dense = ndimage.binary_opening(study.array > _AIR_BELOW_HU, iterations=2)
    parts, count = ndimage.label(dense)
    if count == 0:
        raise StudyError("Expected a body denser than air in the CT, found none; name an entry mask or structure.")
    body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled = np.stack([ndimage.binary_fill_holes(section) for section in body])
    return volume_like(study, filled)


def body_mask(study: StudyVolume) -> highdicom.Volume:
    """The patient without the air around; of a CT by its HU, else by the brightness that air does not reach.

    Raises
    ------
    StudyError, PlanningError
        If there is none.
    """
    if volume_modality(study) == "CT":
        return skin_mask(study)
    values = study.array
    bright = ndimage.binary_opening(values > _TISSUE_SHARE * float(np.percentile(values, 99)))
    parts, count = ndimage.label(bright)
    if not count:
        raise PlanningError("No body was found in the study, so there is no skin to enter through.")
    body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return volume_like(study, np.stack([ndimage.binary_fill_holes(section) for section in body]))


def surface_of_mask(mask: highdicom.Volume, *, progress: Progress | None = None) -> Surface:
    """Surface of a mask that does not show the voxels."""
    soft = volume_like(mask, ndimage.gaussian_filter(mask.array.astype(np.float32), 0.7))
    return surface_from_probability(soft, max_triangles=_VIEW_TRIANGLES, progress=progress)


def on_grid(volume: highdicom.Volume, study: StudyVolume, *, order: int) -> highdicom.Volume:
    """The volume on the study's grid, interpolated by `order` where it is not on it yet."""
    same = tuple(volume.spatial_shape) == tuple(study.spatial_shape)
    if same and np.allclose(volume.affine, study.affine, atol=1e-3):
        return volume
    return resample_like(volume, study, order)


def unknown_end(place: str, name: str | None, known: Collection[str]) -> ConfigError:
    """That `place` (entry or target) names a structure that is not there."""
    return ConfigError(
        f"{place}.structure: expected one of {sorted(known)}, got {name!r}. Give it prompts, or name a mask."
    )


def _read_mask(path: Path, study: StudyVolume) -> tuple[highdicom.Volume, KnownPart | None]:
    volume = load_volume(path)
    values = np.unique(volume.array)
    if len(values) > 2 or values[0] != 0:
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (" ..." if len(values) > 4 else "")
        raise ConfigError(
            f"Expected a mask of 0 and one other value in {path}, got {len(values)} values ({listed}): an image, a map "
            "or several labels in one file. Write the structure's own mask."
        )
    mask = volume_like(study, on_grid(volume, study, order=0).array > 0)
    if not mask.array.any():
        raise ConfigError(f"Expected a mask that lies in the study, {path} does not: its voxels are elsewhere.")
    return mask, known_part(volume, study)
