"""What the file of the compact weights says of itself beyond its tensors."""

from __future__ import annotations

import hashlib

import pytest
import torch

from medsam_planner.engine.compact import CompactModel
from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
from medsam_planner.engine.compact_weights import annotate_weights, save_weights
from medsam_planner.errors import WeightsError


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    architecture = CompactArchitecture(size=32, encoder_widths=(8, 16), decoder_widths=(8, 16), encoder_blocks=(0, 1))
    save_weights(CompactNetwork(architecture), tmp_path / "tiny.safetensors", trained_on=["nothing"])
    return tmp_path / "tiny.safetensors"


def test_a_note_changes_nothing_else_and_a_second_one_replaces_it(path):
    before = CompactModel(path)
    digest = annotate_weights(path, {"temperature": "2.5"})
    after = CompactModel(path)
    assert after.weights_sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest() != before.weights_sha256
    assert after.metadata == before.metadata | {"temperature": "2.5"}
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(tensor, after.network.state_dict()[name])
    annotate_weights(path, {"temperature": "1.5"})
    assert CompactModel(path).temperature == 1.5
    assert CompactModel(path).tensors_sha256 == before.tensors_sha256
    with torch.no_grad():
        after.network.decoder.mask_head.bias[0] += 1
    assert after.tensors_sha256 != before.tensors_sha256


def test_weights_without_a_fitted_temperature_keep_their_logits(path):
    assert CompactModel(path).temperature == 1.0
    assert CompactModel.from_network(CompactModel(path).network).temperature == 1.0


def test_what_is_no_weights_file_gets_no_note(tmp_path):
    with pytest.raises(WeightsError, match="found nothing"):
        annotate_weights(tmp_path / "none.safetensors", {"temperature": "2"})
