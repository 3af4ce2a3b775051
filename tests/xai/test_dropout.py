from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xai.dropout import SAM_MASK_DECODER_LAYERS, active_dropout, dropout_modules, insert_dropout, require_variance
from xai.errors import UncertaintyError, ZeroVarianceError

BOX = torch.tensor([[[5.0, 5.0, 40.0, 44.0]]])


def decode(sam: Any, embedding: torch.Tensor, runs: int, box: torch.Tensor = BOX) -> torch.Tensor:
    with torch.no_grad():
        answer = sam(
            image_embeddings=embedding.repeat(runs, 1, 1, 1),
            input_boxes=box.repeat(runs, 1, 1),
            multimask_output=False,
        )
    return answer.pred_masks[:, 0, 0]


@pytest.fixture
def sam(tiny_sam_builder: Any) -> Any:
    return tiny_sam_builder()


@pytest.fixture
def embedding() -> torch.Tensor:
    return torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(1))


class ChannelDropNet(nn.Module):
    """Batch norm, then channel dropout of ones: the output says which channels were kept."""

    def __init__(self, rate: float = 0.5, channels: int = 64) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout2d(rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(torch.ones_like(self.norm(x)))


def test_sam_has_no_dropout_of_its_own_and_sampling_it_is_refused(sam: Any) -> None:
    assert dropout_modules(sam) == {}
    with pytest.raises(ZeroVarianceError, match="insert_dropout"), active_dropout(sam, seed=0):
        pass


def test_dropout_with_rate_zero_or_one_does_not_count() -> None:
    network = nn.Sequential(nn.Dropout(0.0), nn.Dropout(1.0), nn.Dropout2d(0.2))
    assert list(dropout_modules(network)) == ["2"]


def test_inserted_dropout_makes_sam_passes_differ_and_leaves_the_plain_prediction_alone(
    sam: Any, embedding: torch.Tensor
) -> None:
    before = decode(sam, embedding, 1)
    inserted = insert_dropout(sam.mask_decoder, 0.1)
    assert (
        len(inserted.layers) == 3 * 2 + 1 + 2 + 1
    )  # three attentions in each of two blocks, one more, two MLPs, one conv
    assert torch.equal(decode(sam, embedding, 1), before)
    with active_dropout(sam.mask_decoder, seed=3):
        runs = decode(sam, embedding, 4)
    require_variance(runs.numpy())
    assert torch.equal(decode(sam, embedding, 1), before)


def test_insertion_adds_no_parameter_and_weights_load_before_or_after(tiny_sam_builder: Any) -> None:
    plain, dropped = tiny_sam_builder(), tiny_sam_builder()
    insert_dropout(dropped.mask_decoder, 0.1)
    assert list(dropped.state_dict()) == list(plain.state_dict())
    assert not dropped.load_state_dict(plain.state_dict(), strict=True).missing_keys
    assert not plain.load_state_dict(dropped.state_dict(), strict=True).unexpected_keys


def test_removing_inserted_dropout_leaves_none(sam: Any, embedding: torch.Tensor) -> None:
    inserted = insert_dropout(sam.mask_decoder, 0.1)
    inserted.remove()
    assert dropout_modules(sam) == {}
    insert_dropout(sam.mask_decoder, 0.2)


def test_a_deep_copy_keeps_inserted_dropout_and_drops_the_same(sam: Any, embedding: torch.Tensor) -> None:
    insert_dropout(sam.mask_decoder, 0.1)
    copy = deepcopy(sam)
    with active_dropout(sam.mask_decoder, seed=0), active_dropout(copy.mask_decoder, seed=0):
        assert torch.equal(decode(sam, embedding, 2), decode(copy, embedding, 2))


def test_the_same_seed_gives_the_same_passes_and_another_seed_others(sam: Any, embedding: torch.Tensor) -> None:
    insert_dropout(sam.mask_decoder, 0.1)
    answers = []
    for seed in (5, 5, 6):
        torch.rand(7)  # whatever else was drawn in between
        with active_dropout(sam.mask_decoder, seed=seed):
            answers.append(decode(sam, embedding, 3))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_a_pass_drops_the_same_channels_on_every_slice_and_for_every_prompt(sam: Any) -> None:
    insert_dropout(sam.mask_decoder, 0.3)
    kept: list[torch.Tensor] = []
    layer = sam.mask_decoder.transformer.layers[0].mlp.lin2
    layer.register_forward_hook(lambda module, arguments, output: kept.append((output != 0).all(dim=2)))
    with active_dropout(sam.mask_decoder, seed=0):
        for seed, boxes in ((0, BOX), (1, BOX + 9.0)):
            slice_embedding = torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(seed))
            decode(sam, slice_embedding, 4, boxes)
        points = torch.tensor([[[[9.0, 9.0], [30.0, 30.0], [2.0, 60.0]]]]).repeat(4, 1, 1, 1)
        with torch.no_grad():  # three points: more tokens than a box
            sam(image_embeddings=torch.ones(4, 32, 8, 8), input_points=points, multimask_output=False)
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    assert 0 < kept[0].float().mean() < 1


