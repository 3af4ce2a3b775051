"""What the journal of a session says, at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from medsam_planner.errors import ConfigError, NotThereError, StaleError
from medsam_planner.report.decision import Decision, DecisionKind
from medsam_planner.service.core.journal import Record
from medsam_planner.service.core.plan_review import REVIEWING, PlanReview
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.structure_list import LOOKS, Deleted, Listed, StoredResult, free_colour, renamed

__all__ = ["Condition", "StoredResult", "WorkState"]

Condition = Literal["new", "prompted", "segmented", "stale"]
"""Without prompts; without a 3D result; with one of the present prompts; with one of earlier prompts."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class WorkState:
    """A session at one moment; replaced as a whole, never edited."""

    n: int = 0
    """Number of the last record."""
    at: str = ""
    """When that was, for people."""
    owner: str = ""
    """Name of the actor who began it; see :class:`~medsam_planner.service.core.actors.Actor`."""
    model: str = ""
    seed: int = 0
    listed: Mapping[str, Listed] = field(default_factory=lambda: _NOTHING)
    """Every structure, in the order of the list."""
    deleted: tuple[Deleted, ...] = ()
    """The structures that can be restored, the one deleted last at the end."""
    steps: Mapping[str, PromptSteps] = field(default_factory=lambda: _NOTHING)
    """By structure; those that were never prompted have none."""
    results: Mapping[str, StoredResult] = field(default_factory=lambda: _NOTHING)
    """The last one of each structure."""
    jobs: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """By identifier: how each began."""
    ends: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """By identifier: how each ended."""
    record_by_event: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """Changes by the identifiers that clients gave them."""
    plan: str | None = None
    """Identifier of the last plan, until a client asks for a structure to be segmented again or says that it no longer
    holds."""
    reviews: Mapping[str, PlanReview] = field(default_factory=lambda: _NOTHING)
    """By plan: what persons have done to it since."""
    page: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """What only a page knows of: plain JSON values, each replaced by a later one of the same name."""

    def after(self, record: Record) -> WorkState:
        """The state after a record of the journal; unknown kinds change nothing but the number.

        Raises
        ------
        PromptError, PlanningError
            If there is nothing to undo or redo.
        """
        after = self._after(record)
        return after if self.plan is None else after._with_ended_decision(self, record)

    @property
    def review(self) -> PlanReview:
        """Of the plan that holds."""
        return PlanReview() if self.plan is None else self.reviews.get(self.plan, PlanReview())

    @property
    def lost_decision(self) -> Decision | None:
        """The acceptance that the last plan has lost; None where it has not, or another decision was made since."""
        if self.plan is not None and self.review.decision is not None:
            return None
        last = next((one.decision for one in reversed(list(self.reviews.values())) if one.decision), None)
        return last if last is not None and last.kind is DecisionKind.WITHDRAWN else None

    def _after(self, record: Record) -> WorkState:
        state = replace(self, n=record["n"], at=record["at"])
        if record.get("event") is not None:
            state = replace(state, record_by_event={**state.record_by_event, record["event"]: record})
        match record["kind"]:
            case "opened":
                return replace(state, owner=record.get("actor", ""), model=record["model"], seed=record["seed"])
            case "prompt":
                return state._with(self._of(record["structure"]).added(record["entry"], record["n"]))
            case "undo":
                return state._with(self._of(record["structure"]).undone())
            case "redo":
                return state._with(self._of(record["structure"]).redone())
            case "replaced":
                return state._with(PromptSteps(record["structure"], tuple(record["entries"]), record["applied"]))
            case "structure":
                return state._described(record["structure"], {name: record[name] for name in LOOKS if name in record})
            case "order":
                return replace(state, listed={name: state.listed[name] for name in record["structures"]})
            case "renamed":
                return state._renamed(record["structure"], record["to"])
            case "deleted":
                return state._deleted(record["structure"])
            case "restored":
                return state._restored(record["deleted"])
            case "page":
                state = replace(state, page={**state.page, **record["page"]})
                for name, role in record["page"].get("structures", {}).items():  # so until 2026-11
                    state = state._described(name, {"role": role})
                return replace(state, plan=None) if record.get("ends_plan") else state
            case kind if kind in REVIEWING:
                plan = record["plan"]
                review = self.reviews.get(plan, PlanReview()).after(record)
                others = {name: one for name, one in self.reviews.items() if name != plan}
                return replace(state, reviews={**others, plan: review})
            case "job":
                return replace(state, jobs={**state.jobs, record["job"]: record})
            case "job-ended":
                return state._with_end(record)
        return state

    def repeated(self, event: str | None, kind: str, **entries: Any) -> Record | None:
        """The change that a client made under this identifier before; None if it has not.

        Parameters
        ----------
        event : str or None
            The client's identifier of the change.
        kind : str
        **entries
            What the client asks for.

        Raises
        ------
        ConfigError
            If what it did under the identifier was something else.
        """
        known = None if event is None else self.record_by_event.get(event)
        if known is not None and any(known.get(name) != value for name, value in {"kind": kind, **entries}.items()):
            raise ConfigError(f"Expected an event_id of its own for each request, got {event!r} of another change.")
        return known

    def is_stale(self, structure: str) -> bool:
        """Whether the prompts of a structure have changed since its 3D result."""
        return self.results[structure].digest != self.steps[structure].digest

    def condition(self, structure: str) -> Condition:
        """How far a structure is."""
        if structure in self.results:
            return "stale" if self.is_stale(structure) else "segmented"
        return "prompted" if self._of(structure).is_prompted else "new"

    def is_newer_than_plan(self, structure: str) -> bool:
        """Whether the 3D result of a structure came after the last plan was begun."""
        if self.plan is None or structure not in self.results:
            return False
        return bool(self.ends[self.results[structure].job]["n"] > self.jobs[self.plan]["n"])

    def result(self, structure: str, *, allow_stale: bool = False) -> StoredResult:
        """The 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError
        """
        self.require(structure)
        if structure not in self.results:
            raise StaleError(f"Structure {structure!r} has no 3D result yet. Segment it first.")
        if not allow_stale and self.is_stale(structure):
            raise StaleError(
                f"The prompts of {structure!r} have changed since its 3D result. Segment it again, or ask for the old "
                "result with allow_stale."
            )
        return self.results[structure]

    def require(self, structure: str) -> PromptSteps:
        """The steps of a structure.

        Raises
        ------
        NotThereError
            If there is none of that name.
        """
        if structure not in self.listed:
            named = ", ".join(map(repr, self.listed)) or "none yet"
            raise NotThereError(f"Expected one of the structures of the session ({named}), got {structure!r}.")
        return self._of(structure)

    def _of(self, structure: str) -> PromptSteps:
        return self.steps.get(structure, PromptSteps(structure))

    def _with(self, steps: PromptSteps) -> WorkState:
        return replace(self._described(steps.structure, {}), steps={**self.steps, steps.structure: steps})

    def _described(self, structure: str, looks: Mapping[str, Any]) -> WorkState:
        known = self.listed.get(structure)
        now = (known or Listed(free_colour(self.listed))).changed(looks)
        holds = known is None or known.role is now.role
        return replace(self, listed={**self.listed, structure: now}, plan=self.plan if holds else None)

    def _renamed(self, old: str, new: str) -> WorkState:
        def named(by_name: Mapping[str, _Value]) -> dict[str, _Value]:
            return {new if name == old else name: value for name, value in by_name.items()}

        state = self._without_plan_of(old)
        steps = {name: renamed(one, name) for name, one in named(self.steps).items()}
        jobs = {
            job: {**begun, "structure": new} if begun.get("structure") == old else begun
            for job, begun in state.jobs.items()
        }
        active = {"active": new} if self.page.get("active") == old else {}
        return replace(
            state,
            listed=named(self.listed),
            steps=steps,
            results=named(self.results),
            jobs=jobs,
            page={**self.page, **active},
        )

    def _deleted(self, structure: str) -> WorkState:
        def others(by_name: Mapping[str, _Value]) -> dict[str, _Value]:
            return {name: value for name, value in by_name.items() if name != structure}

        place = list(self.listed).index(structure)
        steps, result = self.steps.get(structure), self.results.get(structure)
        kept = Deleted(self.n, structure, place, self.listed[structure], steps, result)
        return replace(
            self._without_plan_of(structure)._dropping(lambda begun: begun.get("structure") == structure),
            listed=others(self.listed),
            deleted=(*self.deleted, kept),
            steps=others(self.steps),
            results=others(self.results),
        )

    def _restored(self, n: int) -> WorkState:
        kept = next(one for one in self.deleted if one.n == n)
        listed = list(self.listed.items())
        listed.insert(kept.place, (kept.name, kept.listed))
        state = replace(self, listed=dict(listed), deleted=tuple(one for one in self.deleted if one is not kept))
        if kept.steps is not None:
            state = replace(state, steps={**state.steps, kept.name: kept.steps})
        if kept.result is not None:
            state = replace(state, results={**state.results, kept.name: kept.result})
        return state

    def _without_plan_of(self, structure: str) -> WorkState:
        """Without a plan that may name a structure which is no longer there under that name."""
        if structure not in self.results:
            return self
        return replace(self, plan=None)._dropping(lambda begun: begun["task"] == "plan")

    def _dropping(self, is_meant: Callable[[Record], bool]) -> WorkState:
        """Take nothing from jobs that are still under way."""
        dropped = {
            job: {**begun, "is_dropped": True}
            for job, begun in self.jobs.items()
            if job not in self.ends and is_meant(begun)
        }
        return replace(self, jobs={**self.jobs, **dropped})

    def _with_ended_decision(self, before: WorkState, record: Record) -> WorkState:
        """The state in which the plan that held before has lost its acceptance, if this record has changed it."""
        plan, why = before.plan, ""
        assert plan is not None
        if self.plan is None:
            why = "A structure was segmented again" if record["kind"] == "job-ended" else "What is planned was changed"
        elif self.plan != plan:
            why = "Paths were found again"
        elif any(self.results.get(name) is not one for name, one in before.results.items()):
            why = "A structure was segmented again, renamed or deleted"
        elif any(self.is_stale(name) and not before.is_stale(name) for name in before.results):
            why = "Prompts of a structure were changed"
        review = self.reviews.get(plan)
        if review is None or review.decision is None or not why:
            return self
        return replace(self, reviews={**self.reviews, plan: review.ended(record, why)})

    def _with_end(self, record: Record) -> WorkState:
        state = replace(self, ends={**self.ends, record["job"]: record})
        begun = self.jobs.get(record["job"], {})
        if begun.get("is_dropped"):
            return state
        if record["state"] == "done" and begun.get("task") == "segment":
            result = StoredResult(record["job"], begun["digest"], record["result"])
            plan = self.plan if begun.get("unasked") else None  # nobody asked to lose it: it is marked as out of date
            state = replace(state, results={**self.results, begun["structure"]: result}, plan=plan)
        elif record["state"] == "done" and begun.get("task") == "plan":
            state = replace(state, plan=record["job"])
        elif record["state"] == "done" and begun.get("task") == "document":
            review = self.reviews.get(begun["plan"], PlanReview())
            state = replace(state, reviews={**self.reviews, begun["plan"]: review.written(begun)})
        return state
