"""Use of a calibration: margins with a stated confidence, their guarantee, and the reasons for their width.

Calibrations are made by :mod:`medsam_planner.lab.calibration`.
"""

from __future__ import annotations

from medsam_planner.calibration.margin import CalibratedMargin, calibrated_margin
from medsam_planner.calibration.record import Calibration, read_calibration, write_calibration

__all__ = ["CalibratedMargin", "Calibration", "calibrated_margin", "read_calibration", "write_calibration"]
