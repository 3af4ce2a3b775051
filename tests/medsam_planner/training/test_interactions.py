"""An interaction prompts slices in turn; each prediction depends on those before it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork, SliceMemory
from medsam_planner.lab.training.batches import Batch, SampleFactory
from medsam_planner.lab.training.config import DataConfig, TrainingConfig
from medsam_planner.lab.training.interactions import Interaction, StepKind, interact
from medsam_planner.lab.training.losses import intersection_over_union, prediction_losses, prompt_loss


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> Batch:
    data = DataConfig(procedural_pool=1, procedural_side=36)
    return SampleFactory(TrainingConfig(out=tmp_path_factory.mktemp("x"), batch=3, size=32, data=data)).batch(0)


@pytest.fixture
def network() -> MemoryNetwork:
    torch.manual_seed(0)
    return MemoryNetwork(MemoryArchitecture(size=32, decoder_widths=(8, 8, 16, 16)))


def _interaction(network: MemoryNetwork, batch: Batch) -> Interaction:
    return Interaction(network, batch, torch.device("cpu"), np.random.default_rng(0), low_precision=False)


def test_an_interaction_has_a_loss_with_a_gradient_for_every_weight(network, batch):
    scripts = [
        interact(network, batch, torch.device("cpu"), np.random.default_rng(n), low_precision=False) for n in range(6)
    ]
    sum(loss for loss, _ in scripts).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    assert {"loss", "iou_first", "iou_propagated"} <= set(scripts[0][1])


def test_a_correction_adds_a_click_where_the_prediction_is_wrong(network, batch):
    interaction = _interaction(network.eval(), batch)
    interaction.predict(StepKind.FIRST, 0)
    before = interaction._maps[0].copy()
    answers = interaction._predictions[0].numpy() > 0
    interaction.predict(StepKind.CORRECTED, 0)
    for number in range(3):
        added = (interaction._maps[0][number, 2:4] - before[number, 2:4]).max(axis=(1, 2))
        if not np.array_equal(answers[number], batch.reference[number, 0]):
            assert added.max() > 0.3


def test_a_slice_is_predicted_from_the_memory_of_others_and_never_from_its_own(network, batch):
    interaction = _interaction(network.eval(), batch)
    interaction.predict(StepKind.FIRST, 0)
    assert interaction._read(0) is None
    memory = interaction._read(1)
    assert memory is not None
    assert memory.keys.shape[2] == (32 // 8) ** 2
    away = np.abs(batch.heights_mm[:, 0] - batch.heights_mm[:, 1]) / batch.sides_mm[:, 1]
    np.testing.assert_allclose(memory.distance[:, 0].numpy(), away, rtol=1e-5)


def test_a_box_on_another_slice_comes_with_the_memory_of_the_first(network, batch):
    interaction = _interaction(network.eval(), batch)
    interaction.predict(StepKind.FIRST, 0)
    interaction.predict(StepKind.BOXED, 1)
    maps = interaction._maps[1]
    for number, reference in enumerate(batch.reference[:, 1]):
        if reference.sum() >= 16:
            assert (maps[number, 1][reference] > 0.2).mean() > 0.9
            assert not maps[number, 4:].any()
    assert interaction._prompted == {0, 1}
    assert interaction._read(1) is not None


def test_tokens_of_an_equal_crop_lie_where_they_lie_on_their_own_slice(network, batch):
    interaction = _interaction(network.eval(), batch)
    interaction.predict(StepKind.FIRST, 0)
    positions = interaction._read(1).positions.numpy()
    same = np.flatnonzero(batch.sides_mm[:, 0] == batch.sides_mm[:, 1])
    for number in same:
        np.testing.assert_allclose(positions[number, 0], [0.125, 0.125], atol=1e-5)
        np.testing.assert_allclose(positions[number, -1], [0.875, 0.875], atol=1e-5)


def test_nearer_tokens_are_read_more_than_farther_ones_of_the_same_look():
    """Two tokens of equal keys, one at the queried position and one far away: the value of the near one is read."""
    torch.manual_seed(1)
    reader = MemoryNetwork(MemoryArchitecture(size=32)).decoder.memory_reader
    torch.nn.init.eye_(reader.out.weight[:, :, 0, 0])
    values = torch.zeros(1, 4, 2, 32)
    values[:, :, 1] = 1.0
    positions = torch.tensor([[[0.125, 0.125], [0.875, 0.875]]])
    memory = SliceMemory(torch.zeros(1, 4, 2, 32), values, positions, torch.zeros(1, 2))
    read = reader(torch.zeros(1, 96, 4, 4), memory)[0]
    local = read[64:96]  # of the third head, which looks nearby
    assert float(local[:, -1, -1].detach().mean()) > 0.4
    assert float(local[:, 0, 0].detach().mean()) < 0.05


def test_the_best_of_several_masks_counts_where_a_prompt_is_ambiguous():
    reference = torch.zeros(1, 16, 16, dtype=torch.bool)
    reference[:, 4:12, 4:12] = True
    right = torch.where(reference, 8.0, -8.0)
    logits = torch.stack([-right, right, -right], dim=1)
    quality, outside = torch.zeros(1, 3), torch.zeros(1)
    plain, iou = prompt_loss(logits, quality, reference, outside, torch.tensor([False]))
    ambiguous, _ = prompt_loss(logits, quality, reference, outside, torch.tensor([True]))
    assert iou[0].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert float(ambiguous) < 0.6 * float(plain)


def test_the_iou_counts_what_lies_beyond_the_crop_as_missed():
    reference = torch.ones(1, 8, 8, dtype=torch.bool)
    logits = torch.ones(1, 1, 8, 8)
    assert float(intersection_over_union(logits, reference, torch.tensor([64.0]))) == pytest.approx(0.5)


def test_a_claim_on_an_empty_slice_costs_more_the_larger_it_is():
    reference = torch.zeros(1, 32, 32, dtype=torch.bool)
    small, large = torch.full((1, 1, 32, 32), -8.0), torch.full((1, 1, 32, 32), -8.0)
    small[..., :4, :4], large[..., :16, :16] = 8.0, 8.0
    assert float(prediction_losses(large, reference)) > float(prediction_losses(small, reference)) > 0
