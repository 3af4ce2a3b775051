"""What only the page has of a session: the active structure, the plan draft, what is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from medsam_planner.service.core.structure_list import Listed, free_colour
from medsam_planner.service.core.work_state import WorkState
from medsam_planner.service.live_settings import LiveSettings
from medsam_planner.service.plan_draft import PlanDraft, ToolEnds
from medsam_planner.service.structure import FIRST_STRUCTURE

__all__ = ["PageState", "draft_entry"]


@dataclass(frozen=True, slots=True)
class PageState:
    """The entries of the journal's ``page`` records."""

    listed: Mapping[str, Listed]
    """The structures of the session, in their order; one to begin with where it has none."""
    active: str
    draft: PlanDraft
    """Without its calibration, which is an upload."""
    chosen: int
    """Number of the alternative of the plan that is shown."""
    tool: str
    """Which tool of the plan is shown; empty for the first."""
    download: Mapping[str, Any]
    """``of`` which results it was packed, by which ``job``, and the ``notes`` on it; empty before there is one."""
    live: LiveSettings

    @classmethod
    def of(cls, state: WorkState) -> PageState:
        """Of a session."""
        listed = state.listed or {FIRST_STRUCTURE: Listed(free_colour({}))}
        active = state.page.get("active", "")
        of_plan, number, *tool = state.page.get("chosen", (None, 0))
        return cls(
            listed,
            active if active in listed else next(iter(listed)),
            _draft(state.page.get("draft", {})),
            number if of_plan == state.plan else 0,
            str(tool[0]) if tool and of_plan == state.plan else "",
            state.page.get("download", {}),
            LiveSettings.of_entry(state.page.get("live", {})),
        )


def draft_entry(draft: PlanDraft) -> dict[str, Any]:
    """A plan draft as plain JSON values."""
    return asdict(replace(draft, calibration=None))


def _draft(entry: Mapping[str, Any]) -> PlanDraft:
    known = {field.name for field in fields(PlanDraft)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items() if name in known
    }
    values["other_tools"] = tuple(
        ToolEnds(one["name"], tuple(one["target_lps_mm"]), tuple(one["entry_lps_mm"]))
        for one in values.get("other_tools", ())
    )
    return PlanDraft(**values)
