"""What a worker keeps of a plan, so that a line that is moved, or a number that is changed, is answered at once.

Distance fields do not depend on the tool, and a margin that grows by the same amount everywhere shifts its field
(:meth:`DistanceField.widened`). So radius, tool error and base margin need no new field; another alpha does, and a
line that leaves the region.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.field_construction import build_distance_field
from medsam_planner.planning.line_reader import LineReader
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.sample_fields import SampleFields
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import Structure
from medsam_planner.provenance import PlanOrigin
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.plan_request import CheckedParts, PlanInputs, build_structure, resolve
from medsam_planner.workflow.unsegmented import with_surroundings
from prompts.names import SKIN, UNSEGMENTED_BONE

__all__ = ["KeptPlan", "PlanMemory"]

_ROUND_LINES_MM = 16.0
"""A line may be moved by this much before fields must be built for another region."""
_RADIUS_STEP_MM, _REACH_STEP_MM = 2.0, 8.0
"""Fields of mask samples are built for tools somewhat thicker and less exact than the present one."""


@dataclass(eq=False)
class KeptPlan:
    """What is kept of the plans on the same masks with the same ends, whatever their margins and tools are."""

    inputs: PlanInputs
    """Of the last request, with what the image shows where nothing was segmented."""
    structures: dict[Hashable, tuple[Structure, MarginStatement]] = field(default_factory=dict)
    """By request of the structure."""
    fields: dict[str, tuple[Structure, DistanceField]] = field(default_factory=dict)
    """By structure, the last one."""
    region_lps_mm: NDArray[np.float64] | None = None
    """(2, 3) low and high corner of what the fields cover."""
    samples: dict[str, SampleFields] = field(default_factory=dict)
    samples_region_lps_mm: NDArray[np.float64] | None = None

    def fields_for(self, structures: Sequence[Structure], built: list[str]) -> tuple[DistanceField, ...]:
        """The fields of structures in the region; `built` gets the name of each that had to be computed."""
        assert self.region_lps_mm is not None
        return tuple(self._field(one, _corners(self.region_lps_mm), built) for one in structures)

    def _field(self, structure: Structure, region: NDArray[np.float64], built: list[str]) -> DistanceField:
        known = self.fields.get(structure.name)
        if known is not None:
            if known[0] is structure:
                return known[1]
            wider_mm = _wider_everywhere_mm(known[0], structure)
            if wider_mm is not None:
                shifted = known[1].widened(wider_mm) if wider_mm else known[1]
                self.fields[structure.name] = structure, shifted
                return shifted
        made = build_distance_field(structure, region)
        self.fields[structure.name] = structure, made
        built.append(structure.name)
        return made

    def cover(self, lines_lps_mm: NDArray[np.float64]) -> None:
        """Let the region of the fields hold lines (N, 2, 3); those of another region are dropped."""
        if _holds(self.region_lps_mm, lines_lps_mm):
            return
        ends = [np.concatenate([one.entry.points_lps_mm, one.targets_lps_mm]) for one in self.inputs.problems.values()]
        self.region_lps_mm = _around([*ends, lines_lps_mm.reshape(-1, 3)], _ROUND_LINES_MM)
        self.fields.clear()

    def cover_samples(self, lines_lps_mm: NDArray[np.float64], pool: ThreadPoolExecutor) -> None:
        """Begin to build the fields of the mask samples around lines (N, 2, 3), where they are not there."""
        problem = self.inputs.problem
        is_inside = _holds(self.samples_region_lps_mm, lines_lps_mm)
        if not is_inside:
            self.samples_region_lps_mm = _around([lines_lps_mm.reshape(-1, 3)], _ROUND_LINES_MM)
        assert self.samples_region_lps_mm is not None
        tools = [one.tool for one in self.inputs.problems.values()]
        for structure in problem.structures:
            reach_mm = max(SampleFields.reach_of(tool, structure) for tool in tools)
            radius_mm = max(tool.radius_mm for tool in tools)
            known = self.samples.get(structure.name)
            is_enough = known is not None and known.reach_mm >= reach_mm and known.radius_mm >= radius_mm
            if known is not None and is_inside and is_enough and _has_same_samples(known.structure, structure):
                continue
            if known is not None:
                known.stop()
            made = SampleFields(
                structure,
                _corners(self.samples_region_lps_mm),
                _next_step(reach_mm, _REACH_STEP_MM),
                _next_step(radius_mm, _RADIUS_STEP_MM),
            )
            made.build(pool)
            self.samples[structure.name] = made

    def reader(self, tool: str, built: list[str]) -> LineReader:
        """Reads lines of a tool in the region; see :meth:`cover`."""
        problem = self.inputs.problems[tool]
        wanted = next(one for one in self.inputs.request.tools if one.name == tool)
        entered = self.inputs.evidence[wanted.entry.surface].mask
        return LineReader(problem, self.fields_for(problem.structures, built), self.samples, entered)

    @property
    def memory_bytes(self) -> int:
        """Of all fields."""
        of_fields = sum(layer.values_mm.nbytes for _, one in self.fields.values() for layer in one.layers)
        return of_fields + sum(one.memory_bytes for one in self.samples.values())

    def stop(self) -> None:
        """Give up what is being built."""
        for one in self.samples.values():
            one.stop()


class PlanMemory:
    """The plans of one worker that were used last.

    Parameters
    ----------
    most_bytes : int
        Of fields. The plan that is used stays.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="mask samples")
        self._kept: OrderedDict[Hashable, KeptPlan] = OrderedDict()

    def find(
        self,
        key: Hashable,
        request: PlanRequest,
        study: StudyVolume,
        evidence: Callable[[], Mapping[str, StructureEvidence]],
        origin: PlanOrigin,
    ) -> KeptPlan:
        """The kept plan on the same masks, with the inputs of a request.

        Parameters
        ----------
        key : hashable
            Of the study and the masks.
        request : PlanRequest
        study : StudyVolume
        evidence : callable
            Gives the evidence by structure.
        origin : PlanOrigin

        Raises
        ------
        ConfigError, PlanningError, StudyError
            As :func:`~medsam_planner.workflow.plan_request.resolve`.
        """
        whole_key = (
            key,
            request.bone_rule,
            tuple((one.name, one.target, one.entry) for one in request.tools),
            tuple((one.name, one.role, one.free_entry_mm) for one in request.structures),
        )
        kept = self._kept.get(whole_key)
        if kept is None:
            inputs = with_surroundings(resolve(request, study, evidence(), origin=origin))
            kept = self._kept[whole_key] = KeptPlan(inputs)
            statements = {one.structure: one for one in inputs.margin_statements}
            for wanted, structure in zip(request.structures, inputs.problem.structures, strict=False):
                kept.structures[wanted] = structure, statements[wanted.name]
        elif kept.inputs.request != request or kept.inputs.origin != origin:
            kept.inputs = _again(kept, request, study, origin)
        self._kept.move_to_end(whole_key)
        while len(self._kept) > 1 and sum(one.memory_bytes for one in self._kept.values()) > self.most_bytes:
            self._kept.popitem(last=False)[1].stop()
        return kept

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._kept)

    def clear(self) -> bool:
        """Forget all of it; whether there was anything."""
        had_any = bool(self._kept)
        for one in self._kept.values():
            one.stop()
        self._kept.clear()
        return had_any


