"""KernelSHAP against Shapley values known on paper, and supervoxels that follow edges."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest

from xai.errors import SaliencyError
from xai.shap import kernel_shap, supervoxels


def quarters():
    pieces = np.zeros((8, 8), dtype=int)
    pieces[:4, 4:], pieces[4:, :4], pieces[4:, 4:] = 1, 2, 3
    return pieces


def exact_shapley(game, players):
    """From the definition: the mean gain of a player over all orders in which players can come."""
    values = np.zeros(players)
    for player in range(players):
        others = [other for other in range(players) if other != player]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for coalition in itertools.combinations(others, size):
                values[player] += weight * (game({*coalition, player}) - game(set(coalition)))
    return values


def test_of_a_sum_each_piece_is_given_its_own_term():
    pieces = quarters()
    image = np.random.default_rng(0).uniform(0, 1, (8, 8)).astype(np.float32)
    weight = np.array([1.0, -2.0, 0.0, 0.5])[pieces]
    found = kernel_shap(
        lambda images: (images * weight).sum(axis=(1, 2)), image, pieces, samples=200, seed=0, baseline=0.25
    )
    expected = [((image - 0.25) * weight)[pieces == piece].sum() for piece in range(4)]
    np.testing.assert_allclose(found.by_piece, expected, atol=1e-3)


def test_of_a_product_the_gain_is_shared_as_shapley_says():
    pieces = quarters()

    def game(present):
        return 6.0 * (0 in present) * (1 in present) + 2.0 * (2 in present) - 1.0 * (1 in present) * (3 in present)

    def answer(images):
        shown = [{piece for piece in range(4) if image[pieces == piece].mean() > 0.5} for image in images]
        return np.array([game(present) for present in shown])

    found = kernel_shap(answer, np.ones((8, 8)), pieces, samples=3000, seed=1, baseline=0.0)
    exact = exact_shapley(game, 4)
    np.testing.assert_allclose(exact, [3.0, 2.5, 2.0, -0.5])
    np.testing.assert_allclose(found.by_piece, exact, atol=0.15)


def test_the_contributions_add_up_to_what_the_image_changes():
    generator = np.random.default_rng(2)
    image = generator.uniform(0, 1, (24, 24)).astype(np.float32)
    pieces = supervoxels(image, 9)
    weight = generator.normal(size=image.shape)
    found = kernel_shap(
        lambda images: np.tanh((images * weight).sum(axis=(1, 2)) / 5), image, pieces, samples=400, seed=0
    )
    assert found.by_piece.sum() == pytest.approx(found.output - found.baseline_output, abs=0.02)
    assert found.per_pixel.sum() == pytest.approx(found.by_piece.sum(), abs=1e-4)
    assert found.per_pixel.shape == image.shape


def test_the_same_seed_gives_the_same_values_and_the_global_generator_is_left_alone():
    import torch

    pieces = quarters()
    image = np.random.default_rng(0).uniform(0, 1, (8, 8))

    def ask(seed):
        return kernel_shap(
            lambda images: images.max(axis=(1, 2)) * images.min(axis=(1, 2)), image, pieces, samples=20, seed=seed
        ).by_piece

    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(ask(3), ask(3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_supervoxels_follow_an_edge_in_two_and_three_dimensions():
    image = np.zeros((20, 24))
    image[:, 11:] = 1.0
    pieces = supervoxels(image, 12)
    assert sorted(np.unique(pieces)) == list(range(pieces.max() + 1))
    for piece in range(pieces.max() + 1):
        assert np.ptp(image[pieces == piece]) == 0  # no piece lies on both sides
    solid = np.repeat(image[None], 6, axis=0)
    pieces = supervoxels(solid, 20, spacing_mm=(3.0, 1.0, 1.0))
    assert pieces.shape == solid.shape
    assert all(np.ptp(solid[pieces == piece]) == 0 for piece in range(pieces.max() + 1))


def test_what_cannot_be_attributed_is_refused():
    image, pieces = np.ones((8, 8)), quarters()
    with pytest.raises(SaliencyError, match="label"):
        kernel_shap(lambda images: images.sum((1, 2)), image, pieces[:4], samples=20, seed=0)
    with pytest.raises(SaliencyError, match="label"):
        kernel_shap(lambda images: images.sum((1, 2)), image, pieces * 2, samples=20, seed=0)
    with pytest.raises(SaliencyError, match="more samples"):
        kernel_shap(lambda images: images.sum((1, 2)), image, pieces, samples=4, seed=0)
    with pytest.raises(SaliencyError, match="finite numbers"):
        kernel_shap(lambda images: images.sum((1, 2)) * np.nan, image, pieces, samples=20, seed=0)
    with pytest.raises(SaliencyError, match="finite image"):
        supervoxels(np.full((4, 4), np.nan), 4)
