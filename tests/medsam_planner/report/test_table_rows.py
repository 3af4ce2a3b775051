"""Rows of the tables: prompts on their slices, figures beside their chance level, stops with their reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import flat_rows
from medsam_planner.geometry import lps_from_index
from medsam_planner.provenance import PropagationTrace, StopReason
from medsam_planner.report import PlanReport
from medsam_planner.report.plan_scene import build_scene
from medsam_planner.report.table_rows import prompt_rows, stop_rows, structure_rows, trace_rows
from prompts import Box, Click, PromptLog, Scribble

SHAPE = (20, 40, 50)


def test_prompts_name_their_slice_on_an_oblique_grid(oblique_affine: NDArray[np.float64]) -> None:
    log = PromptLog("vessel")
    log.add(Box(*lps_from_index(oblique_affine, [[7, 10, 10], [7, 20, 25]])))
    log.add(Box(*lps_from_index(oblique_affine, [[3, 10, 10], [9, 20, 25]])))
    log.add(Click(lps_from_index(oblique_affine, (11, 5, 5)), positive=False))
    log.add(Scribble(lps_from_index(oblique_affine, [[4, 5, 5], [6, 9, 9]])))
    log.add(Click(lps_from_index(oblique_affine, (1, 1, 1))))
    log.undo()
    rows = prompt_rows(log, oblique_affine, SHAPE)
    assert [(row.kind, row.sign) for row in rows] == [
        ("2D box", "structure"),
        ("3D box", "structure"),
        ("click", "background"),
        ("scribble", "structure"),
    ]
    assert [row.slice.split("slice ")[1] for row in rows] == ["8", "4 to 10", "12", "5 to 7"]
    assert rows[3].coordinates.startswith("2 points")


def test_nested_provenance_is_flattened_in_order() -> None:
    assert flat_rows({"a": {"b": 1, "c": {"d": "x"}}, "e": None, "f": [{"name": "vessel", "mm": 2.0}, {"mm": 1}]}) == [
        ("a › b", "1"),
        ("a › c › d", "x"),
        ("f › vessel › mm", "2"),
        ("f › 2 › mm", "1"),
    ]


def test_stops_and_visits_are_told_in_slice_order(make_report: Callable[..., PlanReport]) -> None:
    trace = make_report().segmentations["lesion"].trace
    reason = "too little overlap with the slice before"
    assert stop_rows(trace) == [f"Stopped at slice 15: {reason}; slice 34: {reason}."]
    met = tuple(
        replace(record, stop=StopReason.MET) if record.index in (18, 19) else record for record in trace.records
    )
    told = stop_rows(PropagationTrace(trace.axis, met))
    assert told == [*stop_rows(trace), "The propagations from two prompted slices met at 2 slices."]
    said = tuple(
        replace(record, stop=StopReason.NOT_HERE) if record.index in (18, 19) else record for record in trace.records
    )
    told = stop_rows(PropagationTrace(trace.axis, said))
    assert told[-1] == "2 slices were left empty next to slices that a prompt marks as empty."
    rows = trace_rows(trace)
    assert len(rows) == 20
    assert rows[10][:4] == ("25", "anchor", "–", "–")


def test_a_structure_is_listed_with_volume_margin_and_both_clearances(make_report: Callable[..., PlanReport]) -> None:
    report = make_report(true_clearance_mm={"iliac vessel": 6.5})
    lesion, vessel = structure_rows(report, build_scene(report))
    # A ball of radius 8 mm: 4/3 π 8³ = 2145 mm³.
    assert abs(float(lesion.volume_ml) - 2.1) < 0.11
    assert (lesion.role, lesion.margin_mm, lesion.clearance_mm, lesion.true_mm) == ("target", "–", "–", "–")
    assert vessel.true_mm == "6.5"
    low, high = (float(bound) for bound in vessel.margin_mm.split(" to "))
    assert 0 <= low < high
    assert (vessel.clearance_mm, vessel.hit) == ("3.3", "1.3 %")
