"""Calibration on patients with reference masks: which margins hold, for whom, and how right the probabilities are."""

from __future__ import annotations

from medsam_planner.calibration.calibrate import calibrate
from medsam_planner.calibration.margin import CalibratedMargin, calibrated_margin
from medsam_planner.calibration.record import Calibration, read_calibration, write_calibration

__all__ = [
    "CalibratedMargin",
    "Calibration",
    "calibrate",
    "calibrated_margin",
    "read_calibration",
    "write_calibration",
]