def test_the_first_of_many_passes_are_the_same_as_few_passes() -> None:
    network, x = ChannelDropNet(), torch.zeros(6, 64, 4, 4)
    with active_dropout(network, seed=0):
        six, two = network(x), network(x[:2])
    with active_dropout(network, seed=0, first_pass=4):
        last = network(x[:2])
    assert torch.equal(six[:2], two)
    assert torch.equal(six[4:], last)


def test_a_batch_of_slices_repeats_its_passes() -> None:
    network = ChannelDropNet()
    with active_dropout(network, seed=0, passes=3):
        answer = network(torch.zeros(6, 64, 2, 2))
        with pytest.raises(UncertaintyError, match="multiple of 3"):
            network(torch.zeros(4, 64, 2, 2))
    assert torch.equal(answer[:3], answer[3:])
    assert not torch.equal(answer[0], answer[1])


def test_channels_drop_whole_at_the_stated_rate_and_the_mean_is_kept() -> None:
    network = ChannelDropNet(rate=0.25, channels=2000)
    with active_dropout(network, seed=0):
        answer = network(torch.zeros(8, 2000, 2, 2))
    assert torch.equal(answer[..., 0, 0], answer[..., 1, 1])
    values, counts = answer[..., 0, 0].unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.75]))
    dropped = float(counts[0]) / 16000
    assert abs(dropped - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 16000)  # four standard errors of a share


def test_plain_dropout_drops_single_entries_and_repeats_for_equal_sizes() -> None:
    network, x = nn.Dropout(0.5), torch.ones(2, 5, 40)
    with active_dropout(network, seed=0):
        first, second = network(x), network(x)
    assert torch.equal(first, second)
    assert not torch.equal(first[:, 0], first[:, 1])


def test_two_dropout_layers_do_not_share_their_masks() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.Dropout(0.5))
    with active_dropout(network, seed=0):
        both, one = network(torch.ones(1, 4000)), network[0](torch.ones(1, 4000))
    assert abs(float((both != 0).sum() / (one != 0).sum()) - 0.5) < 0.05


def test_only_dropout_is_active_and_every_flag_comes_back() -> None:
    network = ChannelDropNet().train()
    network.drop.eval()
    statistics = network.norm.running_mean.clone()
    with pytest.raises(KeyError), active_dropout(network, seed=0):
        assert not network.norm.training
        network(torch.randn(4, 64, 2, 2))
        raise KeyError("whatever happens inside")
    assert network.norm.training
    assert not network.drop.training
    assert torch.equal(network.norm.running_mean, statistics)
    assert torch.equal(network.eval()(torch.zeros(1, 64, 1, 1)), torch.ones(1, 64, 1, 1))


def test_the_random_state_of_torch_and_numpy_is_not_touched() -> None:
    network = ChannelDropNet()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    with active_dropout(network, seed=0):
        network(torch.zeros(2, 64, 2, 2))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_masks_follow_the_precision_of_the_network() -> None:
    network = ChannelDropNet().to(torch.bfloat16)
    with active_dropout(network, seed=0):
        assert network(torch.zeros(2, 64, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(sam: Any, rate: float) -> None:
    with pytest.raises(UncertaintyError, match="strictly between 0 and 1"):
        insert_dropout(sam.mask_decoder, rate)


@pytest.mark.parametrize(
    ("layers", "message"),
    [(("nothing_like_this",), "fits"), (("upscale_layer_norm",), "linear or convolution")],
)
def test_layers_without_a_channel_axis_or_a_name_are_refused_before_anything_changes(
    sam: Any, layers: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UncertaintyError, match=message):
        insert_dropout(sam.mask_decoder, 0.1, layers=(*SAM_MASK_DECODER_LAYERS, *layers))
    assert dropout_modules(sam) == {}


def test_inserting_twice_is_refused(sam: Any) -> None:
    insert_dropout(sam.mask_decoder, 0.1)
    with pytest.raises(UncertaintyError, match="already"):
        insert_dropout(sam.mask_decoder, 0.1)


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 0, "first_pass": -1}, {"seed": 0, "passes": 0}])
def test_negative_seeds_and_pass_numbers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UncertaintyError, match="Expected seed"), active_dropout(ChannelDropNet(), **options):
        pass


def test_equal_passes_a_single_pass_and_broken_passes_are_refused() -> None:
    run = np.linspace(0, 1, 12).reshape(3, 4)
    with pytest.raises(ZeroVarianceError, match="All 3 stochastic passes are equal"):
        require_variance(np.stack([run] * 3))
    with pytest.raises(ZeroVarianceError, match="at least 2"):
        require_variance(run[None])
    with pytest.raises(UncertaintyError, match="finite"):
        require_variance(np.stack([run, run * np.nan]))
    require_variance(np.stack([run, run, run + 1e-9]))
