"""Bone around a screw: apparent density along its thread from CT numbers, and a proxy of its pull-out force.

A chain of published relations, none of which was measured on the patient's scanner:

1. CT number to mass density of the voxel [1]_ (the line for bone, used down to marrow).
2. Mass density to bone volume fraction: a voxel holds bone tissue and marrow, and nothing else.
3. Apparent density to shear strength of trabecular bone [2]_.
4. Shear strength to pull-out force: the bone inside the threads shears off over a cylinder [3]_.

The force compares screws of one plan in one scan. It is no force that a patient's bone is known to bear: kV, kernel,
contrast medium, fat marrow and metal shift CT numbers, and steps 3 and 4 were measured on specimens and foam.

References
----------
.. [1] Schneider W, Bortfeld T, Schlegel W. Correlation between CT numbers and tissue parameters needed for Monte Carlo
   simulations of clinical dose distributions. Phys Med Biol 2000, doi 10.1088/0031-9155/45/2/314.
.. [2] Stone JL, Beaupré GS, Hayes WC. Multiaxial strength characteristics of trabecular bone. J Biomech 1983, 16(9),
   743-752.
.. [3] Chapman JR et al. Factors affecting the pullout strength of cancellous bone screws. J Biomech Eng 1996,
   doi 10.1115/1.2796022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps
from medsam_planner.planning.clearance import trajectory_array

__all__ = ["SCHNEIDER_2000", "BoneQuality", "DensityCalibration", "Thread", "bone_quality"]

_STEP_MM = 0.5
_PLACES_AROUND = 24
_STONE_MPA, _STONE_EXPONENT = 21.6, 1.65
"""Shear strength of trabecular bone, MPa, of apparent density in g/cm³ [2]_."""


@dataclass(frozen=True, slots=True)
class DensityCalibration:
    """A line from CT numbers to mass density, and what bone and marrow weigh.

    Raises
    ------
    PlanningError
        If density does not rise with the CT number, or bone is not denser than marrow.
    """

    intercept_g_cm3: float
    slope_g_cm3_per_hu: float
    source: str
    bone_tissue_g_cm3: float = 1.92
    """Compact bone (ICRU Report 46)."""
    marrow_g_cm3: float = 1.0
    """Between yellow (0.98) and red (1.03) marrow (ICRU Report 46)."""

    def __post_init__(self) -> None:
        if not (self.slope_g_cm3_per_hu > 0 and self.bone_tissue_g_cm3 > self.marrow_g_cm3 > 0):
            raise PlanningError("Expected a density that rises with the CT number, and bone denser than marrow.")

    def bone_fraction(self, hu: ArrayLike) -> NDArray[np.float64]:
        """Share of a voxel that is bone tissue, 0 to 1."""
        density = self.intercept_g_cm3 + self.slope_g_cm3_per_hu * np.asarray(hu, dtype=np.float64)
        share = (density - self.marrow_g_cm3) / (self.bone_tissue_g_cm3 - self.marrow_g_cm3)
        return np.clip(share, 0.0, 1.0)

    def apparent_density_g_cm3(self, hu: ArrayLike) -> NDArray[np.float64]:
        """Mass of bone tissue per volume of the whole, g/cm³."""
        return self.bone_fraction(hu) * self.bone_tissue_g_cm3


SCHNEIDER_2000 = DensityCalibration(1.017, 0.592e-3, "Schneider et al. 2000, doi 10.1088/0031-9155/45/2/314")


@dataclass(frozen=True, slots=True)
class Thread:
    """The thread of a screw.

    Raises
    ------
    PlanningError
        If a length is not positive.
    """

    pitch_mm: float
    depth_mm: float
    """Half the difference of major and minor diameter."""

    def __post_init__(self) -> None:
        if not (0 < self.pitch_mm < math.inf and 0 < self.depth_mm < math.inf):
            raise PlanningError(f"Expected positive lengths of a thread, got {self.pitch_mm} and {self.depth_mm} mm.")

    @property
    def shape_factor(self) -> float:
        """0.5 + depth / (√3 pitch), equation 2 of [3]_."""
        return 0.5 + self.depth_mm / (math.sqrt(3) * self.pitch_mm)


@dataclass(frozen=True, slots=True, eq=False)
class BoneQuality:
    """Bone along a screw; places are 0.5 mm apart or less."""

    depth_mm: NDArray[np.float64]
    """(N,) from the entry."""
    hu: NDArray[np.float64]
    """(N,) mean on the circle of the thread's crests."""
    apparent_density_g_cm3: NDArray[np.float64]
    """(N,)"""
    pullout_n: float
    """Proxy of the pull-out force, newtons."""

    @property
    def mean_density_g_cm3(self) -> float:
        """Over the length."""
        return float(np.trapezoid(self.apparent_density_g_cm3, self.depth_mm) / np.ptp(self.depth_mm))


def bone_quality(
    study: highdicom.Volume,
    trajectory_lps_mm: ArrayLike,
    radius_mm: float,
    thread: Thread,
    *,
    calibration: DensityCalibration = SCHNEIDER_2000,
) -> BoneQuality:
    """Density along a screw and its pull-out proxy, see the module's docstring.

    Parameters
    ----------
    study : (K, J, I) Volume
        CT, HU; beyond it its edge counts.
    trajectory_lps_mm : (2, 3) float
        Where the thread begins and ends; LPS mm.
    radius_mm : float
        Of the crests: half the major diameter.
    thread : Thread
    calibration : DensityCalibration

    Raises
    ------
    PlanningError
        If the screw has no length or no radius.
    """
    start, end = trajectory_array(np.asarray(trajectory_lps_mm, dtype=np.float64)[None])[0]
    length = float(np.linalg.norm(end - start))
    if not (length > 0 and 0 < radius_mm < math.inf):
        raise PlanningError(f"Expected a screw with a length and a radius, got {length:g} and {radius_mm:g} mm.")
    along = (end - start) / length
    across = np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])
    across /= np.linalg.norm(across)
    turn = np.arange(_PLACES_AROUND) * 2 * np.pi / _PLACES_AROUND
    circle = radius_mm * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * np.cross(along, across))
    depth = np.linspace(0, length, max(math.ceil(length / _STEP_MM), 1) + 1)
    places = start + depth[:, None, None] * along + circle
    index = index_from_lps(study.affine, places.reshape(-1, 3))
    hu = ndimage.map_coordinates(study.array, index.T, order=1, mode="nearest", output=np.float64)
    around = hu.reshape(len(depth), -1)
    density = calibration.apparent_density_g_cm3(around)
    strength_mpa = (_STONE_MPA * density**_STONE_EXPONENT).mean(axis=1)
    force = float(np.trapezoid(strength_mpa, depth)) * 2 * math.pi * radius_mm * thread.shape_factor
    return BoneQuality(depth, around.mean(axis=1), density.mean(axis=1), force)
