"""The verdict on a plan in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medsam_planner.drawing.formatting import joined, number, percent, place
from medsam_planner.planning.structures import StructureRole
from medsam_planner.report.model import PlanReport
from prompts.names import UNSEGMENTED_BONE

if TYPE_CHECKING:
    from medsam_planner.planning.alternatives import Alternative
    from medsam_planner.planning.multi_tool import JointPlan
    from medsam_planner.report.cautions import Caution

__all__ = [
    "Verdict",
    "crossed",
    "joint_verdict",
    "verdict",
]

_READABLE_BONE = "unsegmented bone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in plain words."""

    kind: str
    """``"feasible"``, ``"tight"``, ``"unchecked"`` or ``"infeasible"``: names the style."""
    headline: str
    sentences: tuple[str, ...]
    checked_against: tuple[str, ...] = ()
    """Structures that the planned path was measured against; empty without a path."""


def crossed(alternative: Alternative) -> str:
    """What a path goes through other than soft tissue: ``"bone 8.0 mm, air 31.5 mm"``; a dash where it was not read."""
    if alternative.crossings is None:
        return "–"
    total: dict[str, float] = {}
    for one in alternative.crossings:
        total[one.kind.value] = total.get(one.kind.value, 0.0) + one.length_mm
    if total:
        return ", ".join(f"{kind} {number(length)} mm" for kind, length in total.items())
    has_unit = alternative.value_profile is not None and alternative.value_profile.unit == "HU"
    return "no bone, no air" if has_unit else "bone and air not known"


def verdict(report: PlanReport, cautions: Sequence[Caution] = ()) -> Verdict:
    """State whether a path exists, its clearance, where the clearance is smallest and the hit probability.

    A path is called feasible only with respect to the structures it was checked against, and only if everything known
    to lie along it was checked.
    """
    plan = report.plan
    looked = f"{plan.candidate_count} trajectories were examined; {plan.feasible_count} satisfy every constraint."
    if plan.feasible and plan.alternatives:
        best = plan.alternatives[0]
        checked = tuple(best.clearance_mm_by_structure)
        about = (*_about(report, best), looked, _not_known(report, checked))
        if best.certified_clearance_mm < 0:
            headline = f"Allowed by the limits, but the tool with its error reaches into a margin{_against(checked)}"
            return Verdict("tight", headline, about, checked)
        if not _segmented(checked):
            only = _all_there_is(report, checked)
            headline = f"A path satisfies every constraint, but the only structure it was checked against is {only}"
            return Verdict("unchecked", headline, about, checked)
        if any(caution.is_unchecked for caution in cautions):
            headline = (
                f"A path satisfies every constraint, but part of what lies along it was not checked{_against(checked)}"
            )
            return Verdict("unchecked", headline, about, checked)
        return Verdict("feasible", f"Feasible: a path satisfies every constraint{_against(checked)}", about, checked)
    sentences = [*plan.reasons, looked] if plan.candidate_count else [*plan.reasons]
    if plan.nearest_miss is not None:
        miss = plan.nearest_miss
        sentences.append(
            f"Of the trajectories within the limits of length and angle, the best lacks {number(miss.shortage_mm)} mm "
            f"of clearance from {miss.structure}."
        )
    if plan.relaxations:
        least = plan.relaxations[0]
        entry, target = (place(end) for end in least.witness_lps_mm)
        sentences.append(f"The smallest change that makes a path possible: {least.text}")
        sentences.append(
            f"The trajectory from {entry} to {target} would then satisfy every constraint. It is drawn below and is "
            "not a plan."
        )
    elif plan.candidate_count or not plan.reasons:
        sentences.append("Relaxing a single limit does not help. Change the entry region, the target or the tool.")
    return Verdict("infeasible", "Not feasible: no path satisfies every constraint", tuple(sentences))


def joint_verdict(joint: JointPlan, verdicts: Mapping[str, Verdict]) -> Verdict:
    """State whether every tool has a path, and whether the tools keep apart.

    Parameters
    ----------
    joint : JointPlan
    verdicts : name to Verdict
        Of each tool by itself.
    """
    names = list(joint.plans)
    if not joint.gaps:
        without = [name for name, plan in joint.plans.items() if not plan.feasible]
        why = " ".join(f"{name}: {reason}" for name in without for reason in joint.plans[name].reasons)
        sentence = (
            f"{why} No path of {joined(without)} satisfies every constraint. What to relax is listed below.".strip()
        )
        return Verdict("infeasible", "Not feasible: a tool has no path", (sentence,))
    tightest = joint.gaps[0]
    between = (
        f"The smallest clearance between tools is {number(tightest.certified_mm)} mm beyond both radii and both "
        f"placement errors, from {tightest.first} to {tightest.second}, at {place(tightest.first_point_lps_mm)}."
    )
    if not joint.feasible:
        return Verdict("infeasible", "Not feasible: tools come too near each other", (between, *joint.relaxations))
    worst = min(names, key=lambda name: joint.plans[name].alternatives[0].certified_clearance_mm)
    best = joint.plans[worst].alternatives[0]
    beside = f"The smallest clearance from a structure is that of {worst}: {number(best.certified_clearance_mm)} mm" + (
        f", limited by {best.limiting_structure}." if best.limiting_structure else "."
    )
    demand = f"The plan request demands at least {number(joint.min_gap_mm)} mm between tools."
    checked = tuple(dict.fromkeys(name for one in verdicts.values() for name in one.checked_against))
    not_known = (verdicts[worst].sentences[-1],) if worst in verdicts else ()
    unsure = [name for name in names if name in verdicts and verdicts[name].kind != "feasible"]
    tight = [name for name in unsure if verdicts[name].kind == "tight"]
    if tight:
        headline = f"{len(names)} tools that keep apart, but with its error {joined(tight)} reaches into a margin"
        return Verdict("tight", f"{headline}{_against(checked)}", (between, beside, demand, *not_known), checked)
    if unsure:
        headline = f"{len(names)} tools that keep apart, but part of what lies along {joined(unsure)} was not checked"
        return Verdict("unchecked", f"{headline}{_against(checked)}", (between, beside, demand, *not_known), checked)
    headline = f"Feasible: {len(names)} tools that keep apart{_against(checked)}"
    return Verdict("feasible", headline, (between, beside, demand, *not_known), checked)


