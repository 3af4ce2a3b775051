"""The phantom has the anatomy it claims, looks like a CT, and its distances fit its voxels."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.demo.pelvis_phantom import Corridor, PhantomScan, pelvis_phantom
from medsam_planner.errors import GeometryError, OperationCancelledError
from medsam_planner.geometry import index_from_lps, lps_from_index
from prompts import box_extent

COARSE = PhantomScan(shape=(56, 84, 84), spacing_mm=(4.0, 4.0, 4.0))
NARROWEST_MM = 12.0


@pytest.fixture(scope="module")
def phantom():
    return pelvis_phantom(COARSE)


def inner(mask):
    """Voxels without partial volume: all their neighbours belong to the structure, too."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(mask)


def test_same_seed_gives_the_same_voxels_and_another_seed_other_noise(phantom):
    again = pelvis_phantom(COARSE)
    assert np.array_equal(again.volume_hu.array, phantom.volume_hu.array)
    small = {"shape": (12, 40, 40), "spacing_mm": (8.0, 8.0, 8.0)}
    first, second = (pelvis_phantom(PhantomScan(**small, seed=seed)) for seed in (1, 2))
    assert not np.array_equal(first.volume_hu.array, second.volume_hu.array)
    assert all(np.array_equal(first.reference[name].array, second.reference[name].array) for name in first.reference)


def test_scan_is_oblique_and_anisotropic_by_default():
    affine = PhantomScan().affine
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx([1.8, 1.3, 1.3])
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert directions.T @ directions == pytest.approx(np.eye(3), abs=1e-12)
    assert (np.abs(directions[:, ::-1] - np.eye(3)).max(axis=0) > 0.03).all()


def test_tissues_have_their_hounsfield_units(phantom):
    hu = phantom.volume_hu.array
    assert phantom.volume_hu.array.dtype == np.int16
    assert np.median(hu[0, 0]) == pytest.approx(-1000, abs=15)

    def median(name):
        return np.median(hu[phantom.reference[name].array])

    assert np.percentile(hu[phantom.reference["femur_left"].array], 90) > 600
    assert 150 < median("hemipelvis_left") < 800
    assert median("iliac_artery") > median("iliac_vein") + 40 > 140
    muscle = lps_from_index(phantom.volume_hu.affine, np.argwhere(hu > -2000))
    gluteal = np.linalg.norm(muscle - (85, 98, 0), axis=1) < 9
    assert np.median(hu.ravel()[gluteal]) == pytest.approx(58, abs=12)


def test_noise_has_its_strength():
    still, noisy = (
        pelvis_phantom(PhantomScan(shape=(16, 40, 40), spacing_mm=(8.0, 8.0, 8.0), noise_hu=n)) for n in (0, 20)
    )
    difference = noisy.volume_hu.array.astype(float) - still.volume_hu.array
    unclipped = still.volume_hu.array > -900
    assert difference[unclipped].std() == pytest.approx(20, rel=0.05)


def test_voxels_are_inside_exactly_where_the_distance_is_negative(phantom):
    rng = np.random.default_rng(0)
    for name in ("iliac_artery", "sciatic_nerve", "corridor_bone"):
        mask = phantom.reference[name].array
        index = np.vstack([rng.permutation(np.argwhere(m))[:60] for m in (mask, ~mask)])
        distance = phantom.distance_mm[name](lps_from_index(phantom.volume_hu.affine, index))
        assert np.array_equal(distance < 0, mask[tuple(index.T)])


def test_distance_grows_by_at_most_a_millimetre_per_millimetre(phantom):
    line = np.linspace((20.0, -60, 30), (110.0, 60, 45), 200)
    step = np.linalg.norm(line[1] - line[0])
    for name in ("iliac_vein", "corridor_bone"):
        assert np.abs(np.diff(phantom.distance_mm[name](line))).max() <= step * 1.001


def test_structures_do_not_run_through_each_other(phantom):
    names = [name for name in phantom.reference if name != "corridor_bone"]
    for n, first in enumerate(names):
        for second in names[n + 1 :]:
            assert not (phantom.reference[first].array & phantom.reference[second].array).any(), (first, second)
    assert not (phantom.reference["corridor_bone"].array & ~phantom.reference["hemipelvis_left"].array).any()


