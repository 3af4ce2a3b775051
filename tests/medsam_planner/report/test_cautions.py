"""Cautions appear when, and only when, the plan gives cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medsam_planner.geometry import lps_from_index
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.provenance import PropagationTrace, StopReason
from medsam_planner.report import PlanReport
from medsam_planner.report.cautions import find_cautions


def cautions(report: PlanReport) -> list[str]:
    return [caution.text for caution in find_cautions(report)]


def with_stops(report: PlanReport, reason: StopReason) -> dict[str, Any]:
    changed = {}
    for name, result in report.segmentations.items():
        records = tuple(replace(record, stop=record.stop and reason) for record in result.trace.records)
        changed[name] = replace(result, trace=PropagationTrace(result.trace.axis, records))
    return changed


@pytest.fixture(scope="module")
def quiet(make_report: Callable[..., PlanReport]) -> Callable[..., PlanReport]:
    """The example, with every front ended where its structure ended."""
    segmentations = with_stops(make_report(), StopReason.EMPTY)
    return lambda **changes: make_report(**{"segmentations": segmentations, **changes})


def test_a_plan_without_cause_gives_no_caution(quiet: Callable[..., PlanReport]) -> None:
    assert cautions(quiet(true_clearance_mm={"iliac vessel": 6.0})) == []


def test_what_is_not_known_of_a_mask_from_a_file_is_said_and_was_not_checked(quiet: Callable[..., PlanReport]) -> None:
    report = quiet()
    mask = report.mask("iliac vessel")
    assert mask is not None
    known = StructureEvidence(mask, file_notes=("It has no contour on slice 6.",))
    (caution,) = find_cautions(replace(report, evidence={"iliac vessel": known}))
    assert caution.text == "The mask of iliac vessel came from a file. It has no contour on slice 6."
    assert caution.is_unchecked


def test_a_front_that_gave_up_is_named_with_slice_and_reason(make_report: Callable[..., PlanReport]) -> None:
    report = make_report()
    told = cautions(make_report(segmentations=with_stops(report, StopReason.AREA_JUMP)))
    assert len(told) == 2
    assert "ended the propagation of iliac vessel" in told[1]
    assert "slice 15: the area changed too abruptly" in told[1]


def test_a_tool_at_the_border_of_the_images_is_told_by_how_much(quiet: Callable[..., PlanReport]) -> None:
    report = quiet()
    # Along the first slice: half a voxel of 2.5 mm is left to the face, and the tool takes 1 mm and up to 1.5 mm more.
    ends = lps_from_index(report.study.affine, np.array([[0.0, 20.0, 20.0], [0.0, 100.0, 90.0]]))
    line = replace(
        report.plan.alternatives[0], entry_lps_mm=tuple(ends[0].tolist()), target_lps_mm=tuple(ends[1].tolist())
    )
    (told,) = cautions(quiet(plan=PlanResult(True, (line,), (), 1, 1)))
    assert "reaches 1.2 mm beyond the images" in told


def test_margins_that_failed_against_the_truth_are_the_first_thing_said(quiet: Callable[..., PlanReport]) -> None:
    (told,) = cautions(quiet(true_clearance_mm={"iliac vessel": 2.0, "nerve": 9.0}))
    assert told.startswith("The true clearance, 2.0 mm, is less than the certified 3.3 mm")
