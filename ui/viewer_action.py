"""What a person did on the canvas, read from the event that the browser sends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from medsam_planner.errors import PromptError
from medsam_planner.segmentation.brush import Brush
from medsam_planner.service.display import Plane

__all__ = ["ActionKind", "ViewerAction", "event_payload"]


class ActionKind(Enum):
    """Kinds of action on the canvas."""

    BOX = "box"
    BOX_3D = "box3d"
    LASSO = "lasso"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    SCRIBBLE = "scribble"
    SCRIBBLE_OUT = "scribble_out"
    UNDO = "undo"
    REDO = "redo"
    TARGET = "target"
    ENTRY = "entry"
    BRUSH = "brush"
    ERASE = "erase"
    ISLAND = "island"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class ViewerAction:
    """One action on the canvas; positions are (column, row) of the slice."""

    kind: ActionKind
    plane: Plane
    slice_index: int
    first: tuple[float, float] = (0.0, 0.0)
    last: tuple[float, float] = (0.0, 0.0)
    points: tuple[tuple[float, float], ...] = ()
    """Of a scribble, of a lasso, or of a stroke with the brush."""
    low: tuple[int, int, int] = (0, 0, 0)
    high: tuple[int, int, int] = (0, 0, 0)
    """First and last voxel of a 3D box along each array axis."""
    brush: Brush | None = None
    """Of a stroke."""
    is_last_word: bool = True
    """Whether a stroke changes only what it paints."""
    candidate: int = 0
    """Of a choice: which of the model's answers to the last prompt."""
    step: int | None = None
    """Number of the action among the steps of the page."""

    @classmethod
    def from_browser(cls, payload: Mapping[str, Any]) -> ViewerAction:
        """Read the payload of the event, which is untrusted.

        Parameters
        ----------
        payload : mapping
            As ``viewer/main.js`` sends it.

        Raises
        ------
        PromptError
            If it is malformed.
        """
        try:
            step, kind = payload.get("step"), ActionKind(payload["kind"])
            brush = dict(payload["brush"]) if kind in (ActionKind.BRUSH, ActionKind.ERASE) else {}
            return cls(
                kind=kind,
                plane=Plane(payload["plane"]),
                slice_index=int(payload["index"]),
                first=_pair(payload.get("first", (0.0, 0.0))),
                last=_pair(payload.get("last", (0.0, 0.0))),
                points=tuple(_pair(one) for one in payload.get("points", ())),
                low=_voxel(payload.get("low", (0, 0, 0))),
                high=_voxel(payload.get("high", (0, 0, 0))),
                brush=_brush(brush) if brush else None,
                is_last_word=bool(brush.get("is_last_word", True)),
                candidate=int(payload["candidate"]) if kind is ActionKind.CHOICE else 0,
                step=None if step is None else int(step),
            )
        except PromptError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PromptError(f"The page sent an action that is not understood: {error}. Reload the page.") from error


def _pair(value: Any) -> tuple[float, float]:
    column, row = value
    return float(column), float(row)


def _brush(values: Mapping[str, Any]) -> Brush:
    low, high = values.get("low"), values.get("high")
    return Brush(
        float(values["radius_mm"]),
        bool(values.get("is_ball", False)),
        -math.inf if low is None else float(low),
        math.inf if high is None else float(high),
    )


def _voxel(value: Any) -> tuple[int, int, int]:
    k, j, i = value
    return int(k), int(j), int(i)


def event_payload(event: Any, *names: str) -> dict[str, Any]:
    """Values that the browser sent with an event, by name; those it did not send are left out.

    Parameters
    ----------
    event : gradio.EventData
    *names : str

    Returns
    -------
    dict
    """
    try:
        return {name: getattr(event, name) for name in names if hasattr(event, name)}
    except TypeError:  # the browser sent something that has no names
        return {}
