"""The masks that a case names: read and brought onto the study's grid, segmented, or found in the study itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import ConfigError, EmptyStructureError, GeometryError, StudyError
from medsam_planner.geometry import index_from_lps, spacing_mm, voxel_diagonal_mm
from medsam_planner.io.body import body_mask
from medsam_planner.io.covering import around_mask, covering_map, covering_mask, grid_around, is_on_grid
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.loading import load_map
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.planning.case import EntryTable
from medsam_planner.planning.known_part import KnownPart, known_part
from medsam_planner.planning.problem import points_in_mask
from medsam_planner.progress import Progress
from medsam_planner.report import StructureRole
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = [
    "CaseMasks",
    "drawn_surface",
    "map_over",
    "surface_of_mask",
    "unknown_end",
]

_MOST_BEYOND_MM = 100.0
"""How far beyond the study a mask is followed; nobody asks for more room than that."""
_FINER = 0.95
"""Voxels of the study's size gain nothing from a grid of their own, and a mask stored flipped is the same mask."""
_MOST_FINE_VOXELS = 20_000_000
"""A mask of more voxels than this, and than the study, is planned on the study's grid."""
_VIEW_TRIANGLES = 40_000
_BLUR_VOXELS = 0.7
_FLAT_SURFACE = 0.76
"""What the blur leaves of a voxel right behind a flat surface: Φ(0.5 / 0.7)."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseMasks:
    """What a case has named so far, and what each is for."""

    study: StudyVolume
    results: Mapping[str, SegmentationResult]
    """Structures that were segmented."""
    masks: dict[str, highdicom.Volume] = field(default_factory=dict)
    """Structures that came as masks, by name, on the study's grid; grows as they are asked for."""
    roles: dict[str, StructureRole] = field(default_factory=dict)
    given: dict[str, highdicom.Volume] = field(default_factory=dict)
    """The same masks as they lie in their files."""
    known_parts: dict[str, KnownPart] = field(default_factory=dict)
    """Of masks whose file covers only part of the study."""

    def read(self, name: str, path: Path, *, inner: bool = False) -> highdicom.Volume:
        """The mask in a file, from now on known by `name`, on the study's grid.

        Where the grids differ, it is all that the mask touches; of a corridor (`inner`) what lies wholly in it, if
        anything does.

        Raises
        ------
        ConfigError
            If the file holds no mask, or one that does not lie in the study.
        """
        given = _given_mask(path, name)
        touched = covering_mask(given, self.study)
        if not touched.array.any():
            raise ConfigError(
                f"Expected a mask of '{name}' that lies in the study, {path} does not: its voxels are elsewhere."
            )
        filled = covering_mask(given, self.study, inner=True) if inner else touched
        self.given[name], self.masks[name] = given, filled if filled.array.any() else touched
        part = known_part(given, self.study)
        if part is not None:
            self.known_parts[name] = part
        return self.masks[name]

    def planned_mask(self, name: str, *, inner: bool = False) -> highdicom.Volume:
        """A mask that was read, on the grid to plan on: its own where that is finer, else the study's.

        It may reach beyond the study: what lies there can be near a tool all the same.

        Raises
        ------
        ConfigError
            If a corridor is too thin for that grid.
        """
        given, study = self.given[name], self.study
        if is_on_grid(given, study):
            return self.masks[name]
        near = around_mask(given, most_mm=_MOST_BEYOND_MM / 5)
        is_fine = voxel_diagonal_mm(given.affine) < _FINER * voxel_diagonal_mm(study.affine)
        if is_fine and near.array.size <= max(study.array.size, _MOST_FINE_VOXELS):
            return near
        if not inner:
            return covering_mask(given, grid_around(study, given, most_mm=_MOST_BEYOND_MM))
        filled = covering_mask(given, study, inner=True)
        if not filled.array.any():
            raise _too_thin(name, given, study)
        return filled

    def target_points(self, name: str, path: Path | None, structure: str | None) -> NDArray[np.float64]:
        """(G, 3) LPS mm, all of them in the mask as it was given, and in the study."""
        mask = self.named(name, path, structure, StructureRole.TARGET)
        given = self.given.get(name if path is not None else structure or "")
        if given is None or is_on_grid(given, self.study):
            return points_in_mask(mask)
        points = points_in_mask(given)
        index = index_from_lps(self.study.affine, points)
        return points[((index >= -0.5) & (index <= np.array(self.study.spatial_shape) - 0.5)).all(axis=1)]

    def entered(self, table: EntryTable, name: str) -> highdicom.Volume:
        """What a tool enters through."""
        if not table.skin:
            return self.named(name, table.mask, table.structure, StructureRole.ENTRY)
        if "skin" not in self.masks:
            if volume_modality(self.study) != "CT":
                raise StudyError(
                    "Expected a CT to find the skin in (HU tell body from air); name an entry mask or structure."
                )
            self.masks["skin"] = body_mask(self.study)
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


