"""A screw in the posterior column of the acetabulum, from the ischial tuberosity upwards, on the pelvis phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from medsam_planner.demo.case_files import CANCELLOUS_THREAD, plan_case
from medsam_planner.demo.pelvis_phantom import PhantomScan, pelvis_phantom
from medsam_planner.progress import Progress
from medsam_planner.volumes import volume_like
from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["run_column_screw"]

_SHAPE, _SPACING_MM = (154, 302, 302), (1.4, 1.1, 1.1)
_PLAN_FILE = """\
title = "Posterior column screw, left, from the ischial tuberosity (demonstration on a phantom)"

[study]
path = "study.nii.gz"
modality = "CT"

[tool]
radius_mm = 3.25            # 6.5 mm, cannulated
entry_error_mm = 0.5        # assumed for navigation, not measured
target_error_mm = 0.8

[target]
point_lps_mm = [76.0, 32.0, 28.0]
radius_mm = 6.0

[entry]
structure = "hemipelvis"
centre_lps_mm = [64.0, 20.0, -84.0]
radius_mm = 12.0

[[structures]]
name = "hemipelvis"
role = "inside"
mask = "hemipelvis.nii.gz"
base_margin_mm = 0.0
free_entry_mm = 14.0

[[structures]]
name = "hip joint"
role = "avoid"
mask = "hip_joint.nii.gz"
base_margin_mm = 2.0

[[structures]]
name = "sciatic nerve"
role = "avoid"
mask = "sciatic_nerve.nii.gz"
base_margin_mm = 3.0

[limits]
min_length_mm = 80.0
max_length_mm = 140.0
max_entry_angle_deg = 60.0

[weights]
bone_density = 0.3

[search]
candidates = 8000
alternatives = 3
min_separation_mm = 3.0
seed = {seed}
"""


def run_column_screw(
    out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None, progress: Progress | None = None
) -> WrittenPlan:
    """Plan a retrograde screw inside the posterior column, past the joint and the sciatic nerve.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
        Seed of the noise and of the planner.
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    say("1/2 Building the pelvis phantom; its own masks stand for segmentations.")
    phantom = pelvis_phantom(PhantomScan(shape=_SHAPE, spacing_mm=_SPACING_MM, seed=seed), progress=progress)
    reference = phantom.reference
    masks = {
        "hemipelvis": reference["hemipelvis_left"],
        "hip_joint": volume_like(phantom.volume_hu, np.asarray(reference["femur_left"].array)),
        "sciatic_nerve": reference["sciatic_nerve"],
    }
    say("2/2 Planning a 6.5 mm screw in the posterior column, and writing the report and the bone quality.")
    text = _PLAN_FILE.format(seed=seed)
    return plan_case(out, text, masks, phantom.volume_hu, thread=CANCELLOUS_THREAD, progress=progress)
