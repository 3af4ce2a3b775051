"""Using a calibration: a margin with a stated confidence, for whom it holds, and why it is as wide as it is.

Making one from patients is :mod:`medsam_planner.lab.calibration`.
"""

from __future__ import annotations

from medsam_planner.calibration.margin import CalibratedMargin, calibrated_margin
from medsam_planner.calibration.record import Calibration, read_calibration, write_calibration

__all__ = ["CalibratedMargin", "Calibration", "calibrated_margin", "read_calibration", "write_calibration"]
