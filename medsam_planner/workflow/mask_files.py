"""Masks from files, on the grid of the study and on the grid to plan on, without losing thin parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.calibration.run_evidence import read_run_evidence, trace_of_mask
from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.geometry import index_from_lps, spacing_mm, voxel_diagonal_mm, within_grid
from medsam_planner.io.conservative_resampling import around_mask, covering_map, covering_mask, grid_around, is_on_grid
from medsam_planner.io.loading import load_map
from medsam_planner.io.mask_reading import load_mask, object_notes
from medsam_planner.io.segment_path import mask_file
from medsam_planner.planning.margins import masks_from_spread
from medsam_planner.planning.mask_coverage import known_part
from medsam_planner.planning.plan_file_tables import PlanFile
from medsam_planner.planning.problem import points_in_mask
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = [
    "file_evidence",
    "map_over",
    "mask_evidence",
    "named_files",
    "plan_file_evidence",
    "planned_mask",
    "target_points",
]

_SAMPLES_FROM_SPREAD = 16
_MOST_BEYOND_MM = 100.0
"""How far beyond the study a mask is kept; no plan demands a larger clearance."""
_FINER = 0.95
"""A mask is planned on its own grid only if its voxel diagonal is below this share of the study's."""
_MOST_FINE_VOXELS = 20_000_000
"""A mask of more voxels than this, and than the study, is planned on the study's grid."""


def file_evidence(
    name: str,
    path: Path,
    study: StudyVolume,
    *,
    is_corridor: bool = False,
    spread: Path | None = None,
    is_calibrated: bool = False,
    seed: int = 0,
) -> StructureEvidence:
    """Evidence on a structure from its mask in a file, on the grid of the study and on its own.

    Parameters
    ----------
    name : str
    path : Path
        As :func:`medsam_planner.io.mask_reading.load_mask` reads it.
    study : StudyVolume
    is_corridor : bool
        Where the grids differ, a mask is all voxels that it touches; of a corridor those that lie wholly in it, if any.
    spread : Path, optional
        Map of the boundary spread in mm that belongs to the mask.
    is_calibrated : bool
        The margin will be read off a calibration: the run that wrote the mask is read as well.
    seed : int
        Seed of the masks that are sampled from `spread`.

    Raises
    ------
    ConfigError
        If the file holds no mask, or one that does not lie in the study; if a calibrated mask is not of a run.
    """
    given, notes = _given_mask(path, name, study)
    path = mask_file(path)
    known = _on_study(name, given, study, is_corridor=is_corridor, path=path)
    known = replace(known, trace=trace_of_mask(path, name, given.array), file_notes=notes)
    if is_calibrated:  # a calibration holds for the voxels of the study
        run = read_run_evidence(path, name)
        return replace(
            known,
            boundary_spread_mm=None if run.boundary_spread_mm is None else covering_map(run.boundary_spread_mm, study),
            entropy_bits=None if run.entropy_bits is None else covering_map(run.entropy_bits, study),
            provenance=run.provenance,
            log=run.log,
        )
    planned = planned_mask(name, given, known.mask, study, is_corridor=is_corridor)
    if spread is None:
        return replace(known, planned=planned)
    spread_mm = map_over(planned, spread, name)
    samples = masks_from_spread(planned, spread_mm, samples=_SAMPLES_FROM_SPREAD, seed=seed)
    return replace(known, planned=planned, boundary_spread_mm=spread_mm, mask_samples=samples)


def mask_evidence(
    name: str, given: highdicom.Volume, study: StudyVolume, *, is_corridor: bool = False
) -> StructureEvidence:
    """Evidence on a structure from a bool mask, on the grid of the study and on its own; see :func:`file_evidence`.

    Raises
    ------
    ConfigError
        If the mask does not lie in the study, or a corridor is too thin for its grid.
    """
    known = _on_study(name, given, study, is_corridor=is_corridor)
    return replace(known, planned=planned_mask(name, given, known.mask, study, is_corridor=is_corridor))


def _on_study(
    name: str, given: highdicom.Volume, study: StudyVolume, *, is_corridor: bool, path: Path | None = None
) -> StructureEvidence:
    touched = covering_mask(given, study)
    if given.array.any() and not touched.array.any():
        raise ConfigError(
            f"The mask of '{name}'{f' ({path})' if path else ''} lies outside the study. Name a mask of the same "
            "patient and study."
        )
    filled = covering_mask(given, study, inner=True) if is_corridor else touched
    on_study = filled if filled.array.any() else touched
    return StructureEvidence(mask=on_study, given=given, known_part=known_part(given, study))


