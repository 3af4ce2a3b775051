"""Slices of a structure with the outlines of reference and prediction, for the page and for the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import number, slice_number
from medsam_planner.drawing.outlines import outline_path, scale_bar
from medsam_planner.drawing.panel import Panel, Stroke
from medsam_planner.drawing.pictures import grey_uri
from medsam_planner.drawing.reformat import STANDARD_PLANES, Plane, sample_plane
from medsam_planner.engine.protocol import box_around
from medsam_planner.geometry import index_from_lps, lps_from_index, slice_across, spacing_mm
from medsam_planner.lab.evaluation.finished import FinishedStructures
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.volumes import volume_like
from prompts import Click

__all__ = ["PREDICTION_COLOUR", "REFERENCE_COLOUR", "ShownSlice", "panels_of", "shown_slices", "slice_plane"]

REFERENCE_COLOUR = "#35d0ff"
PREDICTION_COLOUR = "#ffa028"
_PROMPT_COLOUR = "#ffffff"
_COLUMNS = 360
_SHOWN_WIDTH = 560
"""On the page, in CSS pixels, with two pictures side by side."""
_AROUND = 0.45
"""Width of the surroundings shown on each side, as a share of the outlined extent."""
_LEAST_WIDTH_MM = 30.0


def slice_plane(affine: NDArray[np.float64], axis: int, index: int, low: Any, high: Any) -> Plane:
    """A slice of the grid in radiological display: rotated and flipped towards the nearest standard plane.

    Parameters
    ----------
    affine : (4, 4)
        Index → LPS mm.
    axis, index : int
        The slice.
    low, high : (3,) int
        First and last voxel of the extent to be shown; the entry along `axis` is ignored.
    """
    steps = spacing_mm(affine)
    directions = np.asarray(affine, dtype=np.float64)[:3, :3] / steps
    normal = directions[:, axis]
    right, down = max(
        (np.asarray(pair) for pair in STANDARD_PLANES.values()), key=lambda pair: abs(np.cross(*pair) @ normal)
    )
    first, second = (other for other in range(3) if other != axis)
    across = first if abs(directions[:, first] @ right) > abs(directions[:, second] @ right) else second
    along = second if across == first else first
    towards_right = directions[:, across] * np.sign(directions[:, across] @ right)
    towards_down = directions[:, along] * np.sign(directions[:, along] @ down)
    extent = (np.asarray(high) - np.asarray(low) + 1) * steps * (1 + 2 * _AROUND)
    side_mm = max(float(extent[across]), float(extent[along]), _LEAST_WIDTH_MM)
    centre = (np.asarray(low) + np.asarray(high)) / 2
    centre[axis] = index
    return Plane(
        centre_lps_mm=lps_from_index(affine, centre),
        right_lps=towards_right,
        down_lps=towards_down,
        extent_mm=(side_mm, side_mm),
        size=(_COLUMNS, _COLUMNS),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ShownSlice:
    """Image, reference and prediction of a slice, resampled to the pixels of the picture."""

    index: int
    plane: Plane
    grey: NDArray[np.float32]
    """(rows, columns), NaN outside the study."""
    window: tuple[float, float]
    reference: NDArray[np.float32]
    """(rows, columns), outlined at 0.5."""
    prediction: NDArray[np.float32]
    note: str


def shown_slices(record: StructureRecord, image: highdicom.Volume, finished: FinishedStructures) -> list[ShownSlice]:
    """The prompted slice after the first prompt, and the slice with most wrong voxels after the last correction."""
    reference, first, final = (finished.mask(record.key, name) for name in ("truth", "first", "final"))
    axis, prompted = record.axis, record.slice_index
    others = tuple(other for other in range(3) if other != axis)
    worst = int(np.argmax((reference != final).sum(axis=others)))
    slice_dice, final_dice = (number(record.metrics[name], 2) for name in ("slice_dice", "final_dice"))
    return [
        _shown(image, axis, prompted, reference, first, f"after the first prompt: Dice {slice_dice}"),
        _shown(image, axis, worst, reference, final, f"most errors after the last correction; in 3D Dice {final_dice}"),
    ]


def panels_of(record: StructureRecord, image: highdicom.Volume, finished: FinishedStructures) -> list[Panel]:
    """:func:`shown_slices` for the page."""
    return [_panel(record, image, shown) for shown in shown_slices(record, image, finished)]


def _shown(
    image: highdicom.Volume,
    axis: int,
    index: int,
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    note: str,
) -> ShownSlice:
    outlined = slice_across(reference, axis, index) | slice_across(prediction, axis, index)
    extent = box_around(outlined if outlined.any() else np.asarray(reference.any(axis=axis))).reshape(2, 2)
    low, high = np.insert(extent, axis, index, axis=1)
    plane = slice_plane(image.affine, axis, index, low, high)
    grey = sample_plane(image, plane)
    low_grey, high_grey = (float(value) for value in np.nanpercentile(grey, (1, 99)))
    return ShownSlice(
        index=index,
        plane=plane,
        grey=grey,
        window=(low_grey, max(high_grey, low_grey + 1e-6)),
        reference=sample_plane(volume_like(image, reference), plane),
        prediction=sample_plane(volume_like(image, prediction), plane),
        note=note,
    )


def _panel(record: StructureRecord, image: highdicom.Volume, shown: ShownSlice) -> Panel:
    plane = shown.plane
    strokes = []
    for name, mask, colour in (
        ("reference", shown.reference, REFERENCE_COLOUR),
        ("prediction", shown.prediction, PREDICTION_COLOUR),
    ):
        path = outline_path(mask, 0.5)
        if path:
            strokes.append(Stroke("mask", path, colour, name))
    if shown.index == record.slice_index:
        strokes += _prompt_strokes(record, image.affine, plane)
    return Panel(
        title=f"Slice {slice_number(shown.index)} of {image.spatial_shape[record.axis]}",
        note=shown.note,
        columns=plane.size[0],
        rows=plane.size[1],
        grey=grey_uri(shown.grey, shown.window),
        layers=(),
        strokes=tuple(strokes),
        markers=(),
        circles=(),
        letters=plane.letters,
        bar=scale_bar(plane),
        unit=plane.size[0] / _SHOWN_WIDTH,
    )


def _prompt_strokes(record: StructureRecord, affine: NDArray[np.float64], plane: Plane) -> list[Stroke]:
    """The first prompt on its slice: the 2D box, or a cross at the click."""
    if not record.first_prompts:
        return []
    prompt = record.first_prompts[-1]
    if isinstance(prompt, Click):
        x, y, _ = plane.pixels_from_lps(prompt.position_lps_mm)
        arm = 6 * plane.size[0] / _SHOWN_WIDTH
        path = f"M{x + 0.5 - arm:.1f} {y + 0.5:.1f}h{2 * arm:.1f}M{x + 0.5:.1f} {y + 0.5 - arm:.1f}v{2 * arm:.1f}"
        return [Stroke("mask", path, _PROMPT_COLOUR, "first click")]
    corners = index_from_lps(affine, [prompt.corner_lps_mm, prompt.opposite_lps_mm])
    # A box is stated by the centres of its outermost voxels; the picture shows their outer edges.
    outer = np.stack([corners.min(axis=0) - 0.5, corners.max(axis=0) + 0.5])
    ends = plane.pixels_from_lps(lps_from_index(affine, outer))[:, :2] + 0.5
    (left, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    return [
        Stroke("margin", f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z", _PROMPT_COLOUR, "first box")
    ]
