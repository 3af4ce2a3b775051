"""From the phantom's shapes to Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.demo import pelvis_soft_tissue as soft
from medsam_planner.demo.implicit_grid import distance_on_grid, grid_region
from medsam_planner.demo.implicit_shapes import Ball, Mirrored, Offset, Shape, sheet, tube
from medsam_planner.demo.pelvis_bones import HIP_CENTRE_LPS_MM, lumbar_vertebra, symphysis
from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.volumes import volume_like

__all__ = ["Tissues", "scan"]

AIR_HU, FAT_HU, SKIN_HU, MUSCLE_HU, CARTILAGE_HU = -1000.0, -105.0, 10.0, 58.0, 85.0
CORTEX_HU, MARROW_HU, FATTY_MARROW_HU = 1350.0, 190.0, -20.0
ARTERY_HU, VEIN_HU, NERVE_HU = 290.0, 165.0, 38.0
"""Portal venous phase; the nerve is a little darker than muscle and shows by the fat around it."""

_MARROW_TEXTURE_HU, _TISSUE_TEXTURE_HU = 40.0, 5.0
_TEXTURE_MM = 1.6
_MUSCLE_GROWTH_MM = 4.0
_BLUR_MM = 0.55
"""Standard deviation of the point spread in the slice: a soft-tissue kernel."""
_NOISE_PIXELS = 0.65
"""Neighbouring pixels share noise: reconstruction correlates it."""

_FASCIA = soft.BodyOutline(inset_mm=7.0)
"""Muscles end below the fat under the skin."""

Paint = Callable[["_Canvas"], None]


@dataclass(frozen=True, slots=True, eq=False)
class Tissues:
    """Named structures of the reference, and which of them also appear, unnamed, on the other side."""

    structures: Mapping[str, Shape]
    mirrored: tuple[str, ...]


def scan(
    tissues: Tissues, grid: highdicom.Volume, *, noise_hu: float, seed: int, progress: Progress | None = None
) -> tuple[highdicom.Volume, dict[str, highdicom.Volume]]:
    """Hounsfield units (int16) on `grid`, and the mask of each named structure."""
    canvas = _Canvas(grid, np.random.default_rng(seed))
    for paint in track(list(_paints(tissues)), "phantom", progress):
        paint(canvas)
    return volume_like(grid, canvas.scanned(noise_hu)), {
        name: volume_like(grid, mask) for name, mask in canvas.masks.items()
    }


def _paints(tissues: Tissues) -> Iterator[Paint]:
    """Every tissue, back to front: later ones cover earlier ones."""

    def fill(shape: Shape, hu: float, name: str | None = None) -> Paint:
        return lambda canvas: canvas.fill(shape, hu, name)

    def bone(shape: Shape, cortex_mm: float, name: str | None = None, shaft_mm: float | None = None) -> Paint:
        return lambda canvas: canvas.bone(shape, cortex_mm, name, shaft_mm)

    yield fill(soft.BodyOutline(), SKIN_HU)
    yield fill(soft.BodyOutline(inset_mm=1.8), FAT_HU)
    packed = _Packed([side for muscle in soft.muscles_left() for side in (muscle, Mirrored(muscle))], _FASCIA)
    yield from packed.paints()
    for loop in soft.bowel():
        yield fill(loop, 45.0)
        yield fill(Offset(loop, -2.2), 22.0)
    for organ in soft.solid_organs():
        yield fill(organ, 45.0)
    yield fill(soft.fluid_organs(), 40.0)
    yield fill(Offset(soft.fluid_organs(), -2.5), 6.0)
    yield fill(soft.bowel_gas(), -850.0)
    yield lambda canvas: canvas.grain(_TISSUE_TEXTURE_HU)
    for name, hu in (("iliac_vein", VEIN_HU), ("iliac_artery", ARTERY_HU), ("sciatic_nerve", NERVE_HU)):
        shape = tissues.structures[name]
        if name == "sciatic_nerve":
            yield fill(Offset(shape, 2.5), FAT_HU)
            yield fill(Offset(Mirrored(shape), 2.5), FAT_HU)
        yield fill(shape, hu, name)
        if name in tissues.mirrored:
            yield fill(Mirrored(shape), hu)
    for cartilage in _cartilages():
        yield fill(cartilage, CARTILAGE_HU)
    yield bone(tissues.structures["femur_left"], 1.5, "femur_left", 5.0)
    yield bone(tissues.structures["femur_right"], 1.5, "femur_right", 5.0)
    yield bone(lumbar_vertebra(), 1.4)
    yield bone(tissues.structures["sacrum"], 1.4, "sacrum")
    yield bone(tissues.structures["hemipelvis_left"], 1.9, "hemipelvis_left")
    yield bone(tissues.structures["hemipelvis_right"], 1.9, "hemipelvis_right")
    yield lambda canvas: canvas.name(tissues.structures["corridor_bone"], "corridor_bone")


def _cartilages() -> list[Shape]:
    joint = sheet([[(52, 46, 74), (50, 74, 72)], [(50, 50, 46), (49, 74, 46)]], [[4.0, 4.0], [4.0, 4.0]])
    hip = Ball(HIP_CENTRE_LPS_MM, 27.4)
    disc = sheet([[(-13, 34, 97), (13, 34, 97)], [(-13, 10, 112), (13, 10, 112)]], [[8.0, 8.0], [8.0, 8.0]])
    capsule = tube([(88, 0, 0), (108, 5, -17)], [27.0, 20.0])
    return [symphysis(), disc, capsule, Mirrored(capsule), hip, Mirrored(hip), joint, Mirrored(joint)]


class _Packed:
    """Muscles grown until they almost touch: thin fat planes stay where two are equally near."""

    def __init__(self, muscles: Sequence[Shape], fascia: Shape) -> None:
        self._muscles, self._fascia = muscles, fascia
        self._nearest: NDArray[np.float32] | None = None
        self._second: NDArray[np.float32] | None = None

    def paints(self) -> Iterator[Paint]:
        """One step for each muscle, and one that paints them all."""
        for muscle in self._muscles:
            yield partial(self._add, muscle)
        yield self._put

    def _add(self, muscle: Shape, canvas: _Canvas) -> None:
        band_mm = _MUSCLE_GROWTH_MM + 2 * canvas.ramp_mm
        if self._nearest is None or self._second is None:
            self._nearest, self._second = (np.full(canvas.shape, band_mm, dtype=np.float32) for _ in range(2))
        found = canvas.near(muscle, band_mm)
        if found is None:
            return
        region, distance = found
        nearest, second = self._nearest[region], self._second[region]
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)

    def _put(self, canvas: _Canvas) -> None:
        found = canvas.near(self._fascia, canvas.ramp_mm)
        if self._nearest is None or self._second is None or found is None:
            return
        region, outside = found
        nearest, second = self._nearest[region], self._second[region]
        plane = np.clip((second - nearest) / canvas.ramp_mm, 0.25, 1)
        canvas.mix(region, canvas.share(np.maximum(nearest - _MUSCLE_GROWTH_MM, outside)) * plane, MUSCLE_HU)


class _Canvas:
    """Image under construction, HU."""

    def __init__(self, grid: highdicom.Volume, rng: np.random.Generator) -> None:
        self.affine = np.asarray(grid.affine, dtype=np.float64)
        k, j, i = grid.spatial_shape
        self.shape = (int(k), int(j), int(i))
        self.spacing_mm = spacing_mm(self.affine)
        self.ramp_mm = float(np.cbrt(self.spacing_mm.prod()))
        self.hu = np.full(self.shape, AIR_HU, dtype=np.float32)
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self._rng = rng
        self._texture = self._unit_noise(_TEXTURE_MM / self.spacing_mm)

    def fill(self, shape: Shape, hu: float, name: str | None) -> None:
        """Give `shape` one value."""
        found = self.near(shape, self.ramp_mm / 2)
        if found is not None:
            region, distance = found
            self.mix(region, self.share(distance), hu)
        if name is not None:
            self._remember(found, name)

    def bone(self, shape: Shape, cortex_mm: float, name: str | None, shaft_mm: float | None) -> None:
        """Marrow with a cortex of `cortex_mm`, which grows to `shaft_mm` along the shaft of a femur."""
        deepest_mm = max(cortex_mm, shaft_mm or 0.0)
        found = self.near(shape, deepest_mm + self.ramp_mm / 2)
        if found is not None:
            region, distance = found
            thickness: float | NDArray[np.float64] = cortex_mm
            marrow = MARROW_HU + _MARROW_TEXTURE_HU * self._texture[region]
            if shaft_mm is not None:
                index = np.meshgrid(*(np.arange(s.start, s.stop) for s in region), indexing="ij")
                down = np.clip((-20.0 - lps_from_index(self.affine, np.stack(index, axis=-1))[..., 2]) / 50.0, 0, 1)
                thickness = cortex_mm + (shaft_mm - cortex_mm) * down
                marrow = marrow + (FATTY_MARROW_HU - MARROW_HU) * down
            marrow_share = self.share(distance + thickness)
            self.mix(region, self.share(distance), CORTEX_HU + (marrow - CORTEX_HU) * marrow_share)
        if name is not None:
            self._remember(found, name)

    def name(self, shape: Shape, name: str) -> None:
        """Keep the mask of `shape` without painting it."""
        self._remember(self.near(shape, self.ramp_mm / 2), name)

    def grain(self, amplitude_hu: float) -> None:
        """Add texture to the tissues that have one."""
        self.hu += np.where(self.hu > -300, amplitude_hu * self._texture, 0).astype(np.float32)

    def scanned(self, noise_hu: float) -> NDArray[np.int16]:
        """The image blurred, with noise, rounded and clipped to twelve bits."""
        blur = np.array([0.6, 1.0, 1.0]) * _BLUR_MM / self.spacing_mm
        hu = ndimage.gaussian_filter(self.hu, blur)
        hu += noise_hu * self._unit_noise(np.array([0.25, 1.0, 1.0]) * _NOISE_PIXELS)
        return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)

    def near(self, shape: Shape, band_mm: float) -> tuple[tuple[slice, ...], NDArray[np.float32]] | None:
        region = grid_region(shape, self.affine, self.shape, band_mm)
        if region is None:
            return None
        affine = self.affine.copy()
        affine[:3, 3] = lps_from_index(self.affine, [axis.start for axis in region])
        k, j, i = (axis.stop - axis.start for axis in region)
        return region, distance_on_grid(shape, affine, (k, j, i), band_mm)

    def share(self, distance_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.clip(0.5 - distance_mm / self.ramp_mm, 0, 1).astype(np.float32)

    def mix(self, region: tuple[slice, ...], share: NDArray[np.float32], hu: float | NDArray[np.floating]) -> None:
        block = self.hu[region]
        block += share * (hu - block)

    def _remember(self, found: tuple[tuple[slice, ...], NDArray[np.float32]] | None, name: str) -> None:
        mask = np.zeros(self.shape, dtype=bool)
        if found is not None:
            mask[found[0]] = found[1] < 0
        self.masks[name] = mask

    def _unit_noise(self, sigma_voxels: NDArray[np.float64]) -> NDArray[np.float32]:
        noise = ndimage.gaussian_filter(self._rng.standard_normal(self.shape, dtype=np.float32), sigma_voxels)
        noise /= noise.std()
        return noise
