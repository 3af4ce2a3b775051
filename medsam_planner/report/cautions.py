"""What a reader must know before trusting a plan, found by looking at it rather than by asking."""

from __future__ import annotations

import numpy as np

from medsam_planner.geometry import index_from_lps, spacing_mm
from medsam_planner.propagation.trace import StopReason
from medsam_planner.report.model import PlanReport
from medsam_planner.report.scene import Path
from medsam_planner.report.wording import number, slice_number

__all__ = ["find_cautions"]

_NATURAL_STOPS = (StopReason.EMPTY, StopReason.RANGE_END, StopReason.VOLUME_END, StopReason.MET, StopReason.NOT_HERE)
"""Fronts end so where the structure ends, or where they were told to."""

_STEP_MM = 0.5


def find_cautions(report: PlanReport, path: Path | None) -> list[str]:
    """Sentences, the gravest first; empty when nothing speaks against the figures."""
    found = []
    if report.truth and report.plan.alternatives:
        true_mm, certified_mm = min(report.truth.values()), report.plan.alternatives[0].certified_clearance_mm
        if true_mm < certified_mm:
            found.append(
                f"The true clearance, {number(true_mm)} mm, is less than the certified {number(certified_mm)} mm: "
                "the margins did not hold the error of the segmentation."
            )
    if path is not None:
        reach_mm, depth_mm = _beyond_images(report, path)
        if reach_mm > 0:
            found.append(
                f"With its placement error the tool reaches {number(reach_mm)} mm beyond the images, "
                f"{number(depth_mm, 0)} mm along the path; what lies there is not known."
            )
    for statement in report.margin_statements:
        if statement.voids:
            found.append(
                f"The confidence of the margin of {statement.structure} does not apply here: "
                f"{'; '.join(statement.voids)}."
            )
    for name, result in report.segmentations.items():
        early = [record for record in result.trace.records if record.stop not in (None, *_NATURAL_STOPS)]
        if early and name in report.roles:
            told = "; ".join(
                f"slice {slice_number(record.index)}: {record.stop.value}" for record in early if record.stop
            )
            found.append(f"The segmentation of {name} stopped before the structure was seen to end ({told}).")
    return found


def _beyond_images(report: PlanReport, path: Path) -> tuple[float, float]:
    """How far the tool, thickened by its error, leaves the volume at most, and at which depth, mm."""
    depth_mm = np.linspace(0.0, path.length_mm, max(int(path.length_mm / _STEP_MM), 1) + 1)
    index = index_from_lps(report.study.affine, np.stack([path.at(float(depth)) for depth in depth_mm]))
    step = spacing_mm(report.study.affine)
    faces = np.stack([index + 0.5, np.array(report.study.spatial_shape) - 0.5 - index])
    room_mm = (faces * step).min(axis=(0, 2)) - path.tool.allowance_mm(depth_mm / path.length_mm)
    worst = int(np.argmin(room_mm))
    return max(-float(room_mm[worst]), 0.0), float(depth_mm[worst])
