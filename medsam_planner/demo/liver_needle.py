"""A needle into the liver between two ribs: in a real CT where it is there, else in a procedural chest wall."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
from scipy import ndimage

from medsam_planner.demo.case_files import plan_case
from medsam_planner.demo.real_cases import RealCase, real_case
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.progress import Progress
from medsam_planner.volumes import volume_like
from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["chest_wall_phantom", "run_liver_needle"]

_CASE = "ct_trunk_totalseg_siemens"
_LIVER, _RIBS = 5, (*range(109, 116), 117)
_VESSELS, _BOWEL = (52, 63, 64), (6, 20)
_RIGHT_SIDE_LPS_MM = ((-250.0, -290.0, -810.0), (20.0, -40.0, -760.0))
_LUNG_HU = -500.0
_SKIN_HU = -300.0
_SMALLEST_LUNG_VOXELS = 20
_PLEURA_MM = 3.0
RIB_RADIUS_MM = 5.0
RIB_X_LPS_MM = -110.0
_PLAN_FILE = """\
title = "{title}"

[study]
path = "study.nii.gz"
modality = "CT"

[tool]
radius_mm = 0.92            # 15 G
entry_error_mm = 1.0        # assumed for guidance with feedback; median errors of blind placement are 2.5 and 3.2 mm
target_error_mm = 1.5

[target]
point_lps_mm = {target}
radius_mm = 3.0

[entry]
skin = true
centre_lps_mm = {entry}
radius_mm = 35.0

[[structures]]
name = "ribs"
role = "avoid"
mask = "ribs.nii.gz"
base_margin_mm = 1.0

{below_ribs}[[structures]]
name = "pleura"
role = "avoid"
mask = "pleura.nii.gz"
base_margin_mm = 3.0

[[structures]]
name = "vessels"
role = "avoid"
mask = "vessels.nii.gz"
base_margin_mm = 2.0

[[structures]]
name = "bowel"
role = "avoid"
mask = "bowel.nii.gz"
base_margin_mm = 3.0

[limits]
max_length_mm = 150.0
max_entry_angle_deg = 50.0

[search]
candidates = 12000
alternatives = 3
seed = {seed}
"""
_BELOW_RIBS = """\
[[structures]]
name = "intercostal bundle"
role = "avoid"
mask = "bundle.nii.gz"
base_margin_mm = 0.5

"""


def run_liver_needle(
    out: Path,
    *,
    seed: int = 0,
    data: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Plan a needle through an intercostal space that avoids ribs, pleura, vessels and bowel.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
    data : Path, optional
        Folder with the case ``ct_trunk_totalseg_siemens``; without it the chest wall is procedural.
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    case = real_case(data, _CASE)
    if case is None:
        say("1/2 Drawing a procedural chest wall: no case with a real CT was named (--data DIR).")
        study, masks = chest_wall_phantom(seed=seed)
        title, entry, target = "Liver needle between two ribs (procedural)", (-122.0, 0.0, 0.0), (-60.0, 5.0, 0.0)
    else:
        say("1/2 Reading 40 mm of a real trunk CT; its labels are the output of TotalSegmentator, no reader's.")
        case = case.cropped(*_RIGHT_SIDE_LPS_MM)
        study, masks = case.study, _real_masks(case)
        title, entry, target = (
            "Liver needle (real CT, labels of a network)",
            (-160.0, -165.0, -786.0),
            (-85.0, -160.0, -786.0),
        )
    say("2/2 Planning a needle between the ribs, and writing the report.")
    below = _BELOW_RIBS if "bundle" in masks else ""
    text = _PLAN_FILE.format(title=title, entry=list(entry), target=list(target), below_ribs=below, seed=seed)
    return plan_case(out, text, masks, study, progress=progress)


def chest_wall_phantom(
    *, gap_mm: float = 14.0, spacing: float = 1.5, seed: int = 0
) -> tuple[highdicom.Volume, dict[str, highdicom.Volume]]:
    """CT of a body with ribs, and the masks of what a needle must avoid.

    The ribs run from front to back at x = -110 mm, straight, round, of radius 5 mm, with `gap_mm` between the surfaces
    of neighbours; z is 0 in the middle of one gap. The bundle of vessels and nerve runs along the lower edge of each.

    Parameters
    ----------
    gap_mm : float
    spacing : float
        Of the cubic voxels, mm.
    seed : int
        Of the noise.
    """
    low, high = np.array((-135.0, -60.0, -60.0)), np.array((20.0, 60.0, 60.0))
    shape = tuple(int(side) for side in np.ceil((high - low) / spacing)[::-1])
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = spacing
    affine[:3, 3], affine[3, 3] = low, 1.0
    x, y, z = np.moveaxis(lps_from_index(affine, np.moveaxis(np.indices(shape), 0, -1)), -1, 0)
    period = gap_mm + 2 * RIB_RADIUS_MM
    ribs = np.zeros(shape, dtype=bool)
    bundle = np.zeros(shape, dtype=bool)
    for centre in (np.arange(np.floor(low[2] / period), np.ceil(high[2] / period) + 1) + 0.5) * period:
        ribs |= np.hypot(x - RIB_X_LPS_MM, z - centre) <= RIB_RADIUS_MM
        bundle |= np.hypot(x - RIB_X_LPS_MM - 2, z - (centre - RIB_RADIUS_MM - 1.5)) <= 1.5
    body = x > -122
    liver = x > -100
    lung = liver & (z > 35 + 0.15 * (x + 100))
    vessels = np.hypot(y + 12, z - 6) <= 5
    vessels &= liver & ~lung
    bowel = liver & (z < -45)
    hu = np.select([~body, lung, ribs, bundle, vessels, bowel, liver], [-1000, -850, 500, 60, 180, 20, 110], default=20)
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    study = highdicom.Volume(np.round(hu + noise).astype(np.int16), affine, "PATIENT")
    masks = {"ribs": ribs, "bundle": bundle, "pleura": lung, "vessels": vessels, "bowel": bowel}
    return study, {name: volume_like(study, mask) for name, mask in masks.items()}


def _real_masks(case: RealCase) -> dict[str, highdicom.Volume]:
    hu, bowel = np.asarray(case.study.array), case.mask(_BOWEL)
    body = np.array([ndimage.binary_fill_holes(one) for one in np.moveaxis(hu > _SKIN_HU, 2, 0)], dtype=bool)
    parts, count = ndimage.label(np.moveaxis(body, 0, 2) & (hu < _LUNG_HU))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    in_bowel = np.unique(parts[ndimage.binary_dilation(bowel.array, iterations=3)])
    is_lung = sizes >= _SMALLEST_LUNG_VOXELS
    is_lung[[0, *in_bowel]] = False
    if not is_lung.any():
        raise ConfigError("Expected a part of the lung in the real case, found none. Its pleura cannot be avoided.")
    lung = is_lung[parts]
    far = ndimage.distance_transform_edt(~lung, sampling=spacing_mm(case.study.affine))
    return {
        "ribs": case.mask(_RIBS),
        "pleura": volume_like(case.study, far <= _PLEURA_MM),
        "vessels": case.mask(_VESSELS),
        "bowel": bowel,
    }
