"""A pedicle screw, graded by Gertzbein and Robbins: in L3 of a real CT where it is there, else in a procedural L5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.demo.case_files import CANCELLOUS_THREAD, plan_case
from medsam_planner.demo.implicit_grid import distance_on_grid
from medsam_planner.demo.implicit_shapes import tube
from medsam_planner.demo.pelvis_bones import lumbar_vertebra
from medsam_planner.demo.real_cases import RealCase, real_case
from medsam_planner.progress import Progress
from medsam_planner.volumes import volume_like
from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["run_pedicle_screw", "vertebra_phantom"]

_CASE, _L3 = "ct_spine_verse014", 22
_BAND_MM = 12.0
_PLAN_FILE = """\
title = "{title}"

[study]
path = "study.nii.gz"
modality = "CT"

[tool]
radius_mm = {radius_mm}
entry_error_mm = 0.5        # assumed for navigation, not measured
target_error_mm = 0.8

[target]
point_lps_mm = {target}
radius_mm = 4.0

[entry]
structure = "vertebra"
centre_lps_mm = {entry}
radius_mm = 9.0

[[structures]]
name = "vertebra"
role = "inside"
mask = "vertebra.nii.gz"
base_margin_mm = 0.0
free_entry_mm = 10.0

[[structures]]
name = "spinal canal"
role = "avoid"
mask = "canal.nii.gz"
base_margin_mm = 0.5

[limits]
min_length_mm = 25.0
max_length_mm = 60.0
max_entry_angle_deg = 75.0

[weights]
bone_density = 0.3

[search]
candidates = 8000
alternatives = 3
min_separation_mm = 1.0
seed = {seed}
"""


def run_pedicle_screw(
    out: Path,
    *,
    seed: int = 0,
    data: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Plan a screw of 4 or 5 mm through a pedicle into the body of a vertebra, and grade it.

    Parameters
    ----------
    out : Path
        Folder for the results.
    seed : int
    data : Path, optional
        Folder with the case ``ct_spine_verse014``; without it the vertebra is procedural.
    say : callable
        Called with one line of text for each stage.
    progress : Progress, optional
    """
    case = real_case(data, _CASE)
    if case is None:
        say("1/2 Drawing a procedural L5: no case with a real CT was named (--data DIR).")
        study, vertebra, canal = vertebra_phantom(seed=seed)
        title, entry, target = "Pedicle screw, L5 left (procedural)", (21.0, 46.0, 125.0), (9.0, 6.0, 119.0)
        radius_mm = 2.5
    else:
        say("1/2 Reading L3 of VerSe 014, a real CT (1 × 1 × 2 mm; labels: automatic, corrected by experts).")
        study, vertebra, canal = case.study, case.mask([_L3]), _canal(case, _L3)
        title, entry, target = "Pedicle screw, L3 left (VerSe 014)", (-2.0, 202.0, -130.5), (-18.5, 167.5, -127.0)
        radius_mm = 2.0  # of 5 mm none is certified: 0.4 mm are missing, and slices are 2 mm apart
    say(f"2/2 Planning a screw of {2 * radius_mm:g} mm, and writing the report and the bone quality.")
    text = _PLAN_FILE.format(title=title, radius_mm=radius_mm, entry=list(entry), target=list(target), seed=seed)
    masks = {"vertebra": vertebra, "canal": canal}
    return plan_case(out, text, masks, study, thread=CANCELLOUS_THREAD, progress=progress)


def vertebra_phantom(
    *, spacing_mm: float = 0.8, seed: int = 0
) -> tuple[highdicom.Volume, highdicom.Volume, highdicom.Volume]:
    """CT of the procedural L5, HU, its bone and its canal.

    Parameters
    ----------
    spacing_mm : float
        Of the cubic voxels.
    seed : int
        Of the noise.
    """
    low, high = np.array((-60.0, -20.0, 92.0)), np.array((60.0, 90.0, 154.0))
    shape = tuple(int(side) for side in np.ceil((high - low) / spacing_mm)[::-1])
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = spacing_mm
    affine[:3, 3], affine[3, 3] = low, 1.0
    bone_mm = distance_on_grid(lumbar_vertebra(), affine, shape, _BAND_MM)  # type: ignore[arg-type]
    canal_mm = distance_on_grid(tube([(0, 45, 90), (0, 43, 120), (0, 41, 156)], 8.0), affine, shape, _BAND_MM)  # type: ignore[arg-type]
    bone, canal = bone_mm < 0, (canal_mm < 0) & (bone_mm >= 0)
    hu = np.select([bone & (bone_mm > -1.5), bone, canal], [700.0, 190.0, 15.0], default=45.0)
    hu += np.random.default_rng(seed).normal(0, 15, hu.shape)
    study = highdicom.Volume(np.round(hu).astype(np.int16), affine, "PATIENT")
    return study, volume_like(study, bone), volume_like(study, canal)


def _canal(case: RealCase, label: int) -> highdicom.Volume:
    """What the vertebra's ring encloses on axial slices, whose labels have no canal."""
    upright = case.labels.to_patient_orientation("HPL")
    ring = np.asarray(upright.array) == label
    enclosed: NDArray[np.bool_] = np.array([ndimage.binary_fill_holes(one) for one in ring], dtype=bool) & ~ring
    parts, count = ndimage.label(enclosed)
    largest = 1 + int(np.argmax(ndimage.sum_labels(enclosed, parts, range(1, count + 1))))
    found = volume_like(upright, parts == largest).match_geometry(case.study)
    return volume_like(case.study, np.asarray(found.array, dtype=bool))
