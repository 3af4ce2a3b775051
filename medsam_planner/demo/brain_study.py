"""The brain biopsy of the demonstration: a real template, a deep target, ventricles in the way.

The image is the MNI ICBM152 2009a T1 template (Fonov et al. 2011, doi 10.1016/j.neuroimage.2010.07.033) that the
nilearn package carries: the average of 152 people, 1 mm, without skull and scalp. The scalp is therefore modelled, and
said to be: the surface 13 mm outside the brain, about what skull and scalp measure together over the frontal lobe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MissingDependencyError
from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.io import load_volume
from medsam_planner.volumes import StudyVolume, volume_like
from prompts import Box, PromptLog

__all__ = ["BrainStudy", "load_brain_study", "sphere_mask", "template_path"]

SCALP_DISTANCE_MM = 13.0
TARGET_LPS_MM = (-14.0, 18.0, 8.0)
"""Centre of an artificial lesion of 4 mm radius in the right thalamus."""
TARGET_RADIUS_MM = 4.0
ENTRY_LPS_MM = (-38.0, -42.0, 66.0)
"""Middle of the entry region, over the right frontal lobe."""
ENTRY_RADIUS_MM = 34.0
MOTOR_STRIP_LPS_MM = (-36.0, 20.0, 56.0)
"""Hand area of the right precentral gyrus, a no-go region as an annotator would draw it."""
MOTOR_STRIP_RADIUS_MM = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class BrainStudy:
    """The study with simulated prompts and hand-drawn regions."""

    study: StudyVolume
    logs: tuple[PromptLog, ...]
    """Two boxes on each lateral ventricle: from one box, propagation stops before the frontal horn ends."""
    head: highdicom.Volume
    """bool; its surface is the modelled scalp."""
    motor_strip: highdicom.Volume
    """bool; the drawn no-go region."""


def template_path() -> Path:
    """The T1 template inside the installed nilearn package.

    Raises
    ------
    MissingDependencyError
        If nilearn does not carry it.
    """
    from importlib.util import find_spec

    spec = find_spec("nilearn")
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.origin).parent / "datasets" / "data" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError(f"Expected the nilearn package to carry {name}; install it: pip install nilearn.")
    return path


def load_brain_study() -> BrainStudy:
    """Read the template and draw the regions of the demonstration."""
    study = load_volume(template_path(), modality="MR")
    logs = []
    for name, sign in (("lateral_ventricle_right", -1.0), ("lateral_ventricle_left", 1.0)):
        log = PromptLog(name)
        log.add(Box((sign * 1.0, -16.0, 20.0), (sign * 28.0, 46.0, 20.0)))  # its body
        log.add(Box((0.0, -30.0, 8.0), (sign * 19.0, 3.0, 8.0)))  # the frontal horn, beside which the needle passes
        logs.append(log)
    return BrainStudy(
        study=study,
        logs=tuple(logs),
        head=volume_like(study, _head(study)),
        motor_strip=sphere_mask(study, MOTOR_STRIP_LPS_MM, MOTOR_STRIP_RADIUS_MM),
    )


def sphere_mask(
    volume: highdicom.Volume, centre_lps_mm: tuple[float, float, float], radius_mm: float
) -> highdicom.Volume:
    """Mask of the voxels whose centre lies within a sphere, on the grid of `volume`."""
    index = np.moveaxis(np.indices(volume.spatial_shape), 0, -1)
    distance = np.linalg.norm(lps_from_index(volume.affine, index) - np.asarray(centre_lps_mm), axis=-1)
    return volume_like(volume, distance <= radius_mm)


def _head(study: StudyVolume) -> NDArray[np.bool_]:
    from scipy import ndimage

    brain = ndimage.binary_fill_holes(study.array > 0)
    distance = ndimage.distance_transform_edt(~brain, sampling=spacing_mm(study.affine))
    return np.asarray(ndimage.binary_fill_holes(distance <= SCALP_DISTANCE_MM))
