"""The 3D masks of a workbench follow its prompts: what is computed without being asked for, and how far it is.

A page asks :func:`follow` a short quiet time after each change, and again when something has ended. It begins at most
one job: the mask of a structure without passes first, the active structure before others, then the passes. A prompt
stops what is computed from older ones, and whatever a person asks for comes first
(:class:`~medsam_planner.service.core.job.Urgency`). What ended is in the journal, so a reload or a restart goes on
where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from medsam_planner.errors import OperationCancelledError
from medsam_planner.progress import Progress
from medsam_planner.service.core.job import Job, JobState, Urgency
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.work import Work
from medsam_planner.service.live_settings import LiveSettings
from medsam_planner.service.page_state import PageState
from medsam_planner.service.waiting import wait_for
from medsam_planner.service.workbench import Workbench
from prompts.shapes import locates

__all__ = ["Following", "change", "follow", "following", "settings", "stop", "wait"]

FollowingState = Literal["off", "idle", "due", "waiting", "running", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Following:
    """How far the 3D masks are behind the prompts."""

    state: FollowingState
    """``idle``: everything is there. ``due``: something is to be computed, and :func:`follow` begins it. ``waiting``
    and ``running``: a job does. ``stopped``: a person pressed Stop."""
    structure: str = ""
    task: Literal["", "mask", "passes"] = ""
    job: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    problem: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    structure: str
    options: SegmentOptions
    digest: str

    @property
    def task(self) -> Literal["mask", "passes"]:
        return "passes" if self.options.samples else "mask"


def settings(work: Work) -> LiveSettings:
    """What is computed after a prompt in a session."""
    return PageState.of(work.state).live


def change(workbench: Workbench, **changes: Any) -> None:
    """Change :class:`LiveSettings`; to what is set already, nothing is recorded. What no longer follows is stopped."""
    work = workbench.require_work()
    before = settings(work)
    after = replace(before, **changes)
    if after == before:
        return
    workbench.record(live=after.as_entry())
    for name in () if after.is_on else work.state.steps:
        workbench.service.jobs.stop_outdated(work, name, but="")


def follow(workbench: Workbench) -> Following:
    """Begin what is due, unless a job does it already.

    Raises
    ------
    StudyError
        If no study is open.
    AtCapacityError, OutputError
        As :meth:`~medsam_planner.service.core.service.Service.segment`.
    """
    work = workbench.require_work()
    with work.changing():  # two pages, or a prompt, do not come between looking and beginning
        now = following(workbench)
        if now.state != "due":
            return now
        wanted = next(_wanted(work))
        urgency = Urgency.PASSES if wanted.options.samples else Urgency.MASK
        workbench.own.segment(work, wanted.structure, wanted.options, urgency=urgency)
        return following(workbench)


def following(workbench: Workbench) -> Following:
    """How far the 3D masks are."""
    work = workbench.require_work()
    live = settings(work)
    if not live.is_on:
        return Following("off")
    if (job := _unfinished(workbench, work)) is not None:
        state: FollowingState = "waiting" if job.state is JobState.QUEUED else "running"
        options = work.state.jobs[job.identifier].get("options", {})
        task: Literal["mask", "passes"] = "passes" if options.get("samples") else "mask"
        return Following(state, str(job.structure), task, job.identifier, job.stage, job.done, job.total)
    problem: Following | None = None
    for wanted in _wanted(work, with_refused=True):
        if live.is_stopped(wanted.structure, wanted.digest):
            problem = problem or Following("stopped", wanted.structure, wanted.task)
        elif (detail := _failure(work, wanted)) is not None:
            problem = problem or Following("failed", wanted.structure, wanted.task, problem=detail)
        else:
            return Following("due", wanted.structure, wanted.task)
    return problem or Following("idle")


def stop(workbench: Workbench) -> None:
    """Stop what is computed of 3D masks; nothing follows until prompts of that structure change."""
    work = workbench.require_work()
    with work.changing():
        if (job := _unfinished(workbench, work)) is None or job.structure is None:
            return
        stopped = settings(work).with_stopped(job.structure, work.state.require(job.structure).digest)
        workbench.own.record(work, "page", page={"live": stopped.as_entry()})
        workbench.service.jobs.stop_outdated(work, job.structure)


def wait(workbench: Workbench, progress: Progress | None = None) -> None:
    """Let the 3D masks catch up with the prompts, in a session in which they follow them.

    Raises
    ------
    OperationCancelledError
        If the progress is cancelled meanwhile.
    """
    work = workbench.require_work()
    if not any(begun.get("unasked") and begun["task"] == "segment" for begun in work.state.jobs.values()):
        return
    while (now := follow(workbench)).job:
        wait_for(workbench.service.jobs, now.job, progress)
        workbench.refresh()
        if progress is not None and progress.is_cancelled:
            raise OperationCancelledError("The computation was stopped.")


def _wanted(work: Work, *, with_refused: bool = False) -> Iterator[_Wanted]:
    """What is to be computed, the first first; what a person stopped or what failed only on request."""
    page = PageState.of(work.state)
    names = sorted(work.state.steps, key=lambda name: name != page.active)
    found = [one for one in (_mask_of(work, page.live, name) for name in names) if one is not None]
    found += [one for one in (_passes_of(work, page.live, name) for name in names) if one is not None]
    for one in found:
        is_refused = page.live.is_stopped(one.structure, one.digest) or _failure(work, one) is not None
        if with_refused or not is_refused:
            yield one


def _mask_of(work: Work, live: LiveSettings, name: str) -> _Wanted | None:
    steps = work.state.steps[name]
    if name in work.state.results and not work.state.is_stale(name):
        return None
    is_located = any(locates(prompt) for prompt in steps.log().prompts)
    return _Wanted(name, live.mask_options, steps.digest) if is_located else None


def _passes_of(work: Work, live: LiveSettings, name: str) -> _Wanted | None:
    stored = work.state.results.get(name)
    if stored is None or work.state.is_stale(name) or not live.samples:
        return None
    if stored.summary["samples"] or not stored.summary["volume_ml"]:
        return None
    options = live.passes_options(triplanar=bool(stored.summary["triplanar"]))
    return _Wanted(name, options, stored.digest)


def _failure(work: Work, wanted: _Wanted) -> str | None:
    """Why the same computation failed the last time; None where it did not, or only because the server ended."""
    for name, begun in reversed(list(work.state.jobs.items())):
        is_same = (begun.get("structure"), begun.get("digest")) == (wanted.structure, wanted.digest)
        if is_same and begun.get("options") == asdict(wanted.options) and name in work.state.ends:
            problem = work.state.ends[name].get("problem")
            return None if problem is None or problem["code"] == "interrupted" else str(problem["detail"])
    return None


def _unfinished(workbench: Workbench, work: Work) -> Job | None:
    """The job of a 3D mask that has not ended, whoever wanted it."""
    jobs = workbench.service.jobs.of_session(work.identifier)
    return next((job for job in jobs if job.task == "segment" and not job.state.is_final), None)
