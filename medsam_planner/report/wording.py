"""How positions, figures and the verdict are said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.surroundings import UNSEGMENTED_BONE
from medsam_planner.report.model import PlanReport

if TYPE_CHECKING:
    from medsam_planner.planning.alternatives import Alternative
    from medsam_planner.planning.several import JointPlan
    from medsam_planner.report.cautions import Caution

__all__ = [
    "Verdict",
    "crossed",
    "joined",
    "joint_verdict",
    "number",
    "percent",
    "place",
    "plain",
    "slice_number",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in plain words."""

    kind: str
    """``"feasible"``, ``"tight"``, ``"unchecked"`` or ``"infeasible"``: names the style."""
    headline: str
    sentences: tuple[str, ...]
    checked_against: tuple[str, ...] = ()
    """Structures that the planned path was measured against; empty without a path."""


def place(position_lps_mm: ArrayLike, *, axes: Sequence[int] = (0, 1, 2)) -> str:
    """Say a position by the patient's letters: ``"R 12.3, A 4.0, S 88.1 mm"``, or only along some axes.

    Letter and number are joined by a no-break space.
    """
    values = np.asarray(position_lps_mm, dtype=np.float64)
    parts = []
    for axis in axes:
        positive, negative = ("LR", "PA", "SI")[axis]
        value = round(float(values[axis]), 1)
        parts.append(f"{positive if value >= 0 else negative}\N{NO-BREAK SPACE}{abs(value):.1f}")
    return ", ".join(parts) + "\N{NO-BREAK SPACE}mm"


def percent(share: float) -> str:
    """A probability in percent with the digits that matter: ``"0 %"``, ``"<0.01 %"``, ``"0.42 %"``, ``"12.0 %"``."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if 0 < value < 0.01:
        return "<0.01 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %"


def slice_number(index: int) -> int:
    """What a person calls the slice of an index: counted from 1, as every viewer does."""
    return int(index) + 1


def number(value: float | None, digits: int = 1) -> str:
    """A figure with fixed digits and a true minus sign; a dash for none."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def plain(value: Any) -> str:
    """Any provenance value as one line of text."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str | int | Path):
        return str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return json.dumps({str(key): plain(item) for key, item in value.items()}, ensure_ascii=False)
    if isinstance(value, Sequence):
        return ", ".join(f"({plain(item)})" if isinstance(item, list | tuple) else plain(item) for item in value)
    return str(value)


def crossed(alternative: Alternative) -> str:
    """What a path goes through beside soft tissue: ``"bone 8.0 mm, air 31.5 mm"``; a dash where nobody looked."""
    if alternative.crossings is None:
        return "–"
    total: dict[str, float] = {}
    for one in alternative.crossings:
        total[one.kind.value] = total.get(one.kind.value, 0.0) + one.length_mm
    if total:
        return ", ".join(f"{kind} {number(length)} mm" for kind, length in total.items())
    has_unit = alternative.value_profile is not None and alternative.value_profile.unit == "HU"
    return "no bone, no air" if has_unit else "bone and air not known"


def joined(names: Sequence[str]) -> str:
    """``["a", "b", "c"]`` → ``"a, b and c"``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict(report: PlanReport, cautions: Sequence[Caution] = ()) -> Verdict:
    """Say whether a path exists, how much room it leaves, where it is tightest and how likely it touches.

    A path is called feasible only beside the structures it was checked against, and only where nothing that is known to
    lie on its way was left unchecked.
    """
    plan = report.plan
    looked = f"{plan.candidate_count} lines were looked at, {plan.feasible_count} satisfy every constraint."
    if plan.feasible and plan.alternatives:
        best = plan.alternatives[0]
        checked = tuple(best.clearance_mm_by_structure)
        about = (*_about(report, best), looked, _not_known(report, checked))
        if best.certified_clearance_mm < 0:
            headline = f"Allowed by the limits, but the tool with its error reaches into a margin{_against(checked)}"
            return Verdict("tight", headline, about, checked)
        if not _segmented(checked):
            nothing_but = _all_there_is(report, checked)
            headline = f"A path satisfies every constraint, but was checked against nothing but {nothing_but}"
            return Verdict("unchecked", headline, about, checked)
        if any(caution.is_unchecked for caution in cautions):
            headline = f"A path satisfies every constraint, but not all on its way was checked{_against(checked)}"
            return Verdict("unchecked", headline, about, checked)
        return Verdict("feasible", f"Feasible: a path satisfies every constraint{_against(checked)}", about, checked)
    sentences = [*plan.reasons, looked] if plan.candidate_count else [*plan.reasons]
    if plan.nearest_miss is not None:
        miss = plan.nearest_miss
        sentences.append(
            f"Of the lines that keep length and angle, the best lacks {number(miss.shortage_mm)} mm of room at "
            f"{miss.structure}."
        )
    if plan.relaxations:
        least = plan.relaxations[0]
        entry, target = (place(end) for end in least.witness_lps_mm)
        sentences.append(f"The least change that makes a path possible: {least.text}")
        sentences.append(f"The line from {entry} to {target} would then do; it is drawn below and is not a plan.")
    elif plan.candidate_count or not plan.reasons:
        sentences.append("Relaxing a single limit does not help: change the entry region, the target or the tool.")
    return Verdict("infeasible", "Not feasible: no path satisfies every constraint", tuple(sentences))


