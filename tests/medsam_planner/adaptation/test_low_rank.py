"""MedSAM is adapted by low-rank factors in its mask decoder; a small network with random weights stands in for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medsam_planner.engine.adapted_weights import read_adapted
from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.registry import load_model
from medsam_planner.lab.adaptation.adapt import AdaptOptions, adapt
from medsam_planner.lab.adaptation.chosen import labelled
from medsam_planner.lab.adaptation.low_rank import MedSamLearner
from medsam_planner.lab.evaluation.cases import find_cases

from .test_adapt import write_ball

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    from safetensors.torch import save_file
    from transformers import SamConfig
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    from medsam_planner.engine.medsam_network import random_network

    vision = SamVisionConfig(
        hidden_size=24, output_channels=32, num_hidden_layers=1, num_attention_heads=2, image_size=64, window_size=3,
        global_attn_indexes=[0], num_pos_feats=16, mlp_dim=48,
    )  # fmt: skip
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=64)
    decoder = SamMaskDecoderConfig(hidden_size=32, mlp_dim=32, iou_head_hidden_dim=32)
    config: Any = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    network = random_network(config, seed=1)
    path = tmp_path_factory.mktemp("medsam") / "random.safetensors"
    tied = "prompt_encoder.shared_embedding.positional_embedding"
    save_file({name: one.contiguous() for name, one in network.state_dict().items() if name != tied}, path)
    return path


def test_factors_are_all_that_is_trained_and_the_image_encoder_stays(base, tmp_path):
    write_ball(tmp_path / "cases", 0)
    write_ball(tmp_path / "others", 1, anatomy="other balls")
    shown = labelled(find_cases(tmp_path / "cases"), "ball")
    options = AdaptOptions(base=str(base), steps_alone=2, others=tmp_path / "others")
    adapted = adapt(shown, "ball", base.parent / "ball.safetensors", options)
    changes, card, _ = read_adapted(adapted.weights)
    assert card.kind == "medsam"
    assert all(name.endswith((":down", ":up")) and name.startswith("mask_decoder.") for name in changes)
    before, after = load_model(base), load_model(adapted.weights)
    assert isinstance(before, MedSam) and isinstance(after, MedSam)
    own, other = before.network.state_dict(), after.network.state_dict()
    differing = {name for name in own if not torch.equal(own[name], other[name])}
    assert differing and differing <= {name.rsplit(":", 1)[0] for name in changes}


def test_factors_begin_at_the_base_and_lower_the_loss(base, tmp_path):
    write_ball(tmp_path, 0)
    model = load_model(base)
    assert isinstance(model, MedSam)
    learner = MedSamLearner(model, learning_rate=1e-2)
    samples = learner.samples([one.structure() for one in labelled(find_cases(tmp_path), "ball")], seed=0)

    def loss(changes: dict[str, torch.Tensor]) -> float:
        from medsam_planner.engine.protocol import SlicePrompt, box_around
        from medsam_planner.lab.training.losses import prediction_losses

        adapted = learner.model_with(changes)
        assert isinstance(adapted, MedSam)
        total = 0.0
        for one in samples:
            logits = adapted.embedding_logits(one.embedding.clone(), SlicePrompt(box=box_around(one.reference)))
            total += float(prediction_losses(logits[:, None], torch.from_numpy(one.reference)[None]).detach().sum())
        return total

    assert loss(learner.train(samples, 0, seed=0)) == pytest.approx(loss({}), rel=1e-5)
    assert loss(learner.train(samples, 25, seed=0)) < 0.9 * loss({})
