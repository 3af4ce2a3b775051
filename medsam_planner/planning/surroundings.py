"""What the image shows where nothing was segmented: air, space outside the body, and tissue as dense as bone.

Hounsfield units distinguish bone and air from soft tissue. MR has no such unit: only the outside of the body is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, spacing_mm
from medsam_planner.planning.lengths import require_mm
from medsam_planner.planning.region import IndexBox
from medsam_planner.planning.structures import Avoid, bool_array
from medsam_planner.volumes import volume_like
from prompts.masks import mask_box
from prompts.names import UNSEGMENTED_BONE

__all__ = ["AIR_BELOW_HU", "BONE_ABOVE_HU", "BoneRule", "Surroundings", "surroundings_of"]

BONE_ABOVE_HU = 226.0
"""Lower end of the range in which CT software predefines bone (Materialise Mimics: 226 to 3071 HU). Contrast medium,
calcification and metal reach it too."""
BONE_BOUNDS_HU = (100.0, 600.0)
"""Below lie soft tissues with contrast; above, spongy bone and thin cortex would go unseen."""
AIR_BELOW_HU = -300.0
"""Between the densest lung and fat (about -120 HU)."""
_LEAST_BONE_MM3 = 27.0
"""Smaller specks are noise: a cube of 3 mm."""
_REACH_MM = 60.0
"""Bone farther than this from every trajectory is ignored: it cannot limit any."""
_AROUND_MM = 30.0
"""Wider than the spinal canal (about 25 mm) and narrower than the chest."""
_DIRECTIONS = 72
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class BoneRule:
    """What a plan does with unsegmented bone.

    Raises
    ------
    PlanningError
        If the threshold is no density of bone, or the margin is no such length.
    """

    avoid: bool | None = None
    """None: in a CT, unless the tool must stay inside bone, as a screw must."""
    above_hu: float = BONE_ABOVE_HU
    margin_mm: float = 0.0

    def __post_init__(self) -> None:
        low, high = BONE_BOUNDS_HU
        if not low <= self.above_hu <= high:
            raise PlanningError(f"Expected above_hu from {low:g} to {high:g} HU, got {self}.")
        require_mm(self.margin_mm, "margin_mm of unsegmented bone")


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The image around some trajectories, and what its values mean."""

    image: highdicom.Volume
    unit: str
    """``"HU"``, or ``"normalised intensity"`` after `offset` and `scale`."""
    body: highdicom.Volume | None
    """bool, on the image's grid; None where no body was found."""
    bone: highdicom.Volume | None
    """bool, on the image's grid, within 60 mm of the trajectories; None where the values have no fixed unit."""
    bone_above_hu: float = BONE_ABOVE_HU
    """Threshold of bone to avoid; crossings count as bone from this or :data:`BONE_ABOVE_HU`, whichever is lower."""
    is_bone_avoided: bool = False
    """Whether the plan avoids unsegmented bone, also where there is none."""
    bone_corridors: tuple[str, ...] = ()
    """Structures to stay inside that are bone; the bone in and around them is not avoided."""
    offset: float = 0.0
    scale: float = 1.0

    @property
    def has_hounsfield_units(self) -> bool:
        """Whether bone and air can be distinguished from soft tissue."""
        return self.bone is not None

    def shown(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Values of the image in `unit`."""
        shown: NDArray[np.float64] = (np.asarray(values, dtype=np.float64) - self.offset) / self.scale
        return shown

    def bone_around(self, position_lps_mm: NDArray[np.float64]) -> float:
        """Share of the directions in which bone lies within 30 mm of a place, in the patient's plane where it is most.

        About 1 in the spinal canal, a half beside a bone.
        """
        if self.bone is None:
            return 0.0
        turn = np.linspace(0.0, 2 * np.pi, _DIRECTIONS, endpoint=False)
        step = float(spacing_mm(self.bone.affine).min()) / 2
        distance = np.arange(step, _AROUND_MM, step)
        shape = np.array(self.bone.spatial_shape)
        shares = []
        for first, second in ((0, 1), (0, 2), (1, 2)):
            direction = np.zeros((_DIRECTIONS, 3))
            direction[:, first], direction[:, second] = np.cos(turn), np.sin(turn)
            places = position_lps_mm + distance[:, None, None] * direction
            index = np.floor(index_from_lps(self.bone.affine, places) + 0.5).astype(np.int64)
            is_seen = ((index >= 0) & (index < shape)).all(axis=-1)
            met = np.zeros(is_seen.shape, dtype=bool)
            met[is_seen] = self.bone.array[tuple(index[is_seen].T)]
            shares.append(float(met.any(axis=0).mean()))
        return max(shares)

    def unsegmented_bone(self, segmented: Sequence[highdicom.Volume], margin_mm: float) -> Avoid | None:
        """Bone beside every structure that was segmented, as a structure to avoid; None where there is none.

        Parameters
        ----------
        segmented : sequence of highdicom.Volume
            bool masks on the image's grid. They are widened by one voxel: at the edge of a dense structure lie voxels
            that share its density. A path keeps a larger distance from a structure.
        margin_mm : float
        """
        if self.bone is None:
            return None
        left = np.asarray(self.bone.array & (self.image.array >= self.bone_above_hu))
        if not left.any():
            return None
        box = mask_box(left, grown=1)
        part = left[box]
        for mask in segmented:
            part &= ~ndimage.binary_dilation(bool_array(mask, "segmented")[box], _TOUCHING)
        part[...] = _without_specks(part, spacing_mm(self.bone.affine))
        if not part.any():
            return None
        return Avoid(UNSEGMENTED_BONE, volume_like(self.bone, left), margin_mm)


def surroundings_of(
    image: highdicom.Volume,
    trajectories_lps_mm: NDArray[np.float64],
    *,
    body: highdicom.Volume | None,
    is_ct: bool,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    above_hu: float = BONE_ABOVE_HU,
) -> Surroundings:
    """Find body, air and bone in the image around some trajectories.

    Parameters
    ----------
    image : highdicom.Volume
        CT in HU, or MR.
    trajectories_lps_mm : (P, 3) float
        Ends of all candidate trajectories, LPS mm.
    body : highdicom.Volume, optional
        bool, on the image's grid: the patient without the air around, the air inside included.
    is_ct : bool
        Whether the values are HU.
    intensity_range : (float, float)
        Of other modalities: the values that are shown as 0 and 1.
    above_hu : float
        What reaches it counts as bone.
    """
    if not is_ct:
        low, high = intensity_range
        scale = max(high - low, 1e-12)
        return Surroundings(image, "normalised intensity", body, None, above_hu, offset=low, scale=scale)
    spacing = spacing_mm(image.affine)
    grid = IndexBox(np.zeros(3, dtype=np.int64), np.array(image.spatial_shape, dtype=np.int64))
    index = index_from_lps(image.affine, trajectories_lps_mm)
    reach = np.ceil(_REACH_MM / spacing).astype(np.int64)
    around = IndexBox(
        np.floor(index.min(axis=0)).astype(np.int64) - reach, np.ceil(index.max(axis=0)).astype(np.int64) + reach + 1
    ).clipped_to(grid)
    box = around.slices_in(grid)
    bone = np.zeros(image.spatial_shape, dtype=bool)
    bone[box] = _without_specks(image.array[box] >= min(above_hu, BONE_ABOVE_HU), spacing)
    return Surroundings(image, "HU", body, volume_like(image, bone), above_hu)


def _without_specks(dense: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Only the parts that are no smaller than a speck of noise; parts that touch at a corner are one."""
    least = int(np.ceil(_LEAST_BONE_MM3 / float(np.prod(spacing))))
    if least <= 1:
        return dense
    parts, count = ndimage.label(dense, _TOUCHING)
    is_kept = np.bincount(parts.ravel(), minlength=count + 1) >= least
    is_kept[0] = False
    kept: NDArray[np.bool_] = is_kept[parts]
    return kept