def joint_verdict(joint: JointPlan, verdicts: Mapping[str, Verdict]) -> Verdict:
    """Say whether every tool has a path, and whether they keep apart.

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
        sentence = f"{why} No path of {joined(without)} satisfies every constraint; see below what to relax.".strip()
        return Verdict("infeasible", "Not feasible: a tool has no path", (sentence,))
    tightest = joint.gaps[0]
    between = (
        f"Between tools it is tightest from {tightest.first} to {tightest.second}: {number(tightest.certified_mm)} mm "
        f"are left beyond both radii and both placement errors, at {place(tightest.first_point_lps_mm)}."
    )
    if not joint.feasible:
        return Verdict("infeasible", "Not feasible: tools come too near each other", (between, *joint.relaxations))
    worst = min(names, key=lambda name: joint.plans[name].alternatives[0].certified_clearance_mm)
    best = joint.plans[worst].alternatives[0]
    beside = f"Beside structures {worst} has the least room: {number(best.certified_clearance_mm)} mm" + (
        f", limited by {best.limiting_structure}." if best.limiting_structure else "."
    )
    asked = f"At least {number(joint.min_gap_mm)} mm between tools were asked for."
    checked = tuple(dict.fromkeys(name for one in verdicts.values() for name in one.checked_against))
    not_known = (verdicts[worst].sentences[-1],) if worst in verdicts else ()
    unsure = [name for name in names if name in verdicts and verdicts[name].kind != "feasible"]
    tight = [name for name in unsure if verdicts[name].kind == "tight"]
    if tight:
        headline = f"{len(names)} tools that keep apart, but with its error {joined(tight)} reaches into a margin"
        return Verdict("tight", f"{headline}{_against(checked)}", (between, beside, asked, *not_known), checked)
    if unsure:
        headline = f"{len(names)} tools that keep apart, but not all on the way of {joined(unsure)} was checked"
        return Verdict("unchecked", f"{headline}{_against(checked)}", (between, beside, asked, *not_known), checked)
    headline = f"Feasible: {len(names)} tools that keep apart{_against(checked)}"
    return Verdict("feasible", headline, (between, beside, asked, *not_known), checked)


def _segmented(checked: Sequence[str]) -> list[str]:
    return [name for name in checked if name != UNSEGMENTED_BONE]


def _against(checked: Sequence[str]) -> str:
    return f" (checked against {joined(checked)})" if checked else ""


def _all_there_is(report: PlanReport, checked: Sequence[str]) -> str:
    """What little a path was checked against: bone by its density, or only the target it reaches."""
    if checked:
        return joined(checked)
    targets = [name for name, role in report.roles.items() if role is StructureRole.TARGET]
    return joined(targets) if targets else "the target it reaches"


def _not_known(report: PlanReport, checked: Sequence[str]) -> str:
    """What no figure above speaks of."""
    if report.surroundings is None:
        return "What the path goes through beside that was not looked at, and is not known."
    if not report.surroundings.has_hounsfield_units:
        return (
            "What nobody segmented is unknown and not free; this study has no Hounsfield units, so that not even bone "
            "and air can be told from soft tissue."
        )
    if UNSEGMENTED_BONE in checked:
        above = number(report.surroundings.bone_above_hu, 0)
        return (
            f"What nobody segmented is unknown and not free. {UNSEGMENTED_BONE} is what reaches {above} HU without "
            "having been segmented; soft tissue beside the structures named was not checked."
        )
    if StructureRole.INSIDE in report.roles.values():
        return "What nobody segmented is unknown and not free."
    return "What nobody segmented is unknown and not free; bone was not avoided unless it was segmented."


def _about(report: PlanReport, best: Alternative) -> list[str]:
    tool = report.tool
    taken = (
        f"the tool's radius ({number(tool.radius_mm, 2)} mm) and placement error "
        f"({number(tool.entry_error_mm)} mm at the entry, {number(tool.target_error_mm)} mm at the target)"
    )
    path = (
        f"The path runs {number(best.length_mm)} mm from the entry at {place(best.entry_lps_mm)} "
        f"to the target at {place(best.target_lps_mm)}."
    )
    if not best.limiting_structure:
        return [path, "There is no structure to avoid or to stay inside, so nothing limits it."]
    room = best.certified_clearance_mm
    if room >= 0:
        left = f"Beyond all margins, {taken}, a certified {number(room)} mm of room is left."
    else:
        left = f"With {taken}, it reaches up to {number(-room)} mm into a margin."
    offset = np.asarray(best.limiting_point_lps_mm) - np.asarray(best.entry_lps_mm)
    is_wall = report.roles.get(best.limiting_structure) is StructureRole.INSIDE
    nearest = (
        f"It is tightest at {'the wall of' if is_wall else 'the margin of'} {best.limiting_structure}, "
        f"{number(float(np.linalg.norm(offset)))} mm along the path, at {place(best.limiting_point_lps_mm)}."
    )
    likeliest = max(best.hit_probability_by_structure, key=lambda name: best.hit_probability_by_structure[name])
    deed = "leaves" if report.roles.get(likeliest) is StructureRole.INSIDE else "touches"
    low, high = best.hit_probability_interval
    hit = (
        f"Estimated probability that the tool {deed} {likeliest}, the likeliest of all: "
        f"{percent(best.hit_probability)} (95 % interval over the mask samples {percent(low)} to {percent(high)})."
    )
    return [path, f"{left} {nearest}", hit]
