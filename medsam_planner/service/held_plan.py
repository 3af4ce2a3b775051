"""The plan that holds, as whoever reviews it sees it: paths that were found, those placed by hand, the decision."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medsam_planner.errors import PlanningError, StaleError
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.plan_document import alternative_entry
from medsam_planner.planning.problem import Limits
from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.request_entry import request_from_entry
from medsam_planner.planning.search import PlanResult
from medsam_planner.service.core.on_behalf import PLAN_ENDED
from medsam_planner.service.core.plan_review import PlanReview
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.read_plan import ReadPlan, found_plan, read_alternative, read_plan

__all__ = ["HeldPlan", "held_plan", "read_held"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldPlan:
    """A plan with what persons have done to it since."""

    job: str
    """Its identifier: that of the job which made it."""
    read: ReadPlan
    review: PlanReview

    @property
    def paths(self) -> Mapping[str, PlanResult]:
        """By tool: its plan, with the lines placed by hand after those that were found."""
        placed: dict[str, list[Alternative]] = {name: [] for name in self.read.tools}
        for entry in self.review.lines.values():
            if entry["tool"] in placed:
                placed[entry["tool"]].append(read_alternative(entry))
        return {
            name: replace(one, alternatives=(*one.alternatives, *placed[name])) if placed[name] else one
            for name, one in self.read.tools.items()
        }

    @property
    def limits(self) -> Limits:
        """What no path may break."""
        entry = self.read.request["limits"]
        return Limits(**{name: math.inf if value is None else value for name, value in entry.items()})

    @property
    def structures(self) -> frozenset[str]:
        """Names of the structures that it rests on."""
        names = {one["name"] for one in self.read.request["structures"]}
        for tool in self.read.request["tools"]:
            names |= {tool["target"]["structure"], tool["entry"]["structure"]}
        return frozenset(names - {None})

    def is_of(self, request: PlanRequest) -> bool:
        """Whether it was made from this request."""
        return bool(json.loads(json.dumps(request.as_entry())) == dict(self.read.request))

    def request(self) -> PlanRequest:
        """What it was made from.

        Raises
        ------
        PlanningError
            If that cannot be said again, see :func:`.request_from_entry`.
        """
        return request_from_entry(self.read.request)

    def path(self, tool: str, number: int) -> Alternative:
        """One path of a tool, counted from 0.

        Raises
        ------
        PlanningError
            If there is none.
        """
        found = self.paths.get(tool)
        if found is None:
            raise PlanningError(f"Expected one of the tools {', '.join(map(repr, self.read.tools))}, got {tool!r}.")
        if not 0 <= number < len(found.alternatives):
            raise PlanningError(f"Expected a path from 1 to {len(found.alternatives)}, got path {number + 1}.")
        return found.alternatives[number]

    def entries(self, tool: str, first: int = 0) -> tuple[dict[str, Any], ...]:
        """The paths of a tool as ``plan.json`` has them, the one of a number before the others."""
        found = self.paths[tool]
        order = [first, *(number for number in range(len(found.alternatives)) if number != first)]
        counts = {"candidate_count": found.candidate_count, "feasible_count": found.feasible_count}
        return tuple(alternative_entry(found.alternatives[number]) | counts for number in order)


def read_held(service: Service, work: Work, plan: str) -> HeldPlan:
    """A finished plan, whether it holds or not.

    Raises
    ------
    NotThereError, PlanningError
        If there is no such plan; if it cannot be read.
    """
    read = read_plan(found_plan(service.plan_folder(work, plan)))
    return HeldPlan(plan, read, work.state.reviews.get(plan, PlanReview()))


def held_plan(service: Service, work: Work, plan: str) -> HeldPlan:
    """A plan that holds.

    Raises
    ------
    StaleError
        If it holds no longer.
    NotThereError, PlanningError
        As :func:`read_held`.
    """
    held = read_held(service, work, plan)
    if work.state.plan != plan:
        raise StaleError(PLAN_ENDED)
    return held
