"""The real SAM network of transformers, small and with random weights."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_sam_builder() -> Any:
    """Builds SAM with 64 × 64 input, 8 × 8 grid, 24 features in its blocks and 32 in its neck."""
    import torch
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 32,
            "global_attn_indexes": [1],
            "window_size": 4,
            "mlp_dim": 48,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": 64,
            "patch_size": 8,
            "image_embedding_size": 8,
            "mask_input_channels": 8,
        },
        mask_decoder_config={
            "hidden_size": 32,
            "num_attention_heads": 2,
            "mlp_dim": 48,
            "num_hidden_layers": 2,
            "iou_head_hidden_dim": 32,
        },
    )

    def build() -> SamModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = SamModel(config).eval()
            for parameter in model.parameters():  # transformers starts at a scale where every logit is about 1e-5
                torch.nn.init.normal_(parameter, std=0.3)
        return model

    return build
