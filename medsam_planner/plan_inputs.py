"""What a case file, a study and its masks make together: the problems to plan, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.calibration import calibrated_margin, read_calibration
from medsam_planner.calibration.run_evidence import RunEvidence, read_run_evidence, trace_of_mask
from medsam_planner.case_masks import CaseMasks, drawn_surface, map_over, unknown_end
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.io.covering import covering_map
from medsam_planner.io.fault_log import attempted
from medsam_planner.mesh import Surface
from medsam_planner.pipeline import Segmented
from medsam_planner.planning.case import PlanCase, StructureTable, TargetTable, read_case
from medsam_planner.planning.margins import (
    MarginStatement,
    margin_from_spread,
    masks_from_spread,
    spread_statement,
)
from medsam_planner.planning.problem import (
    Limits,
    PlanningProblem,
    SearchSettings,
    Weights,
    entry_region_on_surface,
    points_in_sphere,
)
from medsam_planner.planning.structures import Avoid, StayInside, Structure
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.report import StructureRole
from medsam_planner.report.model import MaskEvidence
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.volumes import StudyVolume
from prompts import PromptLog

if TYPE_CHECKING:
    from medsam_planner.why_here import WhyHere

__all__ = ["PlanInputs", "ball_inside_study", "case_files", "check_case", "check_case_in", "inputs_of_case"]

_SAMPLES_FROM_SPREAD = 16


@dataclass(frozen=True, slots=True, eq=False)
class PlanInputs:
    """A planning problem, or several of one patient, and what the report shows around them."""

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
    tool_name: str = "tool"
    others: Mapping[str, PlanningProblem] = field(default_factory=dict)
    """Problems of further tools, by tool; all must keep apart."""
    min_tool_gap_mm: float = 0.0
    """Certified room between every two tools."""
    margin_statements: tuple[MarginStatement, ...] = ()
    """Why each margin is as wide as it is; of the structures of a case file."""
    why_here: Callable[[str, NDArray[np.float64], Progress | None], WhyHere] | None = None
    """Explains the surface of a segmented structure nearest to a position; None where nobody asked for it."""
    notes: tuple[str, ...] = ()
    """What the report must do without, and why."""
    bone_rule: BoneRule = field(default_factory=BoneRule)
    """What the plan does with bone that nobody segmented."""
    evidence: Mapping[str, MaskEvidence] = field(default_factory=dict)
    """By structure that came as a mask."""

    @property
    def problems(self) -> dict[str, PlanningProblem]:
        """All of them, by tool."""
        return {self.tool_name: self.problem, **self.others}


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
    taken = sorted(case.end_names() & set(prompted))
    if taken:
        raise ConfigError(
            f"{case_path}: expected prompted structures with other names than {taken}: so are the masks of entry and "
            "target called."
        )
    known = set(prompted)
    for table in case.structures:
        if table.mask is None and table.name not in known:
            raise _unknown_structure(table.name, prompted)
    known |= {table.name for table in case.structures}
    for asked in case.asked_tools():
        ends = known | ({"skin"} if asked.entry.skin else set())
        for place, name in (("target", asked.target.structure), ("entry", asked.entry.structure)):
            if name is not None and name not in ends:
                raise unknown_end(place, name, ends)


def check_case_in(study: StudyVolume, case: PlanCase, prompted: Collection[str]) -> None:
    """Find the mistakes of a case that only its study shows, before anything is computed on it.

    Raises
    ------
    ConfigError, StudyError, PlanningError
        As :func:`inputs_of_case`, of all that does not come from `prompted` structures.
    """
    named = CaseMasks(study, {})
    for table in case.structures:
        if table.mask is not None:
            _structure(table, named, None, case.search.seed, {})
        elif table.calibration is not None:
            read_calibration(table.calibration)
    for asked in case.asked_tools():
        if asked.target.structure not in prompted:
            _targets(asked.target, f"target of {asked.name}", named)
        if asked.entry.structure not in prompted:
            entry_region_on_surface(
                named.entered(asked.entry, f"entry of {asked.name}"),
                centre_lps_mm=asked.entry.centre_lps_mm,
                radius_mm=asked.entry.radius_mm,
            )


def case_files(case_path: Path, case: PlanCase) -> list[Path]:
    """The case file and every file or folder it names."""
    ends = [end for asked in case.asked_tools() for end in (asked.target, asked.entry)]
    stated = [
        None if case.study is None else case.study.path,
        *(path for table in case.structures for path in (table.mask, table.spread, table.calibration)),
        *(end.mask for end in ends),
    ]
    return [case_path, *(path for path in stated if path is not None)]


def ball_inside_study(study: highdicom.Volume, centre_lps_mm: ArrayLike, radius_mm: float) -> NDArray[np.float64]:
    """(G, 3) points of a ball, its centre first, without those beyond the volume: nothing is known of what lies there.

    Raises
    ------
    ConfigError
        If the centre itself lies beyond the volume.
    """
    points = points_in_sphere(centre_lps_mm, radius_mm)
    index = index_from_lps(study.affine, points)
    inside = np.all((index >= -0.5) & (index <= np.array(study.spatial_shape) - 0.5), axis=1)
    if not inside[0]:
        ends = lps_from_index(study.affine, np.stack([np.full(3, -0.5), np.array(study.spatial_shape) - 0.5]))
        low, high = ends.min(axis=0), ends.max(axis=0)
        extent = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
        came = ", ".join(f"{value:.1f}" for value in np.asarray(centre_lps_mm, dtype=np.float64))
        raise ConfigError(
            f"target.point_lps_mm: expected a place inside the study ({extent} LPS mm), got ({came}). "
            "Check that it is in LPS (from RAS, change the sign of the first two numbers) and of this study."
        )
    return points[inside]


def inputs_of_case(
    case: PlanCase, study: StudyVolume, segmented: Segmented | None, *, progress: Progress | None = None
) -> PlanInputs:
    """Join a case with its study and, where structures were just segmented, with those.

    Raises
    ------
    ConfigError
        If a structure has neither a mask nor prompts, or a mask or target does not lie in the study.
    """
    results = {} if segmented is None else segmented.results
    named = CaseMasks(study, results)
    evidence: dict[str, MaskEvidence] = {}
    made = [_structure(table, named, segmented, case.search.seed, evidence) for table in case.structures]
    structures = tuple(structure for structure, _ in made)
    for table in case.structures:
        named.roles[table.name] = StructureRole.AVOID if table.role == "avoid" else StructureRole.INSIDE
    problems, entered = {}, {}
    for asked in case.asked_tools():
        suffix = "" if case.tool is not None else f" of {asked.name}"
        entered_by_all = len({one.entry.mask for one in case.asked_tools()}) == 1
        entry_name = "entry" if entered_by_all else f"entry{suffix}"
        entry_mask = named.entered(asked.entry, entry_name)
        problems[asked.name] = PlanningProblem(
            structures=structures,
            tool=Tool(asked.tool.radius_mm, asked.tool.entry_error_mm, asked.tool.target_error_mm),
            entry=entry_region_on_surface(
                entry_mask, centre_lps_mm=asked.entry.centre_lps_mm, radius_mm=asked.entry.radius_mm
            ),
            targets_lps_mm=_targets(asked.target, f"target{suffix}", named),
            limits=Limits(**case.limits.model_dump()),
            weights=Weights(**case.weights.model_dump()),
            settings=SearchSettings(**case.search.model_dump()),
            bone=study if study.source is not None and study.source.modality == "CT" else None,
        )
        entered[asked.name] = entry_mask
    shown = {name: result for name, result in results.items() if result.mask.array.any()}
    surfaces = {} if segmented is None else dict(segmented.surfaces)
    notes: list[str] = []
    for name, mask in named.masks.items():
        surface = attempted(notes, f"The surface of '{name}'", partial(drawn_surface, mask, progress=progress))
        if surface is not None:
            surfaces[name] = surface
    first, *others = problems
    return PlanInputs(
        title=case.title,
        study=study,
        problem=problems[first],
        segmentations=shown,
        prompts={} if segmented is None else {name: segmented.logs[name] for name in shown},
        surfaces=surfaces,
        roles=named.roles,
        masks=named.masks,
        provenance={"case": case.model_dump(mode="json"), "seed": case.search.seed},
        entry_mask=entered[first],
        tool_name=first,
        others={name: problems[name] for name in others},
        min_tool_gap_mm=case.min_tool_gap_mm,
        margin_statements=tuple(statement for _, statement in made),
        notes=tuple(notes),
        bone_rule=BoneRule(**case.unsegmented_bone.model_dump()),
        evidence=evidence,
    )


def _structure(
    table: StructureTable,
    named: CaseMasks,
    segmented: Segmented | None,
    seed: int,
    evidence: dict[str, MaskEvidence],
) -> tuple[Structure, MarginStatement]:
    """One structure and what its margin promises; what is known of its mask is put into `evidence`."""
    samples: Any = ()
    spread: highdicom.Volume | None = None
    if table.mask is not None:
        is_corridor = table.role == "inside"
        mask = named.read(table.name, table.mask, inner=is_corridor)
        if table.calibration is None:  # which speaks of the study's voxels
            mask = named.planned_mask(table.name, inner=is_corridor)
        if table.spread is not None:
            spread = map_over(mask, table.spread, table.name)
            samples = masks_from_spread(mask, spread, samples=_SAMPLES_FROM_SPREAD, seed=seed)
        evidence[table.name] = MaskEvidence(
            spread,
            trace_of_mask(table.mask, table.name, named.given[table.name].array),
            named.known_parts.get(table.name),
        )
    elif table.name in named.results:
        result = named.results[table.name]
        mask, spread, samples = result.mask, result.boundary_spread_mm, result.mask_samples or ()
    else:
        raise _unknown_structure(table.name, named.results)
    margin, statement = _margin(table, mask, spread, named.study, segmented)
    if table.role == "avoid":
        return Avoid(table.name, mask, margin, samples), statement
    return StayInside(table.name, mask, margin, samples, free_entry_mm=table.free_entry_mm), statement


def _margin(
    table: StructureTable,
    mask: highdicom.Volume,
    spread: highdicom.Volume | None,
    study: StudyVolume,
    segmented: Segmented | None,
) -> tuple[highdicom.Volume | float, MarginStatement]:
    """The margin by the rule the case names, and what it promises."""
    if table.calibration is None:
        rule = {"base_mm": table.base_margin_mm, "factor": table.spread_factor, "cap_mm": table.max_margin_mm}
        return margin_from_spread(spread, **rule), spread_statement(table.name, **rule, varies=spread is not None)
    if table.mask is not None:
        evidence = read_run_evidence(table.mask, table.name)
    elif segmented is not None:
        result = segmented.results[table.name]
        evidence = RunEvidence(
            result.boundary_spread_mm, result.uncertainty, result.provenance, segmented.logs.get(table.name)
        )
    else:
        raise _unknown_structure(table.name, ())

    def brought(volume: highdicom.Volume | None) -> highdicom.Volume | None:
        return None if volume is None else covering_map(volume, study)

    made = calibrated_margin(
        read_calibration(table.calibration),
        structure=table.name,
        mask=mask,
        boundary_spread_mm=brought(evidence.boundary_spread_mm),
        entropy_bits=brought(evidence.entropy_bits),
        provenance=evidence.provenance,
        log=evidence.log,
        study=study,
        alpha=table.alpha,
        inner=table.role == "inside",
    )
    return made.margin_mm, made.statement()


def _targets(table: TargetTable, name: str, named: CaseMasks) -> NDArray[np.float64]:
    if table.point_lps_mm is not None:
        return ball_inside_study(named.study, table.point_lps_mm, table.radius_mm)
    return named.target_points(name, table.mask, table.structure)


def _unknown_structure(name: str, prompted: Collection[str]) -> ConfigError:
    return ConfigError(
        f"structures[{name}]: expected a mask, or prompts of that name; "
        f"the prompted structures are {list(prompted) or 'none'}."
    )
