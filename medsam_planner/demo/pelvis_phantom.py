"""A CT of a pelvis whose every surface is known: for demonstrations, and for tests of plans.

The anatomy is a set of implicit shapes in LPS mm. Each voxel mixes the tissues by the share of it that they fill, then
come the scanner's blur and correlated noise; the slices are oblique, and thicker than the pixels are wide. The shapes
stay available, so that the clearance of a plan can be compared with the true one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medsam_planner.demo.implicit_shapes import Common, Mirrored, Shape, tube
from medsam_planner.demo.pelvis_bones import femur_left, hemipelvis_left, sacrum
from medsam_planner.demo.pelvis_scan import Tissues, scan
from medsam_planner.demo.pelvis_soft_tissue import iliac_artery_left, iliac_vein_left, sciatic_nerve_left
from medsam_planner.demo.true_distance import TrueDistance
from medsam_planner.errors import GeometryError
from medsam_planner.geometry import lps_from_index, slice_across, spacing_mm
from medsam_planner.progress import Progress
from prompts import Box
from prompts.annotator import padded_box

__all__ = ["Corridor", "PelvisPhantom", "PhantomScan", "pelvis_phantom"]


@dataclass(frozen=True, slots=True)
class PhantomScan:
    """Settings of the simulated scan."""

    shape: tuple[int, int, int] = (120, 256, 256)
    """Slices, rows, columns."""
    spacing_mm: tuple[float, float, float] = (1.8, 1.3, 1.3)
    centre_lps_mm: tuple[float, float, float] = (0.0, 8.0, 18.0)
    rotation_deg: tuple[float, float, float] = (4.0, -2.5, 3.0)
    """Rotation of the scanner against the patient about x, y, z: a patient never lies perfectly straight."""
    noise_hu: float = 17.0
    """Standard deviation of the noise in soft tissue."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shape) < 8 or min(self.spacing_mm) <= 0 or self.noise_hu < 0:
            raise GeometryError(
                f"Expected at least 8 voxels along each axis, positive spacings and noise >= 0, got {self.shape}, "
                f"{self.spacing_mm} mm and {self.noise_hu} HU."
            )

    @property
    def affine(self) -> NDArray[np.float64]:
        """Axes (slice, row, column) run up, back and to the left of the patient, turned by `rotation_deg`."""
        directions = Rotation.from_euler("xyz", self.rotation_deg, degrees=True).as_matrix()[:, ::-1]
        affine = np.eye(4)
        affine[:3, :3] = directions * self.spacing_mm
        affine[:3, 3] = self.centre_lps_mm - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return affine


@dataclass(frozen=True, slots=True)
class Corridor:
    """The supra-acetabular bone corridor of the left ilium (LC-II), from the anterior inferior spine backwards."""

    entry_lps_mm: tuple[float, float, float] = (99.7, -53.9, 31.0)
    """Where a screw enters, on the surface of the bone."""
    target_lps_mm: tuple[float, float, float] = (66.7, 44.9, 44.5)
    """Where it ends, in the bone beside the sacroiliac joint."""
    entry_radius_mm: float = 9.0
    """Entries within this distance are acceptable too."""
    target_radius_mm: float = 6.0
    free_entry_mm: float = 14.0
    """Path behind the entry in which a screw is still crossing the bone's wall."""


