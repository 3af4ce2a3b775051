"""Resolve a plan request: with its study and its masks it becomes planning problems.

Every plan goes through :func:`resolve`, whether it comes from a plan file, the workbench, a demonstration or Python.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.calibration import calibrated_margin, read_calibration
from medsam_planner.errors import ConfigError, PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index, within_grid
from medsam_planner.io.body import body_mask
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.patient_identity import naming_words
from medsam_planner.landmarks.landmark_file import read_landmarks
from medsam_planner.mesh import Surface
from medsam_planner.planning.margins import MarginStatement, margin_from_spread, spread_statement
from medsam_planner.planning.problem import (
    EntryRegion,
    PlanningProblem,
    entry_region_on_surface,
    points_in_sphere,
)
from medsam_planner.planning.request import (
    CalibratedRule,
    EntryRequest,
    PlanRequest,
    StructureRequest,
    TargetRequest,
)
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import Avoid, StayInside, Structure, StructureRole
from medsam_planner.provenance import PlanOrigin
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.mask_files import target_points
from medsam_planner.workflow.registered import RegisteredPlan, registration_error
from prompts.names import SKIN, UNSEGMENTED_BONE

__all__ = [
    "CheckedParts",
    "PlanInputs",
    "ball_inside_study",
    "build_structure",
    "check_names",
    "check_request",
    "resolve",
]


@dataclass(frozen=True, slots=True, eq=False)
class PlanInputs:
    """A resolved request: planning problems, and what a report shows beside them."""

    request: PlanRequest
    study: StudyVolume
    problems: Mapping[str, PlanningProblem]
    """By tool, in the order of the request."""
    evidence: Mapping[str, StructureEvidence]
    """By structure: all that take part, all that were segmented beside them, and what is entered."""
    roles: Mapping[str, StructureRole]
    """By structure, in the order of the legend."""
    surfaces: Mapping[str, Surface]
    margin_statements: tuple[MarginStatement, ...]
    """Why each margin is as wide as it is."""
    notes: tuple[str, ...] = ()
    """Limitations of the plan, one sentence each."""
    origin: PlanOrigin = field(default_factory=PlanOrigin)
    """Where the request came from."""

    @property
    def problem(self) -> PlanningProblem:
        """Of the first tool."""
        return next(iter(self.problems.values()))

    @property
    def entered(self) -> highdicom.Volume:
        """Mask of the structure that the first tool enters through."""
        return self.evidence[self.request.tools[0].entry.surface].mask

    @property
    def masks(self) -> dict[str, highdicom.Volume]:
        """Structures that were not segmented in this process, by name."""
        return {name: known.mask for name, known in self.evidence.items() if known.result is None}


@dataclass(frozen=True, slots=True, eq=False)
class CheckedParts:
    """What :func:`check_request` has computed of a request; empty where nothing was checked."""

    skin: StructureEvidence | None = None
    """None where no tool enters through the skin."""
    skin_notes: tuple[str, ...] = ()
    structures: Mapping[str, tuple[Structure, MarginStatement]] = field(default_factory=dict)
    """By structure, with its margin."""
    targets_lps_mm: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By tool, (G, 3)."""
    entries: Mapping[str, EntryRegion] = field(default_factory=dict)
    """By tool."""
    registered: RegisteredPlan | None = None
    """What the registration adds; None where it was not read."""


