"""A worked case as a plan file with its masks, so that it can be planned again; a screw has its bone quality, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom

from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_whole
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.lab.screw_quality import write_bone_quality
from medsam_planner.planning.bone_quality import Thread
from medsam_planner.progress import Progress
from medsam_planner.workflow.run_folder import PLAN_NAMES
from medsam_planner.workflow.written_plan import WrittenPlan, write_plan_from_file

__all__ = ["CANCELLOUS_THREAD", "plan_case"]

CANCELLOUS_THREAD = Thread(pitch_mm=2.75, depth_mm=1.0)
"""Chosen here: of the order of cannulated cancellous screws; put in that of the screw in the room."""


def plan_case(
    out: Path,
    text: str,
    masks: Mapping[str, highdicom.Volume],
    study: highdicom.Volume,
    *,
    thread: Thread | None = None,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Write ``case/case.toml`` with its study and masks, and plan it.

    Parameters
    ----------
    out : Path
        Folder for the results.
    text : str
        The plan file; its study is ``study.nii.gz``.
    masks : mapping
        bool, by name of the file without its ending.
    study : highdicom.Volume
    thread : Thread, optional
        Of a screw: ``bone_quality.json`` and ``bone_quality.svg`` are written beside the plan.
    progress : Progress, optional
    """
    names = ["study", *masks]
    with OutputFolder(out, ["case/case.toml", *(f"case/{name}.nii.gz" for name in names), *PLAN_NAMES]) as folder:
        save_nifti(study, folder / "case/study.nii.gz")
        for name, mask in masks.items():
            save_nifti(mask, folder / f"case/{name}.nii.gz")
        plan_file = write_whole(folder / "case/case.toml", text)
    written = write_plan_from_file(plan_file, out, progress=progress)
    if thread is not None:
        write_bone_quality(out, study, written, thread)
    return written
