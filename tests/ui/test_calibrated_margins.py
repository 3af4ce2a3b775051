"""Calibrated margins asked for on the page: what is promised, where it does not hold, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest

from medsam_planner.calibration import Calibration, write_calibration
from medsam_planner.calibration.policy import POLICY
from medsam_planner.calibration.record import CalibrationPatient, CalibrationStructure, ScaleEntry
from medsam_planner.service.workbench import Workbench
from tests.ui.test_planning import NUMBERS, aimed, inputs_of, with_vessel
from ui import html_parts, plan_handlers

Make = Callable[[], Workbench]


def calibration_file(
    folder: Path, *, weights_sha256: str = "cd" * 32, settings: dict[str, object] | None = None
) -> Path:
    """Ten patients with scores of 1 to 10 mm and u = 1: at alpha = 0.2 the margin is the 9th, 9 mm."""
    patients = [
        CalibrationPatient(
            subject=str(score),
            modalities=["MR"],
            scanners=[],
            structures=[
                CalibrationStructure(
                    name="vessel", case=str(score), outer_score=score, inner_score=0.0, dice=0.8, missed=False
                )
            ],
        )
        for score in range(1, 11)
    ]
    path = folder / "calibration.json"
    write_calibration(
        path,
        Calibration(
            model="compact",
            weights_sha256=weights_sha256,
            policy=POLICY,
            segmentation=settings or {},
            scale=ScaleEntry(name="uniform", floor=1.0, per_spread_mm=0.0, per_entropy_bit=0.0),
            patients=patients,
            training_is_known=True,
        ),
    )
    return path


def test_the_margin_is_the_calibrated_one_and_its_reasons_are_told(make_workbench: Make, tmp_path: Path) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    workbench.set_draft(replace(workbench.draft, calibration=calibration_file(tmp_path), alpha=0.2))
    inputs = inputs_of(workbench, mask_sha256="of another mask")
    margin = inputs.problem.structures[0].margin_mm
    assert isinstance(margin, highdicom.Volume)
    assert np.unique(margin.array) == pytest.approx([9.0])
    told = html_parts.margins_html(inputs.margin_statements)
    assert "10 patients" in told and "80 % confidence" in told
    assert "does NOT apply here" in told and "the mask was changed after it was segmented" in told
    assert inputs.request.as_entry()["structures"][0]["margin"]["calibration"] == "calibration.json"


def test_without_a_calibration_no_confidence_is_stated(make_workbench: Make) -> None:
    told = html_parts.margins_html(inputs_of(aimed(with_vessel(make_workbench()))).margin_statements)
    assert "rule of thumb, with no stated confidence" in told
    assert html_parts.margins_html(()) == ""


def test_what_the_calibration_cannot_speak_of_is_refused_in_words(make_workbench: Make, tmp_path: Path) -> None:
    workbench = aimed(with_vessel(make_workbench()))

    def notice(path: Path, alpha: float = 0.2) -> str:
        return plan_handlers.find_paths(workbench, {**NUMBERS, "alpha": alpha}, calibration=path).notice

    assert "the weights the calibration was made with" in notice(calibration_file(tmp_path, weights_sha256="abc"))
    assert "samples: calibrated 8" in notice(calibration_file(tmp_path, settings={"samples": 8}))
    few = notice(calibration_file(tmp_path), alpha=0.01)
    assert "mv-error" in few and "patients" in few
    assert "mv-error" in notice(calibration_file(tmp_path), alpha=0.0)
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert "written by `medsam-planner calibrate`" in notice(other)
    assert workbench.snapshot.plan is None