def surface_of_mask(mask: highdicom.Volume, *, progress: Progress | None = None) -> Surface:
    """Surface of a mask that does not show the voxels, and loses no part of it, however thin."""
    inside = mask.array > 0
    soft = ndimage.gaussian_filter(inside.astype(np.float32), _BLUR_VOXELS)
    around = np.ones((3, 3, 3), dtype=bool)
    lost = inside & ~ndimage.binary_dilation(soft > 0.5, around)
    if lost.any():
        thin = inside & ndimage.binary_dilation(lost, around)
        soft[thin] = np.maximum(soft[thin], _FLAT_SURFACE)
    return surface_from_probability(volume_like(mask, soft), max_triangles=_VIEW_TRIANGLES, progress=progress)


def drawn_surface(mask: highdicom.Volume, *, progress: Progress | None = None) -> Surface | None:
    """Surface of a mask for the pictures, or None where it has none: what is only drawn decides about no plan."""
    try:
        return surface_of_mask(mask, progress=progress)
    except (EmptyStructureError, GeometryError):
        return None


def map_over(mask: highdicom.Volume, path: Path, name: str) -> highdicom.Volume:
    """The map in a file, brought to the grid of the mask that it belongs to; nowhere smaller than it was.

    Raises
    ------
    ConfigError
        If it cannot be read, or says nothing of a part of the mask.
    """
    try:
        values = load_map(path)
    except StudyError as error:
        raise ConfigError(f"The spread of '{name}' cannot be read: {error}") from error
    index = index_from_lps(values.affine, points_in_mask(mask))
    half = (np.linalg.norm(mask.spacing) + np.linalg.norm(values.spacing)) / np.array(values.spacing) / 2
    beyond = ((index < -half) | (index > np.array(values.spatial_shape) - 1 + half)).any(axis=1)
    if beyond.any():
        raise ConfigError(
            f"Expected a spread that covers the whole mask of '{name}', {path} says nothing of {beyond.mean():.0%} of "
            "its voxels. Name the map of the same run as the mask."
        )
    return covering_map(values, mask)


def unknown_end(place: str, name: str | None, known: Collection[str]) -> ConfigError:
    """That `place` (entry or target) names a structure that is not there."""
    return ConfigError(
        f"{place}.structure: expected one of {sorted(known)}, got {name!r}. Give it prompts, or name a mask."
    )


def _given_mask(path: Path, name: str) -> highdicom.Volume:
    """The mask as its file holds it."""
    try:
        volume = load_map(path)
    except StudyError as error:
        raise ConfigError(f"The mask of '{name}' cannot be read: {error}") from error
    values = np.unique(volume.array)
    if values.tolist() == [0.0]:
        raise ConfigError(f"The mask of '{name}' is empty: no voxel of {path} belongs to it. Draw it, or leave it out.")
    if len(values) == 1:
        raise ConfigError(
            f"The mask of '{name}' is full: all voxels of {path} have the value {values[0]:g}, so nothing lies outside "
            "it. Write 0 where it is not."
        )
    if len(values) > 2 or values[0] != 0:
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (" ..." if len(values) > 4 else "")
        raise ConfigError(
            f"Expected a mask of 0 and one other value for '{name}' in {path}, got {len(values)} values ({listed}): an "
            "image, a map or several labels in one file. Write the structure's own mask."
        )
    return volume_like(volume, volume.array > 0)


def _too_thin(name: str, given: highdicom.Volume, study: StudyVolume) -> ConfigError:
    here, there = (" × ".join(f"{step:.3g}" for step in spacing_mm(one.affine)) for one in (given, study))
    return ConfigError(
        f"No voxel of the study ({there} mm) lies wholly in the mask of '{name}' ({here} mm): it is too thin to stay "
        "inside on this grid. Resample the study to finer voxels."
    )
