"""Making a calibration from patients whose true outlines are known."""

from __future__ import annotations

from medsam_planner.lab.calibration.calibrate import calibrate

__all__ = ["calibrate"]