def resolve(
    request: PlanRequest,
    study: StudyVolume,
    evidence: Mapping[str, StructureEvidence],
    *,
    surfaces: Mapping[str, Surface] | None = None,
    origin: PlanOrigin | None = None,
    checked: CheckedParts | None = None,
) -> PlanInputs:
    """Combine a request with its study and the evidence on the structures it names.

    Parameters
    ----------
    request : PlanRequest
    study : (K, J, I) StudyVolume
    evidence : mapping
        By structure. Structures that the request does not name are shown beside the plan and do not affect it.
    surfaces : mapping, optional
        Meshes that exist already; a report creates the others.
    origin : PlanOrigin, optional
        Where the request came from; by default Python.
    checked : CheckedParts, optional
        Of the same request, study and evidence.

    Raises
    ------
    ConfigError
        If a structure is unknown, or a target lies outside the study.
    PlanningError, StudyError
        If an entry region touches no surface, or no body is found where the skin is to be entered.
    """
    check_names(request, evidence)
    if UNSEGMENTED_BONE in evidence:
        raise ConfigError(
            f"Expected structures with other names than '{UNSEGMENTED_BONE}': that name is given to unsegmented bone. "
            "Rename it."
        )
    _check_names_nobody(request, study)
    parts = CheckedParts() if checked is None else checked
    known = dict(evidence)
    if parts.skin is None:
        notes = _with_skin(request, study, known)
    else:
        known[SKIN], notes = parts.skin, parts.skin_notes
    registered = parts.registered or registration_error(request, study)
    notes = (*notes, *registered.notes)
    built = [
        parts.structures.get(wanted.name) or build_structure(wanted, known[wanted.name], study)
        for wanted in request.structures
    ]
    structures = tuple(structure for structure, _ in built)
    targets = {
        wanted.name: parts.targets_lps_mm[wanted.name]
        if wanted.name in parts.targets_lps_mm
        else _targets(wanted.target, request, study, known)
        for wanted in request.tools
    }
    entries = {
        wanted.name: parts.entries.get(wanted.name) or _entry(wanted.entry, known[wanted.entry.surface].mask)
        for wanted in request.tools
    }
    problems = {
        wanted.name: PlanningProblem(
            structures=structures,
            tool=registered.widened(wanted.tool, entries[wanted.name].points_lps_mm, targets[wanted.name]),
            entry=entries[wanted.name],
            targets_lps_mm=targets[wanted.name],
            limits=request.limits,
            weights=request.weights,
            settings=request.search,
            bone=study if volume_modality(study) == "CT" else None,
        )
        for wanted in request.tools
    }
    return PlanInputs(
        request=request,
        study=study,
        problems=problems,
        evidence={name: one for name, one in known.items() if not one.is_empty},
        roles=_roles(request),
        surfaces=surfaces or {},
        margin_statements=tuple(statement for _, statement in built),
        notes=notes,
        origin=origin or PlanOrigin(),
    )


def check_names(request: PlanRequest, known: Collection[str]) -> None:
    """Refuse a request that names an unknown structure.

    Raises
    ------
    ConfigError
    """
    for wanted in request.structures:
        if wanted.name not in known:
            raise ConfigError(
                f"structures[{wanted.name}]: expected a mask, or prompts of that name; known are "
                f"{sorted(known) or 'none'}."
            )
    for tool in request.tools:
        for place, name in (("target", tool.target.structure), ("entry", tool.entry.structure)):
            if name is not None and name not in known:
                raise ConfigError(
                    f"{place}.structure: expected one of {sorted(known)}, got {name!r}. Give it prompts, or name "
                    "a mask."
                )


def check_request(request: PlanRequest, study: StudyVolume, evidence: Mapping[str, StructureEvidence]) -> CheckedParts:
    """Find the mistakes that only the study shows, before anything long is done.

    Parameters
    ----------
    request : PlanRequest
    study : (K, J, I) StudyVolume
    evidence : mapping
        Of the structures that are known already; what depends on others is not checked yet.

    Returns
    -------
    CheckedParts
        For :func:`resolve`, which then computes none of it again.

    Raises
    ------
    ConfigError, StudyError, PlanningError
        As :func:`resolve`.
    """
    _check_names_nobody(request, study)
    registered = registration_error(request, study)
    known = dict(evidence)
    notes = _with_skin(request, study, known)
    structures = {}
    for wanted in request.structures:
        if wanted.name in known:
            structures[wanted.name] = build_structure(wanted, known[wanted.name], study)
        elif isinstance(wanted.margin, CalibratedRule):
            read_calibration(wanted.margin.calibration)
    return CheckedParts(
        skin=known.get(SKIN),
        skin_notes=notes,
        structures=structures,
        targets_lps_mm={
            tool.name: _targets(tool.target, request, study, known)
            for tool in request.tools
            if tool.target.point_lps_mm is not None
            or tool.target.landmark is not None
            or tool.target.structure in known
        },
        entries={
            tool.name: _entry(tool.entry, known[tool.entry.surface].mask)
            for tool in request.tools
            if tool.entry.surface in known
        },
        registered=registered,
    )