@dataclass(frozen=True, slots=True, eq=False)
class PelvisPhantom:
    """The scan and the reference masks it was drawn from. Vessels, nerve and corridor are those of the left side."""

    volume_hu: highdicom.Volume
    """int16, (K, J, I)."""
    reference: Mapping[str, highdicom.Volume]
    """bool: voxels whose centre lies in the structure."""
    distance_mm: Mapping[str, Callable[[ArrayLike], NDArray[np.float64]]]
    """Signed distance (N,) of LPS points (N, 3) to each structure of `reference`: positive outside, see
    TrueDistance."""
    corridor: Corridor

    def boxes(self, structure: str, *, axis: int = 0, count: int = 3, margin_mm: float = 2.0) -> tuple[Box, ...]:
        """2D boxes around `structure` on `count` evenly spaced slices across array `axis`, grown by `margin_mm`.

        Only slices that hold at least a tenth of the voxels of the fullest one are used.

        Raises
        ------
        GeometryError
            If there is no such structure, or fewer such slices than boxes.
        """
        mask = self._mask(structure)
        areas = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        slices = np.flatnonzero(areas >= max(1, 0.1 * areas.max()))
        if not 1 <= count <= len(slices):
            raise GeometryError(f"Expected 1 to {len(slices)} boxes for '{structure}', got {count}.")
        chosen = slices[np.rint(np.linspace(0, len(slices) - 1, count + 2)[1:-1]).astype(int)]
        affine = self.volume_hu.affine
        padding = np.delete(np.rint(margin_mm / spacing_mm(affine)), axis)
        boxes = []
        for number in chosen:
            corners = padded_box(slice_across(mask, axis, int(number)), padding)
            low, high = np.insert(corners, axis, number, axis=1)
            boxes.append(Box(lps_from_index(affine, low), lps_from_index(affine, high)))
        return tuple(boxes)

    def true_clearance_mm(
        self,
        entry_lps_mm: ArrayLike,
        target_lps_mm: ArrayLike,
        structure: str,
        *,
        radius_mm: float,
        inside: bool = False,
        free_entry_mm: float = 0.0,
        step_mm: float = 0.2,
    ) -> float:
        """Clearance between a tool and the true surface of `structure`; negative where the tool pierces it.

        Parameters
        ----------
        entry_lps_mm, target_lps_mm : (3,)
            Ends of the tool's axis.
        structure : str
            A key of `reference`.
        radius_mm : float
            Of the tool.
        inside : bool
            The tool has to stay in the structure rather than out of it.
        free_entry_mm : float
            Path behind the entry that does not count.
        step_mm : float
            Distance between the points of the axis that are looked at; between them it may be half of it less.
        """
        entry, target = (np.asarray(p, dtype=np.float64) for p in (entry_lps_mm, target_lps_mm))
        length_mm = float(np.linalg.norm(target - entry))
        if not length_mm > free_entry_mm:
            raise GeometryError(f"Expected a path longer than {free_entry_mm} mm, got {length_mm:.1f} mm.")
        self._mask(structure)
        count = int(np.ceil((length_mm - free_entry_mm) / step_mm)) + 1
        along = np.linspace(free_entry_mm / length_mm, 1.0, count)[:, None]
        distance = self.distance_mm[structure](entry + along * (target - entry))
        return float((-distance if inside else distance).min() - radius_mm)

    def _mask(self, structure: str) -> NDArray[np.bool_]:
        if structure not in self.reference:
            raise GeometryError(f"Expected one of {', '.join(sorted(self.reference))}, got '{structure}'.")
        mask: NDArray[Any] = self.reference[structure].array
        return mask


def pelvis_phantom(settings: PhantomScan | None = None, *, progress: Progress | None = None) -> PelvisPhantom:
    """Build the anatomy and scan it. The same settings give the same voxels.

    Parameters
    ----------
    settings : PhantomScan, optional
    progress : Progress, optional
        Told of each tissue.

    Raises
    ------
    OperationCancelledError
        If cancellation was requested.
    """
    settings = PhantomScan() if settings is None else settings
    corridor = Corridor()
    middle = sacrum()
    hemipelvis, femur = hemipelvis_left(middle), femur_left()
    artery, vein, nerve = iliac_artery_left(), iliac_vein_left(), sciatic_nerve_left()
    structures: dict[str, Shape] = {
        "hemipelvis_left": hemipelvis,
        "hemipelvis_right": Mirrored(hemipelvis),
        "sacrum": middle,
        "femur_left": femur,
        "femur_right": Mirrored(femur),
        "iliac_artery": artery,
        "iliac_vein": vein,
        "sciatic_nerve": nerve,
        "corridor_bone": Common([hemipelvis, _around(corridor)]),
    }
    tissues = Tissues(structures, mirrored=("iliac_artery", "iliac_vein", "sciatic_nerve"))
    grid = highdicom.Volume(np.zeros(settings.shape, dtype=np.int16), settings.affine, coordinate_system="PATIENT")
    volume_hu, reference = scan(tissues, grid, noise_hu=settings.noise_hu, seed=settings.seed, progress=progress)
    return PelvisPhantom(
        volume_hu=volume_hu,
        reference=reference,
        distance_mm={name: TrueDistance(shape) for name, shape in structures.items()},
        corridor=corridor,
    )


def _around(corridor: Corridor) -> Shape:
    """Everything within 26 mm of the axis of the corridor, which is extended at both ends beyond any possible screw."""
    entry, target = np.array(corridor.entry_lps_mm), np.array(corridor.target_lps_mm)
    along = (target - entry) / np.linalg.norm(target - entry)
    return tube([entry - 10 * along, target + 10 * along], 26.0)
