"""Output of all commands: a progress display on a terminal, plain lines in a pipe."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from medsam_planner.progress import Progress

if TYPE_CHECKING:
    import highdicom

    from medsam_planner.planning.search import PlanResult
    from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["console", "output", "say", "tell_notes", "tell_plan", "tell_reading", "watched", "watched_until_signalled"]

_PLAIN_INTERVAL_S = 5.0

console = Console(stderr=True, highlight=False)
output = Console(highlight=False)


def say(text: str) -> None:
    """Print one line on standard output and flush it."""
    typer.echo(text)


def tell_reading(study: highdicom.Volume) -> None:
    """Print what was left out or inferred while the study was read, one line each."""
    from medsam_planner.volumes import source_of

    source = source_of(study)
    for note in source.notes if source is not None else ():
        say(f"Note: {note}")


class _Bars:
    """Rich progress bars, one for each stage."""

    is_cancelled = False  # Ctrl-C raises by itself

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self.display = RichProgress(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, int] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks or done == 0:
            self._tasks[stage] = self.display.add_task(stage, total=total)
        self.display.update(self._tasks[stage], completed=done, total=total)  # type: ignore[arg-type]


class _Lines:
    """One line of progress every few seconds, for logs."""

    is_cancelled = False

    def __init__(self) -> None:
        self._last = 0.0

    def update(self, stage: str, done: int, total: int) -> None:
        if done and done != total and time.monotonic() - self._last < _PLAIN_INTERVAL_S:
            return
        if done == 0:
            return
        self._last = time.monotonic()
        console.print(f"  {stage}: {done}/{total}")


@contextmanager
def watched() -> Iterator[Progress]:
    """Give a progress object for the duration of a block."""
    if not console.is_terminal:
        yield _Lines()
        return
    bars = _Bars()
    with bars.display:
        yield bars


class _Stoppable:
    """Progress that a signal cancels."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.is_cancelled = False

    def update(self, stage: str, done: int, total: int) -> None:
        self._progress.update(stage, done, total)

    def cancel(self, *_: object) -> None:
        self.is_cancelled = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends it at once


@contextmanager
def watched_until_signalled() -> Iterator[Progress]:
    """As :func:`watched`; SIGTERM and Ctrl-C ask the computation to stop where it can be resumed."""
    with watched() as progress:
        stoppable = _Stoppable(progress)
        before = {number: signal.signal(number, stoppable.cancel) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield stoppable
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def tell_notes(notes: Iterable[str]) -> None:
    """Print what is missing in the results, and why."""
    for note in notes:
        say(f"Note: {note}")


def tell_plan(written: WrittenPlan) -> int:
    """Print the plan, the path of the report last; returns the exit code, 0 where a plan exists."""
    joint = written.joint
    if written.feasible:
        say(f"{written.assessment.verdict.headline}.")
    for name, plan in joint.plans.items():
        _tell_tool(plan, "" if len(joint.plans) == 1 and not joint.gaps else f"{name}: ")
    for gap in joint.gaps:
        say(f"Between {gap.first} and {gap.second}: {gap.certified_mm:.1f} mm certified.")
    for sentence in joint.relaxations:
        say(f"  {sentence}")
    tell_notes(written.notes)
    for caution in written.assessment.cautions:
        say(f"Caution: {caution.text}")
    say(f"Report: {written.report_path}")
    return 0 if written.feasible else 1


def _tell_tool(plan: PlanResult, whose: str) -> None:
    if plan.feasible:
        best = plan.alternatives[0]
        say(
            f"{whose or 'Plan: '}certified clearance {best.certified_clearance_mm:.1f} mm beyond all margins, limited "
            f"by {best.limiting_structure or 'nothing'}; {best.length_mm:.0f} mm long; {len(plan.alternatives)} "
            "alternatives."
        )
        return
    for reason in plan.reasons:
        say(f"{whose}{reason}")
    say(f"{whose}no plan meets all constraints." if whose else "No plan meets all constraints.")
    for relaxation in plan.relaxations:
        say(f"  {relaxation.text}")
