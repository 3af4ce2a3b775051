"""From segmented structures to a reviewed plan: margins, search, plan.json and report.html.

Here the parts of a case file meet the results of the session. The margins are ``base + factor × boundary spread``, read
at each structure's surface.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.geometry import index_from_lps, voxel_diagonal_mm
from medsam_planner.io import load_volume
from medsam_planner.io.resampling import resample_like
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.pipeline import Segmented
from medsam_planner.planning.case import EntryTable, PlanCase, StructureTable, TargetTable, read_case
from medsam_planner.planning.margins import margin_from_spread, masks_from_spread
from medsam_planner.planning.plan_file import plan_document
from medsam_planner.planning.problem import (
    Limits,
    PlanningProblem,
    SearchSettings,
    Weights,
    entry_region_on_surface,
    points_in_mask,
    points_in_sphere,
)
from medsam_planner.planning.search import PlanResult, risk_map_mm, search
from medsam_planner.planning.structures import Avoid, StayInside, Structure
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.report import PlanReport, StructureRole, write_report
from medsam_planner.report.model import RISK_NAME
from medsam_planner.run_folder import open_run_folder, write_json
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.versions import versions
from medsam_planner.volumes import StudyVolume, volume_like
from prompts import PromptLog

__all__ = [
    "PlanInputs",
    "ReviewedPlan",
    "ball_inside_study",
    "check_case",
    "review_case",
    "review_plan",
    "review_segmented_case",
    "skin_mask",
]

_SAMPLES_FROM_SPREAD = 16
_AIR_BELOW_HU = -300.0
_VIEW_TRIANGLES = 40_000


@dataclass(frozen=True, slots=True, eq=False)
class PlanInputs:
    """A planning problem, and what the report shows around it."""

    title: str
    study: StudyVolume
    problem: PlanningProblem
    segmentations: Mapping[str, SegmentationResult]
    prompts: Mapping[str, PromptLog]
    surfaces: Mapping[str, Surface]
    roles: Mapping[str, StructureRole]
    masks: Mapping[str, highdicom.Volume]
    """Structures that came as masks."""
    provenance: Mapping[str, Any]
    entry_mask: highdicom.Volume | None = None
    """What the tool enters through; its surface is painted with the risk map."""
    true_clearance_mm: Callable[[np.ndarray], dict[str, float]] | None = None
    """For phantoms: clearance of a line (2, 3) from the true structures, tool radius subtracted."""


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedPlan:
    """What was planned, and where it was written."""

    plan: PlanResult
    folder: Path
    report_path: Path


def review_case(case_path: Path, out: Path, *, progress: Progress | None = None) -> ReviewedPlan:
    """Plan a case whose structures are all given as masks.

    Raises
    ------
    ConfigError
        If the case lacks a study or a mask, or anything in it is wrong.
    """
    case = read_case(case_path)
    if case.study is None:
        raise ConfigError(f"{case_path}: study.path is missing; it names the images the plan is shown on.")
    study = load_volume(
        case.study.path, series=case.study.series, resample_tilt=case.study.resample_tilt, progress=progress
    )
    return review_plan(_inputs(case, study, None, progress), open_run_folder(out), progress=progress)


def review_segmented_case(
    case_path: Path, segmented: Segmented, out: Path, *, progress: Progress | None = None
) -> ReviewedPlan:
    """Plan a case on structures that were just segmented.

    Raises
    ------
    ConfigError
        If the case names a structure that has neither a mask nor prompts.
    """
    inputs = _inputs(read_case(case_path), segmented.study, segmented, progress)
    return review_plan(inputs, open_run_folder(out), progress=progress)


def check_case(case_path: Path, prompted: Collection[str]) -> None:
    """Find the mistakes of a case file before anything long is done for it.

    Parameters
    ----------
    prompted : collection of str
        Structures that will be segmented.

    Raises
    ------
    ConfigError
        As :func:`review_segmented_case`.
    """
    case = read_case(case_path)
    known = set(prompted)
    for table in case.structures:
        if table.mask is None and table.name not in known:
            raise _unknown_structure(table.name, prompted)
    known |= {table.name for table in case.structures} | ({"skin"} if case.entry.skin else set())
    for place, name in (("target", case.target.structure), ("entry", case.entry.structure)):
        if name is not None and name not in known:
            raise _unknown_end(place, name, known)


def review_plan(inputs: PlanInputs, folder: Path, *, progress: Progress | None = None) -> ReviewedPlan:
    """Search, then write ``plan.json`` and ``report.html``."""
    plan = search(inputs.problem, progress=progress)
    document = plan_document(plan, inputs.problem)
    truth: dict[str, float] | None = None
    if inputs.true_clearance_mm is not None and plan.feasible:
        best = plan.alternatives[0]
        truth = inputs.true_clearance_mm(np.array([best.entry_lps_mm, best.target_lps_mm]))
        document["true_clearance_mm_by_structure"] = truth
    document["title"] = inputs.title
    document["provenance"] = {**inputs.provenance, "versions": versions()}
    write_json(folder / "plan.json", document)
    report = PlanReport(
        title=inputs.title,
        study=inputs.study,
        segmentations=inputs.segmentations,
        roles=inputs.roles,
        plan=plan,
        tool=inputs.problem.tool,
        margins_mm={structure.name: structure.margin_mm for structure in inputs.problem.structures},
        surfaces=inputs.surfaces,
        prompts=inputs.prompts,
        provenance=document["provenance"],
        masks=inputs.masks,
        truth=truth,
        risk_surface=None if inputs.entry_mask is None else _risk_surface(inputs.entry_mask, inputs.problem, progress),
    )
    return ReviewedPlan(plan, folder, write_report(report, folder / "report.html", progress))


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


def ball_inside_study(study: highdicom.Volume, centre_lps_mm: ArrayLike, radius_mm: float) -> NDArray[np.float64]:
    """(G, 3) points of a ball, its centre first, without those beyond the volume: nothing is known of what lies there.

    Raises
    ------
    ConfigError
        If the centre itself lies beyond the volume.
    """
    points = points_in_sphere(centre_lps_mm, radius_mm)
    index = index_from_lps(study.affine, points)
    inside = ((index >= -0.5) & (index <= np.array(study.spatial_shape) - 0.5)).all(axis=1)
    if not inside[0]:
        ends = index_from_lps(np.linalg.inv(study.affine), [[-0.5] * 3, np.array(study.spatial_shape) - 0.5])
        low, high = ends.min(axis=0), ends.max(axis=0)
        extent = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
        came = ", ".join(f"{value:.1f}" for value in np.asarray(centre_lps_mm, dtype=np.float64))
        raise ConfigError(
            f"target.point_lps_mm: expected a place inside the study ({extent} LPS mm), got ({came}). "
            "Check that it is in LPS (from RAS, change the sign of the first two numbers) and of this study."
        )
    return points[inside]


def _risk_surface(entry_mask: highdicom.Volume, problem: PlanningProblem, progress: Progress | None) -> Surface:
    """The entered surface with the best certified clearance of each place of the entry region; NaN elsewhere."""
    surface = surface_from_probability(_soft(entry_mask), max_triangles=_VIEW_TRIANGLES, progress=progress)
    entries = cKDTree(problem.entry.points_lps_mm)
    reach_mm = 2.0 * voxel_diagonal_mm(entry_mask.affine)
    enterable = np.isfinite(entries.query(surface.vertices_lps_mm, distance_upper_bound=reach_mm)[0])
    risk = np.full(len(surface.vertices_lps_mm), np.nan, dtype=np.float32)
    if enterable.any():
        risk[enterable] = risk_map_mm(problem, surface.vertices_lps_mm[enterable], progress=progress)
    return surface.with_values(RISK_NAME, risk)


def _soft(mask: highdicom.Volume) -> highdicom.Volume:
    """A mask as a probability, so that its surface does not show the voxels."""
    return volume_like(mask, ndimage.gaussian_filter(mask.array.astype(np.float32), 0.7))


def _inputs(case: PlanCase, study: StudyVolume, segmented: Segmented | None, progress: Progress | None) -> PlanInputs:
    results = {} if segmented is None else segmented.results
    masks: dict[str, highdicom.Volume] = {}
    structures = tuple(_structure(table, study, results, masks, case.search.seed) for table in case.structures)
    roles = {
        table.name: StructureRole.AVOID if table.role == "avoid" else StructureRole.INSIDE for table in case.structures
    }
    entry_mask = _entry_mask(case.entry, study, results, masks, roles)
    problem = PlanningProblem(
        structures=structures,
        tool=Tool(**case.tool.model_dump()),
        entry=entry_region_on_surface(
            entry_mask, centre_lps_mm=case.entry.centre_lps_mm, radius_mm=case.entry.radius_mm
        ),
        targets_lps_mm=_targets(case.target, study, results, masks, roles),
        limits=Limits(**case.limits.model_dump()),
        weights=Weights(**case.weights.model_dump()),
        settings=SearchSettings(**case.search.model_dump()),
        bone=study if study.source is not None and study.source.modality == "CT" else None,
    )
    shown = {name: result for name, result in results.items() if result.mask.array.any()}
    surfaces = {} if segmented is None else dict(segmented.surfaces)
    for name, mask in masks.items():
        surfaces[name] = surface_from_probability(_soft(mask), max_triangles=_VIEW_TRIANGLES, progress=progress)
    return PlanInputs(
        title=case.title,
        study=study,
        problem=problem,
        segmentations=shown,
        prompts={} if segmented is None else {name: segmented.logs[name] for name in shown},
        surfaces=surfaces,
        roles=roles,
        masks=masks,
        provenance={"case": case.model_dump(mode="json"), "seed": case.search.seed},
        entry_mask=entry_mask,
    )


def _structure(
    table: StructureTable,
    study: StudyVolume,
    results: Mapping[str, SegmentationResult],
    masks: dict[str, highdicom.Volume],
    seed: int,
) -> Structure:
    samples: Any = ()
    spread: highdicom.Volume | None = None
    if table.mask is not None:
        mask = masks[table.name] = _read_mask(table.mask, study)
        if table.spread is not None:
            spread = _on_grid(load_volume(table.spread), study, order=1)
            samples = masks_from_spread(mask, spread, samples=_SAMPLES_FROM_SPREAD, seed=seed)
    elif table.name in results:
        result = results[table.name]
        mask, spread, samples = result.mask, result.boundary_spread_mm, result.mask_samples or ()
    else:
        raise _unknown_structure(table.name, results)
    margin = margin_from_spread(
        spread, base_mm=table.base_margin_mm, factor=table.spread_factor, cap_mm=table.max_margin_mm
    )
    if table.role == "avoid":
        return Avoid(table.name, mask, margin, samples)
    return StayInside(table.name, mask, margin, samples, free_entry_mm=table.free_entry_mm)


def _entry_mask(
    table: EntryTable,
    study: StudyVolume,
    results: Mapping[str, SegmentationResult],
    masks: dict[str, highdicom.Volume],
    roles: dict[str, StructureRole],
) -> highdicom.Volume:
    if table.skin:
        masks["skin"] = skin_mask(study)
        roles["skin"] = StructureRole.ENTRY
        return masks["skin"]
    return _named_mask("entry", table.mask, table.structure, study, results, masks, roles, StructureRole.ENTRY)


def _targets(
    table: TargetTable,
    study: StudyVolume,
    results: Mapping[str, SegmentationResult],
    masks: dict[str, highdicom.Volume],
    roles: dict[str, StructureRole],
) -> np.ndarray:
    if table.point_lps_mm is not None:
        return ball_inside_study(study, table.point_lps_mm, table.radius_mm)
    return points_in_mask(
        _named_mask("target", table.mask, table.structure, study, results, masks, roles, StructureRole.TARGET)
    )


def _named_mask(
    name: str,
    path: Path | None,
    structure: str | None,
    study: StudyVolume,
    results: Mapping[str, SegmentationResult],
    masks: dict[str, highdicom.Volume],
    roles: dict[str, StructureRole],
    role: StructureRole,
) -> highdicom.Volume:
    if path is not None:
        mask = masks[name] = _read_mask(path, study)
        roles[name] = role
        return mask
    if structure in masks:
        return masks[structure]
    if structure is not None and structure in results:
        roles.setdefault(structure, role)
        return results[structure].mask
    raise _unknown_end(name, structure, {*results, *masks})


def _unknown_structure(name: str, prompted: Collection[str]) -> ConfigError:
    return ConfigError(
        f"structures[{name}]: expected a mask, or prompts of that name; "
        f"the prompted structures are {list(prompted) or 'none'}."
    )


def _unknown_end(place: str, name: str | None, known: Collection[str]) -> ConfigError:
    return ConfigError(
        f"{place}.structure: expected one of {sorted(known)}, got {name!r}. Give it prompts, or name a mask."
    )


def _read_mask(path: Path, study: StudyVolume) -> highdicom.Volume:
    volume = load_volume(path)
    values = np.unique(volume.array)
    if len(values) > 2 or values[0] != 0:
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (" ..." if len(values) > 4 else "")
        raise ConfigError(
            f"Expected a mask of 0 and one other value in {path}, got {len(values)} values ({listed}): an image, a map "
            "or several labels in one file. Write the structure's own mask."
        )
    mask = volume_like(study, _on_grid(volume, study, order=0).array > 0)
    if not mask.array.any():
        raise ConfigError(f"Expected a mask that lies in the study, {path} does not: its voxels are elsewhere.")
    return mask


def _on_grid(volume: highdicom.Volume, study: StudyVolume, *, order: int) -> highdicom.Volume:
    same = tuple(volume.spatial_shape) == tuple(study.spatial_shape)
    if same and np.allclose(volume.affine, study.affine, atol=1e-3):
        return volume
    return resample_like(volume, study, order)
