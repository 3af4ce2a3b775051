"""Three depth electrodes into one temporal lobe that must keep apart, from a plan file.

The template is that of :mod:`medsam_planner.demo.brain_study`. No angiogram comes with it, so the vessels are modelled:
a middle cerebral artery along the insula and a vein on the lateral surface of the lobe. The plan file and its masks
stay in the results folder: ``medsam-planner plan OUT/case/case.toml --out DIR`` plans it again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.demo.brain_study import load_brain_study, sphere_mask, template_path
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_whole
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.progress import Progress
from medsam_planner.volumes import volume_like
from medsam_planner.workflow.run_folder import PLAN_NAMES
from medsam_planner.workflow.written_plan import WrittenPlan, write_plan_from_file

__all__ = ["run_seeg"]

_ARTERY_LPS_MM = ((-16.0, -8.0, -10.0), (-36.0, -8.0, -6.0), (-43.0, 8.0, 0.0), (-45.0, 26.0, 6.0))
_ARTERY_RADIUS_MM = 2.0
_VEIN_LPS_MM = ((-66.0, -14.0, -14.0), (-72.0, 8.0, -12.0), (-73.0, 30.0, -2.0))
_VEIN_RADIUS_MM = 2.0
_BRAINSTEM_LPS_MM, _BRAINSTEM_RADIUS_MM = (0.0, 26.0, -26.0), 15.0

_PLAN_FILE = """\
title = "SEEG: three electrodes into the right temporal lobe (demonstration, vessels modelled)"
min_tool_gap_mm = 2.0

[study]
path = "{study}"

[[tools]]
name = "amygdala"
radius_mm = 0.4
entry_error_mm = 1.0
target_error_mm = 1.5
target = {{ point_lps_mm = [-24.0, 3.0, -18.0], radius_mm = 2.0 }}
entry = {{ mask = "head.nii.gz", centre_lps_mm = [-80.0, 0.0, -16.0], radius_mm = 24.0 }}

[[tools]]
name = "hippocampus head"
radius_mm = 0.4
entry_error_mm = 1.0
target_error_mm = 1.5
target = {{ point_lps_mm = [-27.0, 14.0, -18.0], radius_mm = 2.0 }}
entry = {{ mask = "head.nii.gz", centre_lps_mm = [-82.0, 14.0, -14.0], radius_mm = 24.0 }}

[[tools]]
name = "hippocampus tail"
radius_mm = 0.4
entry_error_mm = 1.0
target_error_mm = 1.5
target = {{ point_lps_mm = [-29.0, 30.0, -8.0], radius_mm = 2.0 }}
entry = {{ mask = "head.nii.gz", centre_lps_mm = [-84.0, 32.0, -6.0], radius_mm = 24.0 }}

[[structures]]
name = "middle cerebral artery"
role = "avoid"
mask = "artery.nii.gz"
base_margin_mm = 1.5

[[structures]]
name = "temporal vein"
role = "avoid"
mask = "vein.nii.gz"
base_margin_mm = 1.5

[[structures]]
name = "brainstem"
role = "avoid"
mask = "brainstem.nii.gz"
base_margin_mm = 2.0

[limits]
max_length_mm = 90
max_entry_angle_deg = 35

[search]
candidates = 12000
alternatives = 3
seed = {seed}
"""


def run_seeg(
    out: Path, *, seed: int = 0, say: Callable[[str], None] = lambda text: None, progress: Progress | None = None
) -> WrittenPlan:
    """Write the plan file with its masks, and plan it.

    Parameters
    ----------
    out : Path
        Folder for the results; the plan file and its masks lie in its folder ``case``.
    seed : int
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    say("1/2 Writing the plan file: the MNI152 template's modelled scalp, modelled vessels, three electrodes.")
    brain = load_brain_study()
    masks = {
        "head": brain.head,
        "artery": _tube(brain.study, _ARTERY_LPS_MM, _ARTERY_RADIUS_MM),
        "vein": _tube(brain.study, _VEIN_LPS_MM, _VEIN_RADIUS_MM),
        "brainstem": sphere_mask(brain.study, _BRAINSTEM_LPS_MM, _BRAINSTEM_RADIUS_MM),
    }
    study = str(template_path()).replace("\\", "/")
    with OutputFolder(out, ["case/case.toml", *(f"case/{name}.nii.gz" for name in masks), *PLAN_NAMES]) as folder:
        for name, mask in masks.items():
            save_nifti(mask, folder / f"case/{name}.nii.gz")
        plan_file = write_whole(folder / "case/case.toml", _PLAN_FILE.format(study=study, seed=seed))
    say("2/2 Planning three electrodes that keep apart, and writing the report.")
    return write_plan_from_file(plan_file, out, progress=progress)


def _tube(
    volume: highdicom.Volume, corners_lps_mm: tuple[tuple[float, float, float], ...], radius_mm: float
) -> highdicom.Volume:
    """Mask of the voxels within a radius of a polyline."""
    places = lps_from_index(volume.affine, np.moveaxis(np.indices(volume.spatial_shape), 0, -1))
    inside = np.zeros(places.shape[:-1], dtype=bool)
    for start, end in itertools.pairwise(corners_lps_mm):
        inside |= _segment_distance(places, np.array(start), np.array(end)) <= radius_mm
    return volume_like(volume, inside)


def _segment_distance(
    places: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    along = end - start
    fraction = np.clip((places - start) @ along / (along @ along), 0.0, 1.0)
    distance: NDArray[np.float64] = np.linalg.norm(places - start - fraction[..., None] * along, axis=-1)
    return distance
