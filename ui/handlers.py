"""What each button does, free of Gradio: a workbench and values in, a screen out. Errors become a line on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medsam_planner.errors import (
    AmbiguousSeriesError,
    GantryTiltError,
    MedsamPlannerError,
    OperationCancelledError,
    PromptError,
)
from medsam_planner.io import inspect_study
from medsam_planner.progress import Progress
from medsam_planner.service.display import Plane
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.screen import Screen, screen, study_notes

__all__ = [
    "ViewerAction",
    "begin_structure",
    "choose_role",
    "choose_structure",
    "clear",
    "on_viewer",
    "open_study",
    "resume",
    "resume_uploaded",
    "run_to_3d",
    "step_back",
    "step_forward",
    "step_number",
    "stop",
]


def attempt(
    workbench: Workbench,
    change: Callable[[], str | None],
    *,
    said: str = "",
    kind: Callable[[], str] = lambda: "done",
    notes: Callable[[], Iterable[str]] = tuple,
    step: int | None = None,
    after: int = 0,
    is_long: bool = False,
    **scene_options: Any,
) -> Screen:
    """Make one change and show the page; an error of the software is said in words, and nothing is lost.

    Parameters
    ----------
    workbench : Workbench
    change : callable
        May return what to tell the person in place of `said`.
    said : str
    kind : callable
        Gives the kind of the notice, once the change is made.
    notes : callable
        Gives what was noticed while the change was made.
    step : int, optional
        Number of the change among the steps of the page; steps are done in their order.
    after : int
        Last step before a change that has no number of its own.
    is_long : bool
        Whether Stop can stop it.
    **scene_options
        Of :func:`ui.canvas.scene`.
    """
    try:
        workbench.steps.wait_after(after)
        with workbench.changing(step=step, is_long=is_long):
            said = change() or said
            shown = screen(workbench, wording.notice(kind(), said, notes()), **scene_options)
    except OperationCancelledError:
        return screen(workbench, wording.notice("info", wording.STOPPED))
    except MedsamPlannerError as error:
        return screen(workbench, wording.notice("error", str(error)))
    return shown


def open_study(
    workbench: Workbench,
    path_text: str,
    *,
    series: str | None = None,
    resample_tilt: bool = False,
    progress: Progress | None = None,
) -> Screen:
    """Open a study by path; where it holds several series, list them and open none."""

    def change() -> tuple[str, list[str]]:
        is_file = series is not None and not series.isdecimal()  # one of several NIfTI files, not a series number
        path = workbench.place_of(f"{path_text.strip()}/{series}" if is_file else path_text)
        waiting = workbench.key if workbench.waiting is not None else None
        lost = workbench.open(path, series=None if is_file else series, resample_tilt=resample_tilt, progress=progress)
        if workbench.key == waiting:
            return wording.HERE_AGAIN, lost
        return f"Opened {path.name}. {wording.OPENED}", lost

    try:
        with workbench.changing(is_long=True):
            said, lost = change()
    except AmbiguousSeriesError as error:
        return _ask_which(workbench, path_text, error, progress)
    except GantryTiltError as error:
        return replace(
            screen(workbench, wording.notice("error", f"{error} {wording.TILTED}")), offers_straightening=True
        )
    except OperationCancelledError:
        return screen(workbench, wording.notice("info", wording.STOPPED))
    except MedsamPlannerError as error:
        return screen(workbench, wording.notice("error", str(error)))
    return screen(workbench, wording.notice("done", said, (*lost, *study_notes(workbench))), tab="segment")


def _ask_which(workbench: Workbench, path_text: str, error: AmbiguousSeriesError, progress: Progress | None) -> Screen:
    try:
        path = workbench.place_of(path_text)
        found = inspect_study(path, progress=progress)
    except MedsamPlannerError as other:
        return screen(workbench, wording.notice("error", str(other)))
    choices = []
    for one in found.readable:
        is_file = one.encoding == "NIfTI"
        if is_file and not path.is_dir():  # a file in a zip has no place of its own
            continue
        size = " × ".join(str(count) for count in one.shape)
        value = one.description if is_file else str(one.number)
        choices.append((f"{one.number}: {one.modality}, {size}, {one.description}", value))
    if not choices:
        return screen(workbench, wording.notice("error", str(error)))
    unreadable = len(found.series) - len(found.readable)
    rest = f" ({unreadable} more cannot be read as a volume.)" if unreadable else ""
    said = f"This study holds {len(choices)} series. Choose one below.{rest}"
    return replace(screen(workbench, wording.notice("info", said)), series=tuple(choices))


@dataclass(frozen=True, slots=True)
class ViewerAction:
    """What the person did on the canvas; positions are (column, row) of the slice."""

    kind: str
    plane: Plane
    slice_index: int
    first: tuple[float, float] = (0.0, 0.0)
    last: tuple[float, float] = (0.0, 0.0)
    step: int | None = None
    """Number of the action among the steps of the page."""

    @classmethod
    def from_browser(cls, payload: Mapping[str, Any]) -> ViewerAction:
        """Read the event's payload, which comes from outside and is checked.

        Raises
        ------
        PromptError
            If it is not one of ours.
        """
        try:
            return cls(
                kind=str(payload["kind"]),
                plane=Plane(payload["plane"]),
                slice_index=int(payload["index"]),
                first=_pair(payload.get("first", (0.0, 0.0))),
                last=_pair(payload.get("last", (0.0, 0.0))),
                step=step_number(payload.get("step")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PromptError(f"The page sent an action that is not understood: {error}. Reload the page.") from error


def step_number(value: Any) -> int | None:
    """The number the page gave a step; None for none."""
    return None if value is None else int(value)


def _pair(value: Any) -> tuple[float, float]:
    column, row = value
    return float(column), float(row)


def on_viewer(workbench: Workbench, payload: Mapping[str, Any]) -> Screen:
    """Carry out what was done on the canvas."""
    try:
        action = ViewerAction.from_browser(payload)
    except PromptError as error:
        return screen(workbench, wording.notice("error", str(error)))

    def change() -> str:
        where = (action.plane, action.slice_index)
        if action.kind == "box":
            workbench.draw_box(*where, action.first, action.last)
        elif action.kind in ("positive", "negative"):
            workbench.click(*where, *action.first, positive=action.kind == "positive")
        elif action.kind == "undo":
            workbench.undo()
        elif action.kind == "redo":
            workbench.redo()
        elif action.kind == "target":
            workbench.set_end(target=workbench.position(*where, *action.first))
            return wording.TARGET_SET
        elif action.kind == "entry":
            workbench.set_end(entry=workbench.position(*where, *action.first))
            return wording.ENTRY_SET
        else:
            raise PromptError(f"The page sent an unknown action {action.kind!r}. Reload the page.")
        return wording.after_prompt(workbench.structure, workbench.log)

    needs_entry = action.kind == "target" and workbench.draft.entry_lps_mm is None
    return attempt(workbench, change, step=action.step, tool="entry" if needs_entry else None)


def step_back(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Undo."""
    return attempt(workbench, workbench.undo, step=step)


