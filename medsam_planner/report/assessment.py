"""The verdict and the cautions of a plan, the same in the report, in the workbench and on the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medsam_planner.report.cautions import Caution, find_cautions
from medsam_planner.report.model import PlanReport
from medsam_planner.report.verdict import Verdict, joint_verdict, verdict

__all__ = ["Assessment", "assess", "assess_tool"]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Verdict and cautions of a plan."""

    verdict: Verdict
    cautions: tuple[Caution, ...]
    """The gravest first. A caution about one of several tools begins with the name of the tool."""


def assess_tool(report: PlanReport) -> Assessment:
    """Verdict and cautions of the report's first tool."""
    cautions = tuple(find_cautions(report))
    return Assessment(verdict(report, cautions), cautions)


def assess(report: PlanReport) -> Assessment:
    """Verdict and cautions of all tools together; a caution that concerns all of them is given once."""
    by_tool = {tool.name: assess_tool(report.seen_from(tool)) for tool in report.tools}
    if len(by_tool) == 1:
        return by_tool[report.tools[0].name]
    every = [set(one.cautions) for one in by_tool.values()]
    shared = set.intersection(*every)
    own = [
        replace(caution, text=f"{name}: {caution.text}")
        for name, one in by_tool.items()
        for caution in one.cautions
        if caution not in shared
    ]
    first = next(iter(by_tool.values()))
    together = joint_verdict(report.joint, {name: one.verdict for name, one in by_tool.items()})
    return Assessment(together, (*own, *(caution for caution in first.cautions if caution in shared)))