def plan_file_evidence(plan_file: PlanFile, study: StudyVolume) -> dict[str, StructureEvidence]:
    """Evidence from the masks that a plan file names, by structure.

    Raises
    ------
    ConfigError
        As :func:`file_evidence`.
    """
    found = {
        table.name: file_evidence(
            table.name,
            table.mask,
            study,
            is_corridor=table.role == "inside",
            spread=table.spread,
            is_calibrated=table.calibration is not None,
            seed=plan_file.search.seed,
        )
        for table in plan_file.structures
        if table.mask is not None
    }
    return found | {name: file_evidence(name, path, study) for name, path in plan_file.end_masks().items()}


def named_files(path: Path, plan_file: PlanFile) -> list[Path]:
    """The plan file and every file or folder it names."""
    stated = [
        None if plan_file.study is None else plan_file.study.path,
        plan_file.landmarks,
        plan_file.registration,
        *(one for table in plan_file.structures for one in (table.mask, table.spread, table.calibration)),
        *plan_file.end_masks().values(),
    ]
    return [path, *(mask_file(one) for one in stated if one is not None)]


def planned_mask(
    name: str, given: highdicom.Volume, on_study: highdicom.Volume, study: StudyVolume, *, is_corridor: bool
) -> highdicom.Volume:
    """The mask of a file on the grid to plan on: its own where that is finer, else the study's.

    It may reach beyond the study, because structures there can still be near a tool.

    Raises
    ------
    ConfigError
        If a corridor is too thin for that grid.
    """
    if is_on_grid(given, study):
        return on_study
    near = around_mask(given, most_mm=_MOST_BEYOND_MM / 5)
    is_fine = voxel_diagonal_mm(given.affine) < _FINER * voxel_diagonal_mm(study.affine)
    if is_fine and near.array.size <= max(study.array.size, _MOST_FINE_VOXELS):
        return near
    if not is_corridor:
        return covering_mask(given, grid_around(study, given, most_mm=_MOST_BEYOND_MM))
    filled = covering_mask(given, study, inner=True)
    if not filled.array.any():
        raise _too_thin(name, given, study)
    return filled


def target_points(evidence: StructureEvidence, study: StudyVolume) -> NDArray[np.float64]:
    """(G, 3) LPS mm: voxels of a structure to be reached, all of them in the mask as it was given, and in the study."""
    given = evidence.given
    if given is None or is_on_grid(given, study):
        return points_in_mask(evidence.mask)
    points = points_in_mask(given)
    index = index_from_lps(study.affine, points)
    return points[within_grid(index, study.spatial_shape)]


def map_over(mask: highdicom.Volume, path: Path, name: str) -> highdicom.Volume:
    """The map in a file on the grid of the mask that it belongs to; no value becomes smaller.

    Raises
    ------
    ConfigError
        If it cannot be read, or does not cover a part of the mask.
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
            f"Expected a spread that covers the whole mask of '{name}', {path} does not cover {beyond.mean():.0%} of "
            "its voxels. Name the map of the same run as the mask."
        )
    return covering_map(values, mask)


def _given_mask(path: Path, name: str, study: StudyVolume) -> tuple[highdicom.Volume, tuple[str, ...]]:
    """The mask as its file holds it, and what is not known of it."""
    try:
        volume = load_mask(path, study, name=name)
    except StudyError as error:
        raise ConfigError(f"The mask of '{name}' cannot be read: {error}") from error
    values = np.unique(volume.array.astype(np.float32) if volume.array.dtype == bool else volume.array)
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
    return volume_like(volume, volume.array > 0), object_notes(volume)


def _too_thin(name: str, given: highdicom.Volume, study: StudyVolume) -> ConfigError:
    here, there = (" × ".join(f"{step:.3g}" for step in spacing_mm(one.affine)) for one in (given, study))
    return ConfigError(
        f"No voxel of the study ({there} mm) lies wholly in the mask of '{name}' ({here} mm): it is too thin to stay "
        "inside on this grid. Resample the study to finer voxels."
    )
