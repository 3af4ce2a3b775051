"""Lines that a person or a program places in a plan: they are measured as the planner measures its own, then kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.lengths import FARTHEST_MM
from medsam_planner.planning.request import PlanRequest
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.review_requests import ReadLine
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.core.work import Work
from medsam_planner.service.decisions import choose
from medsam_planner.service.held_plan import HeldPlan

__all__ = ["LineAsked", "keep", "measure"]

_BEYOND_IMAGES_MM = 50.0
"""How far outside the images a line may begin or end: distance fields are built around it."""


@dataclass(frozen=True, slots=True, eq=False)
class LineAsked:
    """One line that somebody places."""

    line_lps_mm: NDArray[np.float64]
    """(2, 3) entry, then target."""
    tool: str = ""
    """Of the plan; empty for the one that is shown, or the first."""
    is_on_surface: bool = True
    """Whether the entry is moved along the line to the surface that is entered."""
    plan: str | None = None
    """Which plan the person sees."""

    @classmethod
    def from_browser(cls, payload: Any) -> LineAsked:
        """Read what the page sent, which is untrusted.

        Raises
        ------
        PlanningError
            If it is malformed, or a number is not finite or beyond ±:data:`FARTHEST_MM`.
        """
        try:
            line = np.array([payload["entry_lps_mm"], payload["target_lps_mm"]], dtype=np.float64)
            tool, plan = payload.get("tool", ""), payload.get("plan")
            is_text = isinstance(tool, str) and (plan is None or isinstance(plan, str))
            if line.shape != (2, 3) or not is_text or not (np.abs(line) <= FARTHEST_MM).all():
                raise ValueError("two positions of three numbers are needed")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanningError(
                f"Expected entry and target as three finite numbers each, LPS mm ({error}). Enter them again."
            ) from error
        return cls(line, tool, payload.get("on_surface") is not False, plan)


def measure(
    service: Service,
    work: Work,
    asked: LineAsked,
    request: PlanRequest,
    origin: PlanOrigin,
    *,
    held: HeldPlan | None,
    is_live: bool = False,
) -> dict[str, Any]:
    """Measure one line; nothing is changed.

    Parameters
    ----------
    service : Service
    work : Work
    asked : LineAsked
    request : PlanRequest
        What is planned.
    origin : PlanOrigin
        Where that came from.
    held : HeldPlan or None
        The plan whose paths may be asked for next.
    is_live : bool
        Whether to leave out what takes long and is not there yet.

    Returns
    -------
    dict
        ``line`` as ``plan.json`` has paths, its ``tool``, ``not_certified`` and ``broken_limits`` in sentences, and
        whether it ``is_at_surface``.

    Raises
    ------
    PlanningError
        If there is no such tool, or the line leads far outside the images.
    StaleError
        If what is planned rests on prompts that changed since.
    """
    name = asked.tool or request.tools[0].name
    tool = next((one for one in request.tools if one.name == name), None)
    if tool is None:
        raise PlanningError(f"Expected one of the tools {', '.join(one.name for one in request.tools)}, got '{name}'.")
    _require_near(asked.line_lps_mm, work.study)
    others = [] if held is None else [_ends(one) for found in held.paths.values() for one in found.alternatives]
    found = service.computations.read_line(
        ReadLine(
            service.computations.reviewed(work, request, origin),
            name,
            tool.tool,
            asked.line_lps_mm,
            np.array(others, dtype=np.float64).reshape(-1, 2, 3),
            asked.is_on_surface,
            is_live,
        )
    )
    return found | {"tool": name}


def keep(
    own: OnBehalf,
    work: Work,
    held: HeldPlan,
    found: Mapping[str, Any],
    *,
    replaces: int | None = None,
    event: str | None = None,
    **entries: Any,
) -> int:
    """Keep a measured line as a path of the plan, and show it; an acceptance of the plan ends.

    Parameters
    ----------
    own : OnBehalf
    work : Work
    held : HeldPlan
    found : mapping
        From :func:`measure`.
    replaces : int, optional
        Number of the placed line that it takes the place of, see :attr:`.PlanReview.lines`.
    event : str, optional
        The client's identifier of the change.
    **entries
        What else is recorded.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    ForbiddenError, StaleError
        If the actor may not plan on the study; if the plan no longer holds.
    PlanningError
        If the line does not begin at the surface that is entered.
    """
    if not found["is_at_surface"]:
        raise PlanningError(
            "Expected an entry on the surface that is entered, because what lies before it is not checked. "
            f"{' '.join(found['not_certified'])} Tick “entry on the surface”, or move it."
        )
    line = {**found["line"], "tool": found["tool"], "replaces": replaces}
    with work.changing():
        n = own.review(work, "line", held.job, event=event, line=line, **entries)
        now = replace(held, review=work.state.review)
        choose(own, work, now, found["tool"], len(now.paths[found["tool"]].alternatives) - 1)
    return n


def _require_near(line_lps_mm: NDArray[np.float64], study: StoredStudy) -> None:
    index = index_from_lps(study.affine, line_lps_mm)
    inside = np.clip(index, 0, np.array(study.shape) - 1)
    beyond_mm = np.linalg.norm(lps_from_index(study.affine, inside) - line_lps_mm, axis=1)
    if beyond_mm.max() > _BEYOND_IMAGES_MM:
        raise PlanningError(
            f"Expected a line within {_BEYOND_IMAGES_MM:g} mm of the images, got one with an end {beyond_mm.max():.3g} "
            "mm outside them. Check its unit and frame: LPS mm."
        )


def _ends(one: Alternative) -> list[tuple[float, float, float]]:
    return [one.entry_lps_mm, one.target_lps_mm]