def test_structures_lie_where_the_anatomy_says(phantom):
    def middle(name):
        return lps_from_index(phantom.volume_hu.affine, np.argwhere(phantom.reference[name].array)).mean(axis=0)

    assert middle("hemipelvis_left")[0] > 60 and middle("hemipelvis_right")[0] < -60
    assert middle("femur_left")[0] == pytest.approx(-middle("femur_right")[0], abs=5)
    assert abs(middle("sacrum")[0]) < 2 and middle("sacrum")[1] > 40
    assert middle("iliac_artery")[1] < middle("sciatic_nerve")[1] - 40
    volume_ml = phantom.reference["hemipelvis_left"].array.sum() * 4.0**3 / 1000
    assert 250 < volume_ml < 450


def test_corridor_is_at_least_twelve_millimetres_wide_and_clear_of_vessels_and_nerve(phantom):
    path = Corridor()
    ends = (path.entry_lps_mm, path.target_lps_mm)
    room_mm = phantom.true_clearance_mm(
        *ends, "corridor_bone", radius_mm=NARROWEST_MM / 2, inside=True, free_entry_mm=path.free_entry_mm
    )
    assert room_mm > 0
    assert phantom.distance_mm["corridor_bone"]([path.entry_lps_mm])[0] == pytest.approx(0.0, abs=1.0)
    for name in ("iliac_artery", "iliac_vein", "sciatic_nerve"):
        assert 5 < phantom.true_clearance_mm(*ends, name, radius_mm=3.65) < 40


def test_corridor_bone_has_the_bones_own_surface_around_the_screw(phantom):
    """Cutting the corridor out of the bone must not change how far a screw is from the bone's surface."""
    path = Corridor()
    line = np.linspace(path.entry_lps_mm, path.target_lps_mm, 40)
    assert phantom.distance_mm["corridor_bone"](line) == pytest.approx(
        phantom.distance_mm["hemipelvis_left"](line), abs=0.05
    )


def test_line_through_the_artery_has_no_clearance(phantom):
    inside = lps_from_index(phantom.volume_hu.affine, np.argwhere(inner(phantom.reference["iliac_artery"].array))[0])
    across = np.array([40.0, 0, 0])
    assert phantom.true_clearance_mm(inside - across, inside + across, "iliac_artery", radius_mm=2.0) < -2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_boxes_are_2d_and_hold_the_structure_on_their_slice(phantom, axis):
    grid = phantom.volume_hu
    mask = phantom.reference["corridor_bone"].array
    boxes = phantom.boxes("corridor_bone", axis=axis, count=3)
    assert len(boxes) == 3
    for box in boxes:
        extent = box_extent(box, grid.affine, grid.spatial_shape)
        assert extent.axis == axis
        number = int(extent.low_index[axis])
        on_slice = np.zeros_like(mask)
        on_slice[(slice(None),) * axis + (number,)] = np.take(mask, number, axis=axis)
        assert on_slice.any() and mask[extent.slices].sum() == on_slice.sum()
        corner = index_from_lps(grid.affine, box.corner_lps_mm)
        assert corner == pytest.approx(np.rint(corner), abs=1e-6)


def test_what_is_not_there_is_refused(phantom):
    with pytest.raises(GeometryError, match="Expected one of corridor_bone"):
        phantom.boxes("liver")
    with pytest.raises(GeometryError, match="boxes for 'sacrum'"):
        phantom.boxes("sacrum", count=1000)
    with pytest.raises(GeometryError, match="path longer than"):
        phantom.true_clearance_mm((0, 0, 0), (0, 0, 5), "sacrum", radius_mm=1.0, free_entry_mm=9.0)
    with pytest.raises(GeometryError, match="at least 8 voxels"):
        PhantomScan(shape=(2, 256, 256))


def test_progress_is_told_and_cancelling_stops():
    class Watcher:
        def __init__(self, stop_after):
            self.stop_after, self.seen = stop_after, []

        @property
        def is_cancelled(self):
            return len(self.seen) > self.stop_after

        def update(self, stage, done, total):
            self.seen.append((done, total))

    tiny = PhantomScan(shape=(8, 20, 20), spacing_mm=(16.0, 16.0, 16.0))
    watcher = Watcher(10_000)
    pelvis_phantom(tiny, progress=watcher)
    assert watcher.seen[0][0] == 0 and watcher.seen[-1][0] == watcher.seen[-1][1] > 50
    with pytest.raises(OperationCancelledError):
        pelvis_phantom(tiny, progress=Watcher(5))
