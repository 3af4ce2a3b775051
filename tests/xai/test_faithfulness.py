from __future__ import annotations

import numpy as np
import pytest
import torch

from xai.errors import SaliencyError
from xai.faithfulness import measure_infidelity, overlap_with_structure

WEIGHTS = torch.randn(1, 16, 24, generator=torch.Generator().manual_seed(1))
IMAGE = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(2))
EVERYWHERE = np.ones((1, 16, 24), dtype=bool)


def linear(rows: torch.Tensor) -> torch.Tensor:
    return rows[:, 0] * WEIGHTS


def test_the_exact_map_of_a_linear_model_has_no_infidelity() -> None:
    """Replacing a square by the mean takes away w·(x − mean) summed over it, which is what the map claims."""
    exact = WEIGHTS * (IMAGE[:, 0] - IMAGE.mean())
    result = measure_infidelity(linear, IMAGE, exact, EVERYWHERE, seed=0)
    assert result.value[0] < 1e-6 * result.zero[0]
    assert result.relative[0] < 1e-6
    assert result.relative_of_chance[0] > 0.5


def test_infidelity_does_not_depend_on_the_scale_of_the_map_or_on_batching() -> None:
    claims = np.abs(np.random.default_rng(0).normal(size=(1, 16, 24)))
    first = measure_infidelity(linear, IMAGE, claims, EVERYWHERE, seed=4, batch=5)
    second = measure_infidelity(linear, IMAGE, 1000 * claims, EVERYWHERE, seed=4, batch=32)
    np.testing.assert_allclose(first.value, second.value, rtol=1e-4)
    assert 0 <= first.relative[0] <= 1


def test_a_uniform_map_scores_as_chance_and_an_empty_one_explains_nothing() -> None:
    uniform = measure_infidelity(linear, IMAGE, np.full((1, 16, 24), 3.0), EVERYWHERE, seed=0)
    np.testing.assert_allclose(uniform.value, uniform.uniform, rtol=1e-5)
    empty = measure_infidelity(linear, IMAGE, np.zeros((1, 16, 24)), EVERYWHERE, seed=0)
    assert empty.relative[0] == pytest.approx(1.0)


def test_the_reference_maps_cost_no_further_forward_pass() -> None:
    rows = []

    def counted(batch: torch.Tensor) -> torch.Tensor:
        rows.append(len(batch))
        return linear(batch)

    measure_infidelity(counted, IMAGE, np.ones((1, 16, 24)), EVERYWHERE, seed=0, perturbations=16, batch=8)
    assert sum(rows) == 16 + 2  # the unperturbed item once for each of two batches


def test_only_the_logits_inside_the_frozen_mask_count() -> None:
    mask = np.zeros_like(EVERYWHERE)
    mask[:, 4:9, 3:12] = True
    exact_inside = WEIGHTS.numpy() * (IMAGE[:, 0] - IMAGE.mean()).numpy() * mask
    assert measure_infidelity(linear, IMAGE, exact_inside, mask, seed=0).relative[0] < 1e-6


def test_two_items_with_two_masks_are_measured_each_on_its_own() -> None:
    images = torch.cat([IMAGE, IMAGE.flip(2)])
    masks = np.concatenate([EVERYWHERE, EVERYWHERE])
    masks[1, :, 12:] = False
    exact = WEIGHTS.numpy() * (images[:, 0] - images.mean((1, 2, 3))[:, None, None]).numpy() * masks
    assert (measure_infidelity(linear, images, exact, masks, seed=0).relative < 1e-6).all()


def test_a_model_that_ignores_its_input_has_no_relative_infidelity() -> None:
    result = measure_infidelity(lambda rows: torch.zeros(len(rows), 16, 24), IMAGE, EVERYWHERE, EVERYWHERE, seed=0)
    assert np.isnan(result.relative).all()


def test_maps_and_logits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SaliencyError, match="Expected inputs"):
        measure_infidelity(linear, IMAGE, np.ones((1, 8, 24)), EVERYWHERE, seed=0)
    with pytest.raises(SaliencyError, match="Expected logits"):
        measure_infidelity(lambda rows: linear(rows)[:, :4], IMAGE, np.ones((1, 16, 24)), EVERYWHERE, seed=0)
    with pytest.raises(SaliencyError, match="2 perturbations"):
        measure_infidelity(linear, IMAGE, np.ones((1, 16, 24)), EVERYWHERE, seed=0, perturbations=1)


def test_a_map_without_knowledge_scores_exactly_the_chance_level() -> None:
    mask = np.zeros((4, 5, 5), dtype=bool)
    mask[1:3, 1:4, 2:4] = True
    overlap = overlap_with_structure(np.ones(mask.shape), mask, top_share=0.3)
    assert overlap.chance == pytest.approx(12 / 100)
    assert overlap.top_inside == pytest.approx(overlap.chance)
    assert overlap.energy_inside == pytest.approx(overlap.chance)


def test_overlap_by_hand() -> None:
    mask = np.array([True, True, False, False, False])
    overlap = overlap_with_structure([4.0, 1.0, 3.0, 2.0, -9.0], mask)
    assert overlap.top_inside == 0.5  # of the two largest, 4 and 3, one lies inside
    assert overlap.energy_inside == 0.5  # 5 of 10; the negative counts as none
    assert overlap.top_share == overlap.chance == 0.4


def test_saliency_that_is_the_structure_overlaps_fully() -> None:
    mask = np.random.default_rng(0).random((6, 7)) < 0.3
    overlap = overlap_with_structure(mask.astype(float), mask)
    assert overlap.top_inside == overlap.energy_inside == 1.0


def test_voxels_outside_the_field_do_not_lower_the_chance_level() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[9:11, 9:11] = True
    field = np.zeros_like(mask)
    field[8:12, 8:12] = True
    overlap = overlap_with_structure(field.astype(float), mask, region=field)
    assert overlap.chance == overlap.energy_inside == 4 / 16
    assert overlap_with_structure(field.astype(float), mask).chance == 4 / 400


def test_empty_masks_silent_maps_and_other_shapes_are_refused() -> None:
    mask = np.array([True, False, False])
    with pytest.raises(SaliencyError, match="missing"):
        overlap_with_structure([0.0, 0.0, -1.0], mask)
    with pytest.raises(SaliencyError, match="missing"):
        overlap_with_structure([1.0, 2.0, 3.0], ~mask, region=mask)
    with pytest.raises(SaliencyError, match="one shape"):
        overlap_with_structure([1.0, 2.0], mask)
    with pytest.raises(SaliencyError, match="top_share"):
        overlap_with_structure([1.0, 2.0, 3.0], mask, top_share=0.0)
