"""Samples are functions of their seed, with a correct reference and prompt on every plane."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.training.anatomy import procedural_anatomy
from medsam_planner.lab.training.appearance import degrade
from medsam_planner.lab.training.batches import Batch, SampleFactory
from medsam_planner.lab.training.config import DataConfig, TrainingConfig
from medsam_planner.lab.training.data_folder import case_folders, map_files, read_case, read_label_map, trained_on
from medsam_planner.lab.training.label_volume import LabelVolume, indexed
from medsam_planner.lab.training.painting import painted, smoothly_finer
from medsam_planner.lab.training.rule_based import with_rule_based_structures
from medsam_planner.lab.training.simulated_prompts import training_box
from medsam_planner.lab.training.stacks import SLICES, chance_of_use, draw_stack
from medsam_planner.lab.training.targets import Target, TargetKind, draw_target
from medsam_planner.lab.training.tissues import Tissue, random_intensities, tissue_of


@pytest.fixture(scope="module")
def anatomy() -> LabelVolume:
    return procedural_anatomy(np.random.default_rng(3), side=48)


def _ball(spacing: tuple[float, float, float]) -> LabelVolume:
    """A ball of 12 mm radius at 30 mm along every axis, brighter than its surroundings."""
    shape = tuple(int(60 / step) for step in spacing)
    axes = np.meshgrid(*(np.arange(n) * step - 30 for n, step in zip(shape, spacing, strict=True)), indexing="ij")
    labels = (np.sqrt(sum(axis**2 for axis in axes)) < 12).astype(np.uint8)
    return indexed(LabelVolume("ball", labels, spacing, ((1,),), image=labels * np.float32(100)))


def test_procedural_anatomy_repeats_with_its_seed_and_lists_only_structures_that_are_there(anatomy):
    again = procedural_anatomy(np.random.default_rng(3), side=48)
    np.testing.assert_array_equal(anatomy.labels, again.labels)
    assert len(anatomy.structures) >= 3
    for structure in anatomy.structures:
        assert np.isin(anatomy.labels, structure).any()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.9, 0.9), (0.9, 3.0, 0.7)])
def test_a_ball_of_a_real_case_is_round_bright_and_as_wide_as_it_should_be_on_every_slice(spacing):
    for seed in range(12):
        stack = draw_stack([_ball(spacing)], np.ones(1), np.random.default_rng(seed), 48)
        step_mm = stack.sides_mm / 48
        for image, reference, step in zip(stack.images, stack.reference, step_mm, strict=True):
            if reference.sum() < 60 or reference[[0, -1]].any() or reference[:, [0, -1]].any():
                continue
            area_mm2 = reference.sum() * step**2
            assert area_mm2 <= np.pi * (12 + max(spacing) / 2) ** 2
            inside, outside = image[reference], image[~reference]
            assert abs(np.median(inside) - np.median(outside)) > 2 * min(inside.std(), outside.std())


def test_slices_of_a_ball_shrink_as_the_ball_does():
    """A ball of 12 mm without a warp: r² = 144 − h² on a slice at h from its centre."""
    ball = _ball((1.0, 1.0, 1.0))
    found = 0
    for seed in range(40):
        stack = draw_stack([ball], np.ones(1), np.random.default_rng(seed), 48)
        if stack.reference[:, [0, -1]].any() or stack.reference[:, :, [0, -1]].any() or stack.prompt.box is None:
            continue
        area = stack.reference.sum((1, 2)) * (stack.sides_mm / 48) ** 2
        # h of the prompted slice from its own area; the others follow from their heights, to either side of it.
        first = np.sqrt(max(144 - area[0] / np.pi, 0))
        expected = [np.pi * np.maximum(144 - (sign * first + stack.heights_mm) ** 2, 0) for sign in (-1, 1)]
        assert min(np.abs(area - guess).max() for guess in expected) < 90
        found += 1
    assert found >= 5


def test_boxes_contain_the_reference_and_clicks_are_inside_it(anatomy):
    boxes = clicks = 0
    for seed in range(40):
        stack = draw_stack([anatomy], np.ones(1), np.random.default_rng(seed), 48)
        if stack.prompt.box is not None:
            boxes += 1
            occupied = np.argwhere(stack.reference[0])
            size = (occupied.max(0) - occupied.min(0) + 1).max()
            assert np.all(stack.prompt.box[:2] <= occupied.min(0) + 0.1 * size + 1)
            assert np.all(stack.prompt.box[2:] >= occupied.max(0) - 0.1 * size - 1)
        else:
            clicks += 1
            row, column = stack.prompt.points[0].astype(int)
            assert stack.reference[0, row, column]
            assert stack.prompt.labels[0]
    assert boxes > 10 and clicks > 5


def test_some_stacks_run_over_the_end_of_a_structure_and_the_prompted_slice_never_is_empty(anatomy):
    stacks = [draw_stack([anatomy], np.ones(1), np.random.default_rng(seed), 32) for seed in range(60)]
    assert all(stack.reference[0].sum() >= 16 for stack in stacks)
    assert sum(not stack.reference[1:].any(axis=(1, 2)).all() for stack in stacks) > 10


def test_a_crop_smaller_than_the_structure_counts_what_it_misses():
    ball = _ball((1.0, 1.0, 1.0))
    missed = [draw_stack([ball], np.ones(1), np.random.default_rng(seed), 32) for seed in range(80)]
    small = [stack for stack in missed if stack.sides_mm[0] < 24 and stack.reference[0].mean() > 0.7]
    assert small
    for stack in small:
        area_mm2 = (stack.reference[0].sum() + stack.outside_px[0]) * (stack.sides_mm[0] / 32) ** 2
        assert area_mm2 <= 1.1 * np.pi * 12**2


# -- targets ----------------------------------------------------------------------------------------------------------


def _disc_stack() -> tuple[np.ndarray, np.ndarray]:
    """One slice of 60 × 60 pixels of 1 mm with a disc of radius 15 around (30, 30), and where its pixels lie."""
    rows, columns = np.mgrid[:60, :60].astype(np.float32)
    labels = ((rows - 30) ** 2 + (columns - 30) ** 2 <= 15**2).astype(np.uint16)
    return labels[None], np.stack([np.zeros_like(rows), rows, columns], axis=-1)[None]


@pytest.mark.parametrize(
    ("kind", "inner_mm", "outer_mm"),
    [(TargetKind.SHELL, 15, 19), (TargetKind.WALL, 11, 15), (TargetKind.LUMEN, 0, 11), (TargetKind.LABELS, 0, 15)],
)
def test_a_wall_a_shell_and_a_lumen_have_the_area_of_their_ring(kind, inner_mm, outer_mm):
    labels, points = _disc_stack()
    target = Target(kind, (1,), np.array([0.0, 30.0, 30.0]), 20.0, thickness_mm=4.0)
    painted_labels, mask = target.applied(labels, points, 1.0, fresh=2)
    assert mask.sum() == pytest.approx(np.pi * (outer_mm**2 - inner_mm**2), rel=0.12)
    assert (painted_labels == 2).any() == (kind is not TargetKind.LABELS)
    assert set(np.unique(painted_labels)) <= {0, 1, 2}


def test_a_filled_target_includes_what_a_ring_encloses():
    labels, points = _disc_stack()
    labels[0, 25:36, 25:36] = 0
    _, mask = Target(TargetKind.FILLED, (1,), np.zeros(3), 20.0).applied(labels, points, 1.0, fresh=2)
    assert mask.sum() == pytest.approx(np.pi * 15**2, rel=0.02)


def test_a_lesion_lies_around_its_centre_and_a_painted_one_keeps_to_its_organ(anatomy):
    found = 0
    for seed in range(400):
        target = draw_target(anatomy, np.random.default_rng(seed))
        if target is None or target.kind is not TargetKind.LESION:
            continue
        found += 1
        body = target.bodies[0]
        assert body.holds(target.centre_mm[None].astype(np.float32)).all()
        assert not body.holds((target.centre_mm + 3 * target.reach_mm)[None].astype(np.float32)).any()
    assert found > 10


# -- contrast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("Rib8", Tissue.BONE),
        ("left lateral ventricle", Tissue.FLUID),
        ("aorta", Tissue.VESSEL),
        ("muscle psoas major left", Tissue.MUSCLE),
        ("lung right upper lobe", Tissue.LUNG),
        ("left kidney", Tissue.ORGAN),
        ("L4-L3-IntervertebralDisc", Tissue.CARTILAGE),
        ("other soft tissue (inside skin)", Tissue.UNSPLIT),
        ("", Tissue.UNKNOWN),
    ],
)
def test_a_name_tells_the_tissue(name, tissue):
    assert tissue_of(name) is tissue


def test_in_hounsfield_units_air_lies_below_fat_below_muscle_below_bone():
    tissues = np.array([Tissue.AIR, Tissue.FAT, Tissue.MUSCLE, Tissue.BONE], dtype=np.uint8)
    drawn = [random_intensities(tissues, np.random.default_rng(seed)) for seed in range(60)]
    ct = [values for values in drawn if values.min() < -500]
    assert len(ct) > 10
    assert all(np.all(np.diff(values) > 0) for values in ct)


def test_labels_that_are_alike_are_painted_alike():
    labels = np.zeros((1, 40, 40), dtype=np.uint16)
    labels[0, 5:15, 5:35], labels[0, 25:35, 5:35] = 1, 2
    tissues = np.full(3, Tissue.ORGAN, dtype=np.uint8)
    for seed in range(10):
        image = painted(labels, tissues, np.random.default_rng(seed), pixel_mm=1.0, alike=((1, 2),))[0]
        spread = np.ptp(image) + 1e-6
        assert abs(image[labels[0] == 1].mean() - image[labels[0] == 2].mean()) < 0.35 * spread


def test_painting_and_degrading_repeat_with_their_seed_and_leave_their_input_alone():
    labels = np.zeros((2, 32, 32), dtype=np.uint16)
    labels[:, 8:20, 10:25] = 1
    before, tissues = labels.copy(), np.zeros(2, dtype=np.uint8)
    images = [painted(labels, tissues, np.random.default_rng(9), pixel_mm=1.0) for _ in range(2)]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(labels, before)
    image = images[0].copy()
    degraded = [degrade(images[0], np.random.default_rng(4), strength=1.0, native_px=1.0) for _ in range(2)]
    np.testing.assert_array_equal(degraded[0], degraded[1])
    np.testing.assert_array_equal(image, images[0])
    assert np.all(np.isfinite(degraded[0]))


def test_interpolated_labels_keep_the_shape_and_area_of_a_disc():
    labels, _ = _disc_stack()
    finer = smoothly_finer(labels[:, ::3, ::3], 120)
    assert (finer[0] == 1).mean() == pytest.approx(np.pi * 15**2 / 3600, rel=0.1)


def test_batches_depend_on_seed_and_index_alone_and_begin_at_the_coarse_size(tmp_path):
    data = DataConfig(procedural_pool=1, procedural_side=36)
    config = TrainingConfig(out=tmp_path, batch=2, size=64, coarse_size=32, coarse_steps=2, data=data)
    first, again = SampleFactory(config), SampleFactory(config)
    again.batch(0)
    for name in Batch.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first.batch(1), name), getattr(again.batch(1), name))
    assert first.batch(1).reference.shape == (2, SLICES, 32, 32)
    assert first.batch(2).images.shape == (2, SLICES, 3, 64, 64)


# -- simulated prompts ------------------------------------------------------------------------------------------------


def test_boxes_are_padded_by_at_most_five_in_256_of_the_slice_or_a_share_of_the_structure():
    reference = np.zeros((256, 256), dtype=bool)
    reference[100:161, 120:201] = True
    low, high, extent = np.array([100, 120]), np.array([160, 200]), np.array([61, 81])
    for seed in range(50):
        first_row, first_column, last_row, last_column = training_box(
            reference, np.random.default_rng(seed), step_mm=1.0
        )
        below, above = low - (first_row, first_column), (last_row, last_column) - high
        assert np.all(np.maximum(below, above) <= np.maximum(5 / 256 * 450, 0.15 * extent))
        assert np.all(np.minimum(below, above) >= -0.06 * extent)


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def case_folder(tmp_path):
    import nibabel

    folder = tmp_path / "cases" / "ct_block_01"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    image = rng.normal(40, 10, (24, 30, 20)).astype(np.int16)
    labels = np.zeros(image.shape, dtype=np.int16)
    labels[6:18, 8:20, 4:16] = 300
    image[6:18, 8:20, 4:16] += 400
    affine = np.diag([0.8, 0.9, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    (folder / "meta.json").write_text(json.dumps({"modality": "CT"}))
    return folder


def test_a_case_is_read_with_its_spacing_and_labels_of_any_number(case_folder):
    case = read_case(case_folder)
    assert case.spacing_mm == pytest.approx((0.8, 0.9, 3.0))
    assert case.structures == ((1,),)
    assert case.extents[1] == (slice(6, 18), slice(8, 20), slice(4, 16))


def test_bones_are_found_by_threshold_in_ct(case_folder):
    ruled = with_rule_based_structures(read_case(case_folder), is_ct=True, seed=0)
    bone = ruled.labels == 1
    reference = np.zeros_like(bone)
    reference[6:18, 8:20, 4:16] = True
    assert 2 * (bone & reference).sum() / (bone.sum() + reference.sum()) > 0.95


def test_held_out_cases_are_neither_opened_nor_listed(case_folder):
    root = case_folder.parents[1]
    assert case_folders(root / "cases", exclude=()) == [case_folder]
    assert case_folders(root / "cases", exclude=("ct_*",)) == []
    assert "ct_block_01" in trained_on(DataConfig(root=root))
    assert "ct_block_01" not in trained_on(DataConfig(root=root, held_out=("ct_*",)))


def test_an_absent_folder_of_cases_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no_such"):
        case_folders(tmp_path / "no_such", exclude=())


def test_label_maps_keep_labels_above_255_and_their_tissues(tmp_path):
    import nibabel

    (tmp_path / "label_maps").mkdir()
    labels = np.zeros((20, 20, 20), dtype=np.int16)
    for number in range(300):
        labels.ravel()[8 * number : 8 * number + 8] = 700 + number
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "label_maps/body.nii.gz")
    names = {str(700 + number): "Rib8" for number in range(300)} | {"999": "skin"}
    (tmp_path / "label_maps/body.json").write_text(json.dumps({"labels": names}))
    volume = read_label_map(tmp_path / "label_maps/body.nii.gz", smallest_voxels=8)
    assert len(volume.structures) == 300
    assert np.unique(volume.labels).size == 301
    assert volume.tissue[1] == Tissue.BONE and volume.tissue[0] == Tissue.AIR
    assert map_files(DataConfig(root=tmp_path, held_out=("bod*",))) == []


def test_twins_across_a_gap_and_bones_of_a_volume_share_their_tissue():
    drawn = [procedural_anatomy(np.random.default_rng(seed), side=48) for seed in range(12)]
    tissues = [tissue for volume in drawn for tissue in volume.tissues if len(tissue) > 1]
    assert tissues
    assert all(len(set(tissue)) == len(tissue) for tissue in tissues)


def test_a_sample_is_used_if_a_person_would_see_its_structure() -> None:
    rows, columns = np.mgrid[:96, :96]
    disc = (rows - 48) ** 2 + (columns - 48) ** 2 < 20**2
    noise = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    assert chance_of_use(3 * disc + noise, disc) == 1.0
    assert chance_of_use(noise, disc) < 0.15  # the same place, where nothing is to be seen
    half_seen = noise + 6 * (disc & (columns < 48))  # its other half is as bright as what is around it
    assert 0.15 < chance_of_use(half_seen, disc) < 1.0
    first, second = ((rows - 48) ** 2 + (columns - at) ** 2 < 12**2 for at in (24, 72))
    assert chance_of_use(3 * (first | second) + noise, first | second) == pytest.approx(1 / 3)
