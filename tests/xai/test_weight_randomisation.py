from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from xai.errors import SaliencyError
from xai.saliency import grad_cam
from xai.weight_randomisation import randomise_weights, run_weight_randomisation

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def explain_sam(sam: Any) -> NDArray[np.float32]:
    def forward(images: torch.Tensor) -> torch.Tensor:
        box = torch.tensor([[[5.0, 5.0, 40.0, 44.0]]])
        return sam(pixel_values=images, input_boxes=box, multimask_output=False).pred_masks[:, 0, 0]

    mask = np.zeros((1, 32, 32), dtype=bool)
    mask[:, 4:20, 4:20] = True
    return grad_cam(forward, sam.vision_encoder.neck, IMAGES, mask, relu=False)


def explain_by_edges(network: nn.Module) -> NDArray[np.float32]:
    """An edge detector that poses as an explanation and never looks at the network."""
    return np.abs(np.diff(IMAGES[0, 0].numpy(), axis=0))


def test_grad_cam_of_sam_forgets_with_the_weights(tiny_sam_builder: Any) -> None:
    check = run_weight_randomisation(tiny_sam_builder(), explain_sam, seed=0, stages=3)
    assert check.randomised_share == pytest.approx((1 / 3, 2 / 3, 1.0))
    assert len(check.rank_correlation) == len(check.ssim) == 3
    assert abs(check.rank_correlation[-1]) < 0.5
    assert check.ssim[-1] < 0.5


def test_a_map_that_ignores_the_network_is_found_out() -> None:
    check = run_weight_randomisation(nn.Conv2d(3, 8, 3), explain_by_edges, seed=0)
    assert check.rank_correlation == pytest.approx((1.0,))
    assert check.ssim == pytest.approx((1.0,))


def test_a_map_that_goes_silent_counts_as_forgotten() -> None:
    network = nn.Linear(4, 4)
    original = network.weight.detach().clone()

    def explain(candidate: nn.Module) -> NDArray[np.float64]:
        return np.eye(8) if torch.equal(candidate.weight, original) else np.zeros((8, 8))

    assert run_weight_randomisation(network, explain, seed=0).rank_correlation == (0.0,)


def test_randomising_shuffles_a_copy_and_leaves_the_network_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 3))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    copy = randomise_weights(network, seed=0)
    assert all(torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))
    for shuffled, original in zip(copy.parameters(), before, strict=True):
        assert torch.equal(shuffled.flatten().sort().values, original.flatten().sort().values)
    assert not torch.equal(copy[0].weight, network[0].weight)
    assert not torch.equal(copy[2].weight, network[2].weight)


def test_a_share_starts_at_the_output_end_and_repeats_what_more_would_do() -> None:
    network = nn.Sequential(nn.Linear(9, 9, bias=False), nn.Linear(9, 9, bias=False))
    half, full = randomise_weights(network, seed=7, share=0.5), randomise_weights(network, seed=7)
    assert torch.equal(half[0].weight, network[0].weight)
    assert not torch.equal(half[1].weight, network[1].weight)
    assert torch.equal(half[1].weight, full[1].weight)


def test_no_stage_no_share_and_a_constant_map_are_refused() -> None:
    network = nn.Linear(4, 4)
    with pytest.raises(SaliencyError, match="stage"):
        run_weight_randomisation(network, explain_by_edges, seed=0, stages=0)
    with pytest.raises(SaliencyError, match="share"):
        randomise_weights(network, seed=0, share=0.0)
    with pytest.raises(SaliencyError, match="varies"):
        run_weight_randomisation(network, lambda candidate: np.ones((8, 8)), seed=0)