def _again(kept: KeptPlan, request: PlanRequest, study: StudyVolume, origin: PlanOrigin) -> PlanInputs:
    """The inputs of a request that differs from the last one in numbers alone: margins, tools, limits, effort."""
    before = kept.inputs
    built = {}
    for wanted in request.structures:
        if wanted not in kept.structures:
            kept.structures[wanted] = build_structure(wanted, before.evidence[wanted.name], study)
        built[wanted.name] = kept.structures[wanted]
    checked = CheckedParts(
        skin=before.evidence.get(SKIN),
        skin_notes=before.notes,
        structures=built,
        targets_lps_mm={name: one.targets_lps_mm for name, one in before.problems.items()},
        entries={name: one.entry for name, one in before.problems.items()},
    )
    evidence = {name: one for name, one in before.evidence.items() if name not in (SKIN, UNSEGMENTED_BONE)}
    fresh = resolve(request, study, evidence, checked=checked)
    problems = {}
    for name, problem in fresh.problems.items():
        added = before.problems[name].structures[len(before.request.structures) :]
        problems[name] = replace(
            problem, structures=(*problem.structures, *added), surroundings=before.problems[name].surroundings
        )
    return replace(
        before,
        request=request,
        problems=problems,
        margin_statements=tuple(statement for _, statement in built.values()),
        origin=origin,
    )


def _wider_everywhere_mm(before: Structure, now: Structure) -> float | None:
    """By how much the margin of a structure has grown, if by the same amount everywhere."""
    if before.mask is not now.mask:
        return None
    one, other = before.margin_mm, now.margin_mm
    if isinstance(one, highdicom.Volume) and isinstance(other, highdicom.Volume):
        difference = np.asarray(other.array, dtype=np.float64) - one.array
        low, high = float(difference.min()), float(difference.max())
        return low if high - low < 1e-5 else None
    if isinstance(one, highdicom.Volume) or isinstance(other, highdicom.Volume):
        return None
    return float(other) - float(one)


def _has_same_samples(before: Structure, now: Structure) -> bool:
    return before.mask is now.mask and before.mask_samples is now.mask_samples


def _next_step(value: float, step: float) -> float:
    """The next multiple of a step above a value."""
    return (np.floor(value / step) + 1) * step


def _around(places_lps_mm: Sequence[NDArray[np.float64]], grown_mm: float) -> NDArray[np.float64]:
    joined = np.concatenate(places_lps_mm)
    return np.stack([joined.min(axis=0) - grown_mm, joined.max(axis=0) + grown_mm])


def _holds(box: NDArray[np.float64] | None, lines_lps_mm: NDArray[np.float64]) -> bool:
    ends = lines_lps_mm.reshape(-1, 3)
    return box is not None and bool(((ends >= box[0]) & (ends <= box[1])).all())


def _corners(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.where(corner, box[1], box[0]) for corner in np.ndindex(2, 2, 2)])
