"""Cautions: what a reader must know before trusting a plan, found in the images, the masks and the plan itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medsam_planner.drawing.formatting import joined, number, percent, slice_number
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.planning.crossings import Crossing, CrossingKind, crossings_along
from medsam_planner.planning.mask_flaws import FlawKind
from medsam_planner.planning.structures import StructureRole
from medsam_planner.provenance import PropagationTrace, SliceRecord, StopReason
from medsam_planner.report.model import PlanReport
from medsam_planner.volumes import volume_like
from prompts.masks import mask_box

__all__ = ["Caution", "CautionKind", "find_cautions"]

_NATURAL_STOPS = (StopReason.EMPTY, StopReason.RANGE_END, StopReason.VOLUME_END, StopReason.MET, StopReason.NOT_HERE)
"""Reasons that end propagation at the end of the structure, or at a limit that was set."""

_STEP_MM = 0.5
_CORTEX_MM = 4.0
"""Added around a corridor of bone, because masks leave out part of the cortex, which is up to this thick."""
_AT_ENTRY_MM = 5.0
"""A path that begins no farther than this outside the body begins at the skin."""
_REACH_MM = 30.0
"""How far a structure may extend beyond the slice where its propagation stopped: lateral ventricles segmented from one
box each extend 25 mm farther."""
_ENCLOSED_SHARE = 0.75
_GRAVE_FLAWS = (FlawKind.ONE_SLICE, FlawKind.STEPPED)
"""With these the mask is known to be wrong beside its prompted slice."""


class CautionKind(StrEnum):
    """What a caution is about."""

    TRUE_CLEARANCE = "truth"
    CROSSING = "crossing"
    ENCLOSED = "target enclosed by bone"
    END_INSIDE = "end inside a structure"
    BEYOND_IMAGES = "beyond the images"
    UNKNOWN_PART = "mask of part of the study"
    EARLY_STOP = "segmentation stopped early"
    MASK = "mask"
    READING = "reading of a mask"
    BY_HAND = "edited by hand"
    CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class Caution:
    """One reason for caution."""

    kind: CautionKind
    text: str
    """A sentence."""
    structure: str | None = None
    is_unchecked: bool = False
    """Whether something on the way was not checked; the verdict is then not ``"feasible"``."""

    def as_entry(self) -> dict[str, Any]:
        """For plan.json."""
        return {
            "kind": self.kind.value,
            "structure": self.structure,
            "is_unchecked": self.is_unchecked,
            "text": self.text,
        }


def find_cautions(report: PlanReport) -> list[Caution]:
    """Cautions about the plan of the first tool, the gravest first; empty where there are none."""
    trajectory = _trajectory(report)
    found = [*_true_clearance(report)]
    if trajectory is not None:
        found += [*_crossings(report, trajectory), *_enclosed(report, trajectory), *_beyond_images(report, trajectory)]
    if report.plan.feasible:
        found += [Caution(CautionKind.END_INSIDE, reason) for reason in report.plan.reasons]
    found += [
        *_unknown_parts(report, trajectory),
        *_reading(report),
        *_early_stops(report, trajectory),
        *_flaws(report),
        *_by_hand(report),
        *_confidence(report),
    ]
    return found


def _trajectory(report: PlanReport) -> NDArray[np.float64] | None:
    """(2, 3) what the pictures show: the best alternative, else the trajectory that misses the least."""
    plan = report.plan
    if plan.alternatives:
        return np.array([plan.alternatives[0].entry_lps_mm, plan.alternatives[0].target_lps_mm], dtype=np.float64)
    if plan.relaxations:
        return np.asarray(plan.relaxations[0].witness_lps_mm, dtype=np.float64)
    return None if plan.nearest_miss is None else plan.nearest_miss.trajectory_lps_mm


def _true_clearance(report: PlanReport) -> Iterator[Caution]:
    if report.true_clearance_mm and report.plan.alternatives:
        true_mm, certified_mm = (
            min(report.true_clearance_mm.values()),
            report.plan.alternatives[0].certified_clearance_mm,
        )
        if true_mm < certified_mm:
            yield Caution(
                CautionKind.TRUE_CLEARANCE,
                f"The true clearance, {number(true_mm)} mm, is less than the certified {number(certified_mm)} mm: "
                "the margins did not cover the segmentation error.",
            )


def _crossings(report: PlanReport, trajectory: NDArray[np.float64]) -> Iterator[Caution]:
    """Bone, air and places outside the body on the way, except the skin at the entry and the bone to be drilled."""
    if report.surroundings is None:
        return
    of_role = {role: [report.mask(name) for name, is_ in report.roles.items() if is_ is role] for role in StructureRole}
    meant = [mask for mask in of_role[StructureRole.TARGET] if mask is not None]
    meant += [_grown(mask) for mask in map(report.mask, report.surroundings.bone_corridors) if mask is not None]
    crossed = crossings_along(report.surroundings, trajectory, expected_bone=meant)
    for kind in CrossingKind:
        stretches = [one for one in crossed if one.kind is kind and not _is_at_entry(one)]
        if stretches:
            yield Caution(CautionKind.CROSSING, _crossing_text(report, kind, stretches), is_unchecked=True)


def _grown(mask: highdicom.Volume) -> highdicom.Volume:
    """A corridor of bone, grown by the cortex that its mask leaves out."""
    spacing = spacing_mm(mask.affine)
    reach = np.ceil(_CORTEX_MM / spacing).astype(int)
    sides = tuple((2 * reach + 1).tolist())
    steps = np.indices(sides).reshape(3, -1).T - reach
    ball = (np.linalg.norm(steps * spacing, axis=1) <= _CORTEX_MM).reshape(sides)
    box = mask_box(mask.array > 0, grown=int(reach.max()))
    grown = np.zeros(mask.spatial_shape, dtype=bool)
    grown[box] = ndimage.binary_dilation(mask.array[box] > 0, ball)
    return volume_like(mask, grown)


def _is_at_entry(crossing: Crossing) -> bool:
    return crossing.kind is CrossingKind.OUTSIDE and crossing.from_mm == 0 and crossing.to_mm <= _AT_ENTRY_MM


_CROSSED = {
    CrossingKind.BONE: "unsegmented bone, or something as dense as bone",
    CrossingKind.AIR: "air inside the body (lung, airway or bowel)",
    CrossingKind.OUTSIDE: "space outside the body as the images show it",
}


def _crossing_text(report: PlanReport, kind: CrossingKind, stretches: list[Crossing]) -> str:
    unit = "HU" if report.surroundings is None else report.surroundings.unit
    digits = 0 if unit == "HU" else 2
    told = []
    for one in stretches[:4]:
        mean = "" if one.mean_value is None else f", mean {number(one.mean_value, digits)} {unit}"
        told.append(f"{number(one.from_mm)} to {number(one.to_mm)} mm from the entry{mean}")
    rest = f" and {len(stretches) - 4} more" if len(stretches) > 4 else ""
    total = sum(one.length_mm for one in stretches)
    path = "The path" if report.plan.alternatives else "The trajectory drawn (no plan)"
    return f"{path} goes through {number(total)} mm of {_CROSSED[kind]}: {'; '.join(told)}{rest}."


def _enclosed(report: PlanReport, trajectory: NDArray[np.float64]) -> Iterator[Caution]:
    if report.surroundings is None or report.surroundings.bone_corridors:
        return
    share = report.surroundings.bone_around(trajectory[1])
    if share >= _ENCLOSED_SHARE:
        yield Caution(
            CautionKind.ENCLOSED,
            f"Bone surrounds the target: in {percent(share)} of the directions in a plane through the target, bone "
            "lies within 30 mm. The target may lie in the spinal canal, the skull or another bony cavity; structures "
            "in there were checked only if they were segmented.",
            is_unchecked=True,
        )


def _beyond_images(report: PlanReport, trajectory: NDArray[np.float64]) -> Iterator[Caution]:
    """The largest distance by which the tool with its error leaves the volume, and at which depth."""
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    fraction = np.linspace(0.0, 1.0, max(int(length / _STEP_MM), 1) + 1)
    index = index_from_lps(report.study.affine, trajectory[0] + fraction[:, None] * (trajectory[1] - trajectory[0]))
    step = spacing_mm(report.study.affine)
    faces = np.stack([index + 0.5, np.array(report.study.spatial_shape) - 0.5 - index])
    left_mm = (faces * step).min(axis=(0, 2)) - report.tool.allowance_mm(fraction)
    worst = int(np.argmin(left_mm))
    if left_mm[worst] < 0:
        yield Caution(
            CautionKind.BEYOND_IMAGES,
            f"With its placement error the tool reaches {number(-float(left_mm[worst]))} mm beyond the images, "
            f"{number(float(fraction[worst]) * length, 0)} mm along the path. What lies there is not known.",
        )


def _unknown_parts(report: PlanReport, trajectory: NDArray[np.float64] | None) -> Iterator[Caution]:
    """Masks of structures to avoid that cover only part of the study; no path leaves the mask of a corridor."""
    clearance_mm = report.plan.alternatives[0].clearance_mm_by_structure if report.plan.alternatives else {}
    for name, evidence in report.evidence.items():
        part = evidence.known_part
        if part is None or report.roles.get(name) is not StructureRole.AVOID:
            continue
        told = f"The mask of {name} covers only part of the study, about {percent(part.share)}."
        stretches = [] if trajectory is None else part.unknown_stretches_mm(trajectory)
        unchecked = bool(stretches)
        if stretches:
            where = "; ".join(f"{number(first)} to {number(last)} mm from the entry" for first, last in stretches)
            told += f" The path leaves that part ({where}): whether {name} lies there was not checked."
        elif trajectory is not None:
            left = part.depth_mm(trajectory) - float(report.tool.allowance_mm([0.0, 1.0]).max())
            if left < clearance_mm.get(name, np.inf):
                unchecked = True
                told += (
                    f" The tool passes {number(max(left, 0.0))} mm from the edge of that part; what lies beyond it "
                    "is not known."
                )
        yield Caution(CautionKind.UNKNOWN_PART, told, name, is_unchecked=unchecked)


def _reading(report: PlanReport) -> Iterator[Caution]:
    """What is not known of masks as their files hold them."""
    for name, evidence in report.evidence.items():
        if name in report.roles:
            is_unchecked = report.roles[name] is StructureRole.AVOID
            for note in evidence.notes:
                yield Caution(CautionKind.READING, f"The mask of {name} came from a file. {note}", name, is_unchecked)


def _early_stops(report: PlanReport, trajectory: NDArray[np.float64] | None) -> Iterator[Caution]:
    for name in report.structures():
        trace = report.trace(name)
        if trace is None or name not in report.roles:
            continue
        early = [record for record in trace.records if record.stop not in (None, *_NATURAL_STOPS)]
        if not early:
            continue
        told = "; ".join(f"slice {slice_number(record.index)}: {record.stop.value}" for record in early if record.stop)
        sentence = f"A stop rule ended the propagation of {name}, not an empty slice ({told})."
        distance = None if trajectory is None else _distance_to_ends_mm(report, name, trace, early, trajectory)
        is_near = report.roles[name] is StructureRole.AVOID and distance is not None and distance <= _REACH_MM
        if is_near and distance is not None:
            sentence += (
                f" The structure may extend farther, and the tool passes {number(max(distance, 0.0), 0)} mm from where "
                "the propagation ended."
            )
        else:
            sentence += " The structure may extend farther."
        yield Caution(CautionKind.EARLY_STOP, sentence, name, is_unchecked=is_near)


def _distance_to_ends_mm(
    report: PlanReport, name: str, trace: PropagationTrace, early: list[SliceRecord], trajectory: NDArray[np.float64]
) -> float | None:
    """Distance from the tool to the last slices before the stops; None where there are none."""
    mask = report.mask(name)
    if mask is None:
        return None
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    fraction = np.linspace(0.0, 1.0, max(int(np.ceil(length)), 1) + 1)
    places = trajectory[0] + fraction[:, None] * (trajectory[1] - trajectory[0])
    filled = np.flatnonzero(mask.array.any(axis=tuple(axis for axis in range(3) if axis != trace.axis)))
    nearest = []
    for record in early:
        if not len(filled):
            continue
        last = int(filled[np.argmin(np.abs(filled - record.index))])
        section = np.argwhere(mask.array.take(last, axis=trace.axis))
        voxels = lps_from_index(mask.affine, np.insert(section, trace.axis, last, axis=1))
        nearest.append(float((cKDTree(voxels).query(places)[0] - report.tool.allowance_mm(fraction)).min()))
    return min(nearest, default=None)


def _flaws(report: PlanReport) -> Iterator[Caution]:
    for name, flaws in report.flaws.items():
        if flaws:
            is_grave = any(flaw.kind in _GRAVE_FLAWS for flaw in flaws)
            yield Caution(
                CautionKind.MASK,
                f"The mask of {name} {joined([flaw.text for flaw in flaws])}. The size of the error is not known; "
                "margin and clearance are stated as if the mask were correct.",
                name,
                is_unchecked=is_grave and report.roles.get(name) is StructureRole.AVOID,
            )


def _by_hand(report: PlanReport) -> Iterator[Caution]:
    for name, evidence in report.evidence.items():
        if name in report.roles and evidence.by_hand:
            yield Caution(
                CautionKind.BY_HAND,
                f"The mask of {name} was {evidence.by_hand}: the margin's guarantee does not cover it, and what was "
                "drawn has no spread, so its margin is not widened there.",
                name,
            )


def _confidence(report: PlanReport) -> Iterator[Caution]:
    for statement in report.margin_statements:
        if statement.voids:
            yield Caution(
                CautionKind.CONFIDENCE,
                f"The stated confidence of the margin of {statement.structure} does not apply here: "
                f"{'; '.join(statement.voids)}.",
                statement.structure,
            )