def _check_names_nobody(request: PlanRequest, study: StudyVolume) -> None:
    texts = [request.title, *(tool.name for tool in request.tools), *(one.name for one in request.structures)]
    if words := naming_words(study, texts):
        raise ConfigError(
            f"Expected a title and names without the patient's, because nobody is to be named, got {', '.join(words)}. "
            "Rename what holds it: it would stand in the plan, in its report and in pictures."
        )


def ball_inside_study(study: highdicom.Volume, centre_lps_mm: ArrayLike, radius_mm: float) -> NDArray[np.float64]:
    """(G, 3) points of a ball that lie inside the volume, its centre first.

    Raises
    ------
    ConfigError
        If the centre itself lies beyond the volume.
    """
    points = points_in_sphere(centre_lps_mm, radius_mm)
    index = index_from_lps(study.affine, points)
    inside = within_grid(index, study.spatial_shape)
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


def _with_skin(request: PlanRequest, study: StudyVolume, known: dict[str, StructureEvidence]) -> tuple[str, ...]:
    """Add the skin to `known` where a tool enters through it; returns notes on how it was found."""
    if all(tool.entry.structure is not None for tool in request.tools):
        return ()
    known[SKIN] = StructureEvidence(body_mask(study))
    if volume_modality(study) == "CT":
        return ()
    return (
        "The skin was found by brightness, as the study is not a CT. Where the coil signal fades or a vein is dark, it "
        "is found too deep. Check the entry in the pictures.",
    )


def build_structure(
    wanted: StructureRequest, known: StructureEvidence, study: StudyVolume
) -> tuple[Structure, MarginStatement]:
    """A structure with its margin, and the statement on that margin.

    Raises
    ------
    ConfigError, PlanningError
        If a calibrated margin cannot be given for this structure.
    """
    mask = known.mask if known.planned is None else known.planned
    inner = wanted.role is StructureRole.INSIDE
    rule = wanted.margin
    margin: highdicom.Volume | float
    if isinstance(rule, CalibratedRule):
        made = calibrated_margin(
            read_calibration(rule.calibration),
            structure=wanted.name,
            mask=mask,
            boundary_spread_mm=known.boundary_spread_mm,
            entropy_bits=known.entropy_bits,
            provenance=known.provenance,
            log=known.log,
            study=study,
            alpha=rule.alpha,
            inner=inner,
        )
        margin, statement = made.margin_mm, made.statement()
    else:
        numbers = {"base_mm": rule.base_mm, "factor": rule.factor, "cap_mm": rule.cap_mm}
        margin = margin_from_spread(known.boundary_spread_mm, **numbers)
        statement = spread_statement(wanted.name, **numbers, varies=known.boundary_spread_mm is not None)
    statement = statement.with_hand_edits(known.by_hand)
    if inner:
        return StayInside(wanted.name, mask, margin, known.mask_samples, wanted.free_entry_mm), statement
    return Avoid(wanted.name, mask, margin, known.mask_samples), statement


def _targets(
    wanted: TargetRequest, request: PlanRequest, study: StudyVolume, known: Mapping[str, StructureEvidence]
) -> NDArray[np.float64]:
    if wanted.landmark is not None and request.landmarks is not None:
        landmarks = read_landmarks(request.landmarks)
        landmarks.require_of(study, str(request.landmarks))
        return ball_inside_study(study, landmarks.position(wanted.landmark), wanted.radius_mm)
    if wanted.point_lps_mm is not None:
        return ball_inside_study(study, wanted.point_lps_mm, wanted.radius_mm)
    return target_points(known[str(wanted.structure)], study)


def _entry(wanted: EntryRequest, entered: highdicom.Volume) -> EntryRegion:
    try:
        return entry_region_on_surface(entered, centre_lps_mm=wanted.centre_lps_mm, radius_mm=wanted.radius_mm)
    except PlanningError as error:
        if wanted.radius_mm is None:
            raise
        name = f"‘{wanted.structure}’" if wanted.structure is not None else "the skin"
        raise PlanningError(
            f"No surface of {name} lies within {wanted.radius_mm:g} mm of the entry. Move it nearer, or enlarge its "
            "radius."
        ) from error


def _roles(request: PlanRequest) -> dict[str, StructureRole]:
    roles = {wanted.name: wanted.role for wanted in request.structures}
    for tool in request.tools:
        roles.setdefault(tool.entry.surface, StructureRole.ENTRY)
        if tool.target.structure is not None:
            roles.setdefault(tool.target.structure, StructureRole.TARGET)
    return roles