def _segmented(checked: Sequence[str]) -> list[str]:
    return [name for name in checked if name != UNSEGMENTED_BONE]


def _readable(name: str) -> str:
    return _READABLE_BONE if name == UNSEGMENTED_BONE else name


def _against(checked: Sequence[str]) -> str:
    return f" (checked against {joined([_readable(name) for name in checked])})" if checked else ""


def _all_there_is(report: PlanReport, checked: Sequence[str]) -> str:
    """What a path was checked against when no segmented structure is to be avoided: dense bone, or its target."""
    if checked:
        return _READABLE_BONE
    targets = [name for name, role in report.roles.items() if role is StructureRole.TARGET]
    return joined(targets) if targets else "the target it reaches"


def _not_known(report: PlanReport, checked: Sequence[str]) -> str:
    """What was not checked."""
    if report.surroundings is None:
        return "What else the path goes through was not examined and is not known."
    if not report.surroundings.has_hounsfield_units:
        return (
            "Anatomy that was not segmented was not checked and may be in the way. This study has no Hounsfield units, "
            "so bone and air cannot be distinguished from soft tissue."
        )
    if UNSEGMENTED_BONE in checked:
        above = number(report.surroundings.bone_above_hu, 0)
        return (
            f"Anatomy that was not segmented may be in the way. Unsegmented bone means everything of at least {above} "
            "HU that was not segmented; soft tissue other than the structures named was not checked."
        )
    if report.surroundings.is_bone_avoided:
        above = number(report.surroundings.bone_above_hu, 0)
        return (
            f"Anatomy that was not segmented may be in the way. No unsegmented bone (at least {above} HU) was found "
            "within reach; softer bone and soft tissue were not checked."
        )
    if report.surroundings.bone_corridors:
        return "Anatomy that was not segmented was not checked and may be in the way."
    return "Anatomy that was not segmented was not checked and may be in the way; bone is avoided only where segmented."


def _about(report: PlanReport, best: Alternative) -> list[str]:
    tool = report.tool
    taken = (
        f"the tool's radius ({number(tool.radius_mm, 2)} mm) and its placement error "
        f"({number(tool.entry_error_mm)} mm at the entry, {number(tool.target_error_mm)} mm at the target)"
    )
    path = (
        f"The path runs {number(best.length_mm)} mm from the entry at {place(best.entry_lps_mm)} "
        f"to the target at {place(best.target_lps_mm)}."
    )
    if not best.limiting_structure:
        return [path, "There is no structure to avoid or to stay inside, so no structure limits it."]
    clearance = best.certified_clearance_mm
    if clearance >= 0:
        left = (
            f"After subtracting the margin, {taken}, the certified clearance is {number(clearance)} mm: a guaranteed "
            "lower bound for these masks and margins."
        )
    else:
        left = f"With {taken}, the path reaches up to {number(-clearance)} mm into a margin."
    offset = np.asarray(best.limiting_point_lps_mm) - np.asarray(best.entry_lps_mm)
    is_wall = report.roles.get(best.limiting_structure) is StructureRole.INSIDE
    nearest = (
        f"The clearance is smallest at {'the wall of' if is_wall else 'the margin of'} {best.limiting_structure}, "
        f"{number(float(np.linalg.norm(offset)))} mm along the path, at {place(best.limiting_point_lps_mm)}."
    )
    likeliest = max(best.hit_probability_by_structure, key=lambda name: best.hit_probability_by_structure[name])
    deed = "leaves" if report.roles.get(likeliest) is StructureRole.INSIDE else "touches"
    low, high = best.hit_probability_interval
    hit = (
        f"Estimated probability that the tool {deed} {likeliest}, the highest of all structures: "
        f"{percent(best.hit_probability)} (95 % interval over the stochastic masks {percent(low)} to {percent(high)})."
    )
    return [path, f"{left} {nearest}", hit]