def step_forward(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Redo."""
    return attempt(workbench, workbench.redo, step=step)


def clear(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Take all prompts of the active structure off."""
    return attempt(workbench, workbench.clear, step=step, said="All prompts taken off. Undo brings them back.")


def begin_structure(workbench: Workbench, name: str, *, step: int | None = None) -> Screen:
    """Begin a structure and work on it."""
    return attempt(workbench, partial(workbench.begin, name), step=step, said=f"Now prompting ‘{name.strip()}’.")


def choose_structure(workbench: Workbench, name: str, *, step: int | None = None) -> Screen:
    """Work on another structure."""
    return attempt(workbench, partial(workbench.choose, name), step=step)


def choose_role(workbench: Workbench, role: str, *, step: int | None = None) -> Screen:
    """Say what the plan does with the active structure."""
    return attempt(workbench, partial(workbench.set_role, role), step=step)


def stop(workbench: Workbench) -> str:
    """Ask a running computation to end; gives the notice."""
    if not workbench.is_computing:
        return wording.notice("info", wording.NOTHING_RUNS)
    workbench.is_cancelled = True
    return wording.notice("info", wording.STOPPING)


def run_to_3d(
    workbench: Workbench,
    samples: int,
    sources: Sequence[str] = ("dropout",),
    *,
    saliency: bool,
    triplanar: bool,
    after: int = 0,
    progress: Progress | None = None,
) -> Screen:
    """Segment the active structure in 3D; the order in which sources of uncertainty were ticked does not count."""

    def change() -> str:
        uncertainty = "+".join(name for name in wording.SOURCE_LABELS if name in sources)
        if samples and not uncertainty:
            raise PromptError(wording.NO_SOURCE)
        workbench.segment(
            samples=samples,
            uncertainty=uncertainty or "dropout",
            saliency=saliency,
            triplanar=triplanar,
            progress=progress,
        )
        structure = workbench.structure
        return f"‘{structure.name}’ has {structure.volume_ml:.2f} ml. Scroll through it, and look at its uncertainty."

    return attempt(workbench, change, after=after, is_long=True, shows_structure=True)


def resume(workbench: Workbench, path: Path) -> Screen:
    """Take over the prompts of a saved file."""

    def change() -> str:
        workbench.resume(path)
        return f"Took over the prompts of {len(workbench.structures)} structure(s) from {path.name}."

    return attempt(workbench, change)


def resume_uploaded(workbench: Workbench) -> Screen:
    """Take over the prompts of the file that was uploaded."""
    path = workbench.uploads.find(UploadKind.PROMPTS)
    if path is None:
        return screen(workbench, wording.notice("error", "No prompts were uploaded. Choose the file again."))
    return resume(workbench, path)
