"""Slices of a study and predictions on them as 8-bit grey PNG, seen as a radiologist sees them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import NotThereError
from medsam_planner.io.intensity import Window
from medsam_planner.service.display import Plane, SliceDisplay, display_for
from medsam_planner.service.slice_view import grey_png
from medsam_planner.volumes import StudyVolume

__all__ = ["preview_picture", "slice_picture"]


def slice_picture(volume: StudyVolume, plane: Plane, index: int, window: Window) -> bytes:
    """One slice of a study through a display window.

    Raises
    ------
    NotThereError
        If there is no such slice.
    """
    return grey_png(_display(volume, plane, index).picture(volume.array, index), window.low, window.high)


def preview_picture(
    volume: StudyVolume, plane: Plane, index: int, by_axis: Mapping[int, Mapping[int, NDArray[np.float32]]]
) -> bytes:
    """The prediction on one prompted slice: probability × 255.

    Parameters
    ----------
    volume : StudyVolume
    plane : Plane
    index : int
        From 0.
    by_axis : mapping
        (H, W) probability by array axis and slice index.

    Raises
    ------
    NotThereError
        If there is no such slice, or no prediction on it.
    """
    display = _display(volume, plane, index)
    predicted = by_axis.get(display.axis, {})
    if index not in predicted:
        there = f"Predicted are {', '.join(map(str, sorted(predicted)))}." if predicted else "None is predicted."
        raise NotThereError(
            f"No prompt of the structure is on {plane.value} slice {index}, so there is no prediction. {there} Prompt "
            "this slice, or segment in 3D."
        )
    return grey_png(display.upright(predicted[index]), 0.0, 1.0)


def _display(volume: StudyVolume, plane: Plane, index: int) -> SliceDisplay:
    display = display_for(volume, plane)
    if not 0 <= index < display.slice_count:
        raise NotThereError(f"Expected a {plane.value} slice from 0 to {display.slice_count - 1}, got {index}.")
    return display
