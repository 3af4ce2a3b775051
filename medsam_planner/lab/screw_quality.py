"""Bone quality of the screws of a plan, as a table and a figure."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import PlanningError
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.planning.bone_quality import SCHNEIDER_2000, BoneQuality, DensityCalibration, Thread, bone_quality
from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["BONE_QUALITY", "write_bone_quality"]

BONE_QUALITY = ("bone_quality.json", "bone_quality.svg")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Okabe and Ito: told apart by colour-blind readers."""
_CAUTION = (
    "A proxy that compares screws of one scan. It is no force that this bone is known to bear: CT numbers depend on "
    "the scanner, and the strength was measured on specimens and foam."
)


def write_bone_quality(
    out: Path,
    study: highdicom.Volume,
    written: WrittenPlan,
    thread: Thread,
    *,
    calibration: DensityCalibration = SCHNEIDER_2000,
) -> list[BoneQuality]:
    """Write ``bone_quality.json`` and ``bone_quality.svg`` of all alternatives of a plan with one screw.

    Parameters
    ----------
    out : Path
        Folder of the plan.
    study : highdicom.Volume
        CT, HU.
    written : WrittenPlan
    thread : Thread
    calibration : DensityCalibration

    Returns
    -------
    list of BoneQuality
        By alternative, the best first; empty where there is no plan.

    Raises
    ------
    PlanningError
        If the plan has several tools.
    """
    problems = written.made.inputs.problems
    if len(problems) != 1:
        raise PlanningError(f"Expected a plan of one screw, got {len(problems)} tools.")
    radius_mm = written.made.inputs.problem.tool.radius_mm
    found = [
        bone_quality(study, np.array([one.entry_lps_mm, one.target_lps_mm]), radius_mm, thread, calibration=calibration)
        for one in written.plan.alternatives
    ]
    with OutputFolder(out, BONE_QUALITY, replaces_all=False) as folder:
        write_json(
            folder / BONE_QUALITY[0],
            {
                "schema_version": 1,
                "calibration": calibration.source,
                "strength": "Stone, Beaupré and Hayes 1983; Chapman et al. 1996, doi 10.1115/1.2796022",
                "thread_mm": {"pitch": thread.pitch_mm, "depth": thread.depth_mm, "crest_radius": radius_mm},
                "caution": _CAUTION,
                "screws": [
                    {
                        "alternative": number,
                        "mean_apparent_density_g_cm3": round(one.mean_density_g_cm3, 4),
                        "pullout_proxy_n": round(one.pullout_n, 1),
                        "depth_mm": one.depth_mm.round(3).tolist(),
                        "hu": one.hu.round(1).tolist(),
                        "apparent_density_g_cm3": one.apparent_density_g_cm3.round(4).tolist(),
                    }
                    for number, one in enumerate(found, start=1)
                ],
            },
        )
        write_whole(folder / BONE_QUALITY[1], _figure(found, calibration))
    return found


def _figure(found: list[BoneQuality], calibration: DensityCalibration) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for number, (one, colour) in enumerate(zip(found, _COLOURS, strict=False), start=1):
        label = f"path {number}: mean {one.mean_density_g_cm3:.2f} g/cm³, pull-out proxy {one.pullout_n:.0f} N"
        axes.plot(one.depth_mm, one.apparent_density_g_cm3, color=colour, label=label, linewidth=1.4)
    axes.set_xlabel("depth from the entry (mm)")
    axes.set_ylabel("apparent density (g/cm³)")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Bone on the thread; density after {calibration.source.split(',')[0]}. Research use only.", size=8)
    if found:
        axes.legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "bone quality", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
