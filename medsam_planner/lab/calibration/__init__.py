"""Make a calibration from patients with reference masks."""

from __future__ import annotations

from medsam_planner.lab.calibration.calibration_run import calibrate

__all__ = ["calibrate"]
