"""Samples are functions of their seed, and what they claim about truth and prompt holds on every plane."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.training.anatomy import LabelVolume, indexed, procedural_anatomy
from medsam_planner.training.appearance import degrade, paint
from medsam_planner.training.batches import Batch, SampleFactory
from medsam_planner.training.config import DataConfig, TrainingConfig
from medsam_planner.training.loop import carried_maps
from medsam_planner.training.sampling import draw_sample
from medsam_planner.training.simulated_prompts import correction, drifted, grown_box, inner_click, outer_click
from medsam_planner.training.sources import case_folders, read_case, trained_on, with_rule_based_structures


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


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 1.2)])
def test_samples_of_a_ball_are_round_and_bright_inside_on_every_plane_and_spacing(spacing):
    volume = _ball(spacing)
    rng = np.random.default_rng(0)
    correlations, proportions = [], []
    for _ in range(30):
        sample = draw_sample([volume], rng, 64)
        assert sample.image.shape == sample.truth.shape == (64, 64)
        if sample.truth.sum() < 60:
            continue
        inside, outside = sample.image[sample.truth].mean(), sample.image[~sample.truth].mean()
        correlations.append(abs(inside - outside) / (sample.image.std() + 1e-6))
        rows, columns = np.nonzero(sample.truth)
        touches = rows.min() == 0 or columns.min() == 0 or rows.max() == 63 or columns.max() == 63
        if not touches:
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            proportions.append(height / width)
    assert np.median(correlations) > 1.0
    # A few slices are cut short on purpose.
    assert 0.9 < np.median(proportions) < 1.1


def test_boxes_hold_the_truth_and_clicks_tell_it_from_the_rest(anatomy):
    rng = np.random.default_rng(1)
    volume = _ball((1.0, 1.0, 1.0))
    boxes = 0
    for _ in range(60):
        sample = draw_sample([volume, anatomy], rng, 64)
        prompt = sample.prompt
        assert not prompt.is_empty()
        if prompt.points is not None:
            for (row, column), positive in zip(prompt.points, prompt.labels, strict=True):
                near = sample.truth[
                    max(round(row) - 2, 0) : round(row) + 3, max(round(column) - 2, 0) : round(column) + 3
                ]
                assert near.any() if positive else not near.all()
        if prompt.box is not None and prompt.mask is None and sample.truth.any():
            rows, columns = np.nonzero(sample.truth)
            boxes += 1
            slack = 0.12 * max(np.ptp(rows), np.ptp(columns)) + 4
            assert prompt.box[0] - slack <= rows.min() and rows.max() <= prompt.box[2] + slack
            assert prompt.box[1] - slack <= columns.min() and columns.max() <= prompt.box[3] + slack
    assert boxes > 10


def test_a_mask_comes_with_the_image_it_was_drawn_on_painted_like_the_slice_itself():
    rng = np.random.default_rng(8)
    labels = np.zeros((40, 48, 48), dtype=np.uint8)
    labels[:, 14:34, 14:34] = 1  # a column: every slice across it looks alike
    column = indexed(LabelVolume("column", labels, (1.0, 1.0, 1.0), ((1,),)))
    samples = [draw_sample([column], rng, 32) for _ in range(120)]
    with_mask = [sample for sample in samples if sample.prompt.mask is not None]
    shown = [sample for sample in with_mask if sample.prompt.example is not None and sample.truth.any()]
    assert 0.6 < sum(sample.prompt.example is not None for sample in with_mask) / len(with_mask) < 1.0
    assert all(sample.prompt.example is None for sample in samples if sample.prompt.mask is None)
    alike = [np.corrcoef(sample.image.ravel(), sample.prompt.example.ravel())[0, 1] for sample in shown]
    assert np.median(alike) > 0.5


def test_first_steps_are_drawn_at_the_coarse_size(tmp_path):
    config = TrainingConfig(
        out=tmp_path,
        batch=2,
        size=64,
        coarse_size=32,
        coarse_steps=3,
        data=DataConfig(procedural_pool=1, procedural_refresh=50, procedural_side=36),
    )
    factory = SampleFactory(config)
    assert factory.batch(2).truth.shape == (2, 32, 32)
    assert factory.batch(3).truth.shape == (2, 64, 64)


def test_structures_that_end_give_empty_slices_under_a_mask_prompt():
    rng = np.random.default_rng(2)
    empty = [s for s in (draw_sample([_ball((2.0, 1.0, 1.0))], rng, 32) for _ in range(150)) if not s.truth.any()]
    assert empty
    assert all(sample.prompt.mask is not None for sample in empty)


def test_a_field_smaller_than_the_structure_counts_what_it_misses():
    rng = np.random.default_rng(5)
    cut = 0
    for _ in range(80):
        sample = draw_sample([_ball((1.0, 1.0, 1.0))], rng, 48)
        inner = sample.truth.copy()
        inner[1:-1, 1:-1] = False
        if inner.any():
            cut += sample.outside_px > 20
        else:
            # Rounding to whole pixels of the slice is all that may be missing.
            assert sample.outside_px < 0.1 * sample.truth.sum() + 10
    assert cut > 0


def test_batches_depend_on_seed_and_index_alone(tmp_path):
    config = TrainingConfig(
        out=tmp_path, batch=3, size=32, data=DataConfig(procedural_pool=1, procedural_refresh=50, procedural_side=36)
    )
    one, other = SampleFactory(config), SampleFactory(config)
    other.batch(0)
    first, second = one.batch(4), other.batch(4)
    for name in ("images", "prompts", "truth", "outside_px"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.images.shape == (3, 3, 32, 32)
    assert first.prompts.shape == (3, 9, 32, 32)


def test_painting_and_degrading_repeat_with_their_seed_and_leave_their_input_alone():
    shares = np.zeros((2, 2, 32, 32), dtype=np.float32)
    shares[0, :, :16], shares[1, :, 16:] = 1, 1
    before = shares.copy()
    images = [paint(shares, np.random.default_rng(9)) for _ in range(2)]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(shares, before)
    image = images[0].copy()
    degraded = [degrade(image, np.random.default_rng(4), strength=1.0, native_px=2.0) for _ in range(2)]
    np.testing.assert_array_equal(degraded[0], degraded[1])
    np.testing.assert_array_equal(image, images[0])
    assert np.all(np.isfinite(degraded[0]))


# -- simulated prompts ------------------------------------------------------------------------------------------------


def test_the_correction_falls_into_the_largest_error_with_its_sign():
    truth = np.zeros((40, 40), dtype=bool)
    truth[5:25, 5:25] = True
    predicted = truth.copy()
    predicted[5:15, 5:25] = False
    predicted[30:34, 30:34] = True
    for seed in range(8):
        (row, column), positive = correction(truth, predicted, np.random.default_rng(seed))
        assert positive
        assert 5 <= row < 15 and 5 <= column < 25
    (row, column), positive = correction(truth, truth | predicted, np.random.default_rng(0))
    assert not positive
    assert 30 <= row < 34 and 30 <= column < 34
    assert correction(truth, truth, np.random.default_rng(0)) is None


def test_clicks_fall_inside_and_outside_as_asked():
    mask = np.zeros((30, 30), dtype=bool)
    mask[10:18, 4:27] = True
    for seed in range(20):
        rng = np.random.default_rng(seed)
        row, column = inner_click(mask, rng).astype(int)
        assert mask[row, column]
        row, column = outer_click(mask, rng).astype(int)
        assert not mask[row, column]
    assert outer_click(np.ones((5, 5), dtype=bool), np.random.default_rng(0)) is None


def test_boxes_grow_by_at_most_five_in_256_of_the_slice_or_a_share_of_the_structure():
    low, high = np.array([100.0, 120.0]), np.array([160.0, 200.0])
    for seed in range(50):
        box = grown_box(low, high, np.random.default_rng(seed), slice_mm=400.0)
        assert np.all(box[0] >= low - 0.16 * 80 - 2)
        assert np.all(box[1] <= high + 0.16 * 80 + 2)
        assert np.all(box[0] <= low + 5)


def test_a_drifted_mask_stays_a_probability_over_nearly_the_same_place():
    mask = np.zeros((48, 48), dtype=np.float32)
    mask[14:34, 10:38] = 1
    overlaps = []
    for seed in range(30):
        soft = drifted(mask, np.random.default_rng(seed), native_px=1.0)
        assert soft.min() >= 0 and soft.max() <= 1
        both = ((soft > 0.5) & (mask > 0)).sum()
        overlaps.append(2 * both / ((soft > 0.5).sum() + mask.sum()))
    assert np.mean(overlaps) > 0.8
    assert min(overlaps) < 0.97


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
    truth = np.zeros_like(bone)
    truth[6:18, 8:20, 4:16] = True
    assert 2 * (bone & truth).sum() / (bone.sum() + truth.sum()) > 0.95


def test_held_out_cases_are_neither_opened_nor_listed(case_folder):
    root = case_folder.parents[1]
    assert case_folders(root / "cases", exclude=()) == [case_folder]
    assert case_folders(root / "cases", exclude=("ct_*",)) == []
    assert "ct_block_01" in trained_on(DataConfig(root=root))
    assert "ct_block_01" not in trained_on(DataConfig(root=root, held_out=("ct_*",)))


def test_an_absent_folder_of_cases_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no_such"):
        case_folders(tmp_path / "no_such", exclude=())


def test_layers_of_one_tissue_are_painted_alike():
    shares = np.zeros((3, 1, 30, 30), dtype=np.float32)
    for layer in range(3):
        shares[layer, :, 10 * layer : 10 * layer + 10] = 1
    apart, alike = [], []
    for seed in range(40):
        for tissues, found in (((), apart), (((0, 2),), alike)):
            image = paint(shares, np.random.default_rng(seed), tissues)[0]
            found.append(abs(image[:10].mean() - image[20:].mean()))
    assert np.median(alike) < 0.05 < np.median(apart)


def test_the_slice_a_walk_comes_to_lies_in_the_same_field():
    rng = np.random.default_rng(3)
    labels = np.zeros((40, 48, 48), dtype=np.uint8)
    labels[:, 14:34, 14:34] = 1  # every slice across the column looks alike
    column = indexed(LabelVolume("column", labels, (1.0, 1.0, 1.0), ((1,),)))
    samples = [sample for sample in (draw_sample([column], rng, 32) for _ in range(80)) if sample.onward is not None]
    same = [np.array_equal(sample.truth, sample.onward.truth) for sample in samples if sample.truth.any()]
    assert np.mean(same) > 0.5
    alike = [np.corrcoef(s.image.ravel(), s.onward.image.ravel())[0, 1] for s in samples if s.truth.any()]
    assert np.median(alike) > 0.5


def test_walks_come_over_the_end_of_structures():
    rng = np.random.default_rng(4)
    samples = [draw_sample([_ball((1.0, 1.0, 1.0))], rng, 32) for _ in range(120)]
    ended = [s for s in samples if s.onward is not None and s.truth.any() and not s.onward.truth.any()]
    assert 3 < len(ended) < 60


def _walking_batch(out: Path, *, size: int, share: float) -> Batch:
    data = DataConfig(procedural_pool=1, procedural_refresh=50, procedural_side=36)
    return SampleFactory(TrainingConfig(out=out, batch=size, size=32, walk_share=share, data=data)).batch(0)


def test_a_batch_walks_on_from_its_share_of_samples(tmp_path):
    batch = _walking_batch(tmp_path, size=6, share=0.5)
    assert len(batch.walked) <= 3
    count = len(batch.walked)
    assert batch.onward_images.shape == (count, 3, 32, 32)
    assert batch.onward_truth.shape == (count, 32, 32)
    assert batch.onward_outside_px.shape == (count,)
    answers = np.where(batch.truth, 5.0, -5.0).astype(np.float32)
    maps = carried_maps(batch, answers, np.random.default_rng(0))
    for layer, index in enumerate(batch.walked):
        np.testing.assert_array_equal(maps[layer, 4] > 0.5, batch.truth[index])
        assert maps[layer, 8].min() > 0


def test_a_hopeless_answer_is_not_carried_but_the_truth(tmp_path):
    batch = _walking_batch(tmp_path, size=4, share=1.0)
    wrong = np.where(batch.truth, -5.0, 5.0).astype(np.float32)
    maps = carried_maps(batch, wrong, np.random.default_rng(0))
    for layer, index in enumerate(batch.walked):
        np.testing.assert_array_equal(maps[layer, 4] > 0.5, batch.truth[index])


def test_twins_across_a_gap_and_bones_of_a_volume_share_their_tissue():
    drawn = [procedural_anatomy(np.random.default_rng(seed), side=48) for seed in range(12)]
    tissues = [tissue for volume in drawn for tissue in volume.tissues if len(tissue) > 1]
    assert tissues
    assert all(len(set(tissue)) == len(tissue) for tissue in tissues)
