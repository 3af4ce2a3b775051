"""Charts: what they draw can be read off their pixels, and the same input gives the same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medsam_planner.report import PlanReport
from medsam_planner.report.profile_charts import ClearanceCurve, clearance_chart, trace_chart

CURVE = ClearanceCurve("vessel", "#ff0000", np.linspace(0, 50, 26), np.linspace(8, 3, 26))
RED = (184, 0, 0)
"""The curve's colour, darkened to 72 % for a white page."""


def pixels(uri: str) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert not image.info.get("Software")
    return np.asarray(image.convert("RGB"))


def test_a_falling_clearance_is_drawn_falling_from_left_to_right() -> None:
    picture = pixels(clearance_chart([CURVE], certified_mm=2.5, limiting_depth_mm=50.0, limiting="vessel"))
    rows, columns = np.nonzero((picture == RED).all(axis=-1))
    in_plot = columns < 0.75 * picture.shape[1]  # the legend is to the right
    rows, columns = rows[in_plot], columns[in_plot]
    assert len(rows) > 100
    left, right = rows[columns < np.quantile(columns, 0.1)].mean(), rows[columns > np.quantile(columns, 0.9)].mean()
    assert right > left + 50


def test_charts_have_the_same_bytes_every_time(make_report: Callable[..., PlanReport]) -> None:
    trace = make_report().segmentations["lesion"].trace
    first = trace_chart(trace, ("I", "S"))
    assert trace_chart(trace, ("I", "S")) == first
    assert trace_chart(trace, ("S", "I")) != first


def test_a_clearance_below_zero_stays_in_the_picture() -> None:
    below = ClearanceCurve("vessel", "#ff0000", CURVE.depth_mm, CURVE.clearance_mm - 12.0)
    picture = pixels(clearance_chart([below], certified_mm=-9.5, limiting_depth_mm=None, limiting=""))
    columns = np.nonzero((picture == RED).all(axis=-1))[1]
    assert (columns < 0.75 * picture.shape[1]).sum() > 100


def test_a_free_entry_is_a_gap_and_not_a_spike() -> None:
    room = CURVE.clearance_mm.copy()
    room[:10] = np.inf
    picture = pixels(
        clearance_chart(
            [ClearanceCurve("bone", "#ff0000", CURVE.depth_mm, room)],
            certified_mm=2.5,
            limiting_depth_mm=50.0,
            limiting="bone",
        )
    )
    columns = np.nonzero((picture == RED).all(axis=-1))[1]
    plotted = columns[columns < 0.75 * picture.shape[1]]
    assert plotted.min() > 0.3 * picture.shape[1]
