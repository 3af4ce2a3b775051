"""The model's other answers to the last prompt of a workbench, as they are drawn; and the choice of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from medsam_planner.errors import PromptError
from medsam_planner.service.display import SliceDisplay
from medsam_planner.service.slice_view import outlines
from medsam_planner.service.workbench import Workbench

__all__ = ["answers", "choose_answer"]

_BORDER = 0.25
"""Around the answers on their thumbnails, as a share of their size."""


def answers(workbench: Workbench) -> dict[str, Any]:
    """The answers to the last prompt of the active structure as plain JSON values.

    Parameters
    ----------
    workbench : Workbench

    Returns
    -------
    dict
        ``plane``, ``index`` of the slice, ``frame`` as (column, row, columns, rows), ``chosen`` candidate, and
        ``answers``, best first, each with ``candidate``, ``quality`` and ``lines``; none where the model has no other
        one. ``is_pending`` while the worker is busy with this session: ask again when it is not.

    Raises
    ------
    StudyError
        If no study is open.
    """
    work, name = workbench.require_work(), workbench.structure.name
    nothing: dict[str, Any] = {"is_pending": False, "structure": name, "answers": []}
    if name not in work.state.steps:
        return nothing
    if any(not job.state.is_final for job in workbench.service.jobs.of_session(work.identifier)):
        return nothing | {"is_pending": True}
    found = workbench.service.alternatives(work, name)
    if found is None or len(found.answers) < 2:
        return nothing
    display = next(one for one in workbench.snapshot.displays.values() if one.axis == found.axis)
    pictures = [display.upright(one.mask) for one in found.answers]
    return nothing | {
        "plane": display.plane.value,
        "index": found.slice_index,
        "frame": _frame(np.any(pictures, axis=0), display),
        "chosen": found.chosen,
        "answers": [
            {"candidate": one.candidate, "quality": one.quality, "lines": outlines(picture)}
            for one, picture in zip(found.answers, pictures, strict=True)
        ],
    }


def choose_answer(workbench: Workbench, candidate: int) -> None:
    """Choose one of the model's answers to the last prompt of the active structure; a step that can be undone.

    Parameters
    ----------
    workbench : Workbench
    candidate : int
        Counted from the best as 0.

    Raises
    ------
    PromptError
        If the model has no such answer to the last prompt.
    """
    found = workbench.service.alternatives(workbench.require_work(), workbench.structure.name)
    known = [] if found is None else [one.candidate for one in found.answers]
    if candidate not in known or found is None:
        listed = ", ".join(str(one + 1) for one in known) or "none"
        raise PromptError(f"The model has no answer {candidate + 1} to the last prompt; it has {listed}.")
    if candidate != found.chosen:
        workbench.change_steps("prompt", {"kind": "choice", "answer": candidate})


def _frame(inside: np.ndarray, display: SliceDisplay) -> list[float]:
    """What the thumbnails show: the answers with a border, as square in mm as the slice allows."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    across_mm, down_mm = display.pixel_mm
    middle = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 2
    side_mm = max((columns[-1] - columns[0] + 1) * across_mm, (rows[-1] - rows[0] + 1) * down_mm) * (1 + 2 * _BORDER)
    size = np.array([side_mm / across_mm, side_mm / down_mm])
    return [round(float(value), 2) for value in (*(middle - size / 2), *size)]
