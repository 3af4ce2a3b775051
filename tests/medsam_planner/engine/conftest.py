"""Small SAM networks: ours on transformers, and the official package's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def segment_anything() -> ModuleType:
    """``segment_anything.modeling`` without torchvision, of which the package imports two functions it needs not here.

    The stand-ins are gone before anything else can take them for the real package.
    """
    import transformers  # noqa: F401 (looks for torchvision when it is first imported)

    stubs = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": None, "box_area": None},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": None, "to_pil_image": None},
    }
    kept = {name: sys.modules.get(name) for name in stubs}
    for name, members in stubs.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    try:
        import segment_anything.modeling as modeling
    finally:
        for name, module in kept.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    return modeling


@pytest.fixture(scope="session")
def official_sam(segment_anything: ModuleType) -> Callable[..., Any]:
    """Builder of official networks; by default small (128 pixels, three blocks), with random weights."""

    def build(
        *, size: int = 128, width: int = 48, depth: int = 3, heads: int = 4, window: int = 3, features: int = 32
    ) -> Any:
        torch.manual_seed(7)
        grid = size // 16
        sam = segment_anything.Sam(
            image_encoder=segment_anything.ImageEncoderViT(
                depth=depth,
                embed_dim=width,
                img_size=size,
                mlp_ratio=4,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                num_heads=heads,
                patch_size=16,
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=[1] if depth == 3 else [2, 5, 8, 11],
                window_size=window,
                out_chans=features,
            ),
            prompt_encoder=segment_anything.PromptEncoder(
                embed_dim=features,
                image_embedding_size=(grid, grid),
                input_image_size=(size, size),
                mask_in_chans=16,
            ),
            mask_decoder=segment_anything.MaskDecoder(
                num_multimask_outputs=3,
                transformer=segment_anything.TwoWayTransformer(
                    depth=2, embedding_dim=features, mlp_dim=8 * features, num_heads=8
                ),
                transformer_dim=features,
                iou_head_depth=3,
                iou_head_hidden_dim=features,
            ),
        )
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, parameter in sam.named_parameters():
                spread = 0.1 if parameter.ndim == 1 else 2.0 / parameter[0].numel() ** 0.5
                noise = torch.randn(parameter.shape, generator=generator) * spread
                parameter.copy_(noise + 1.0 if "norm" in name and name.endswith("weight") else noise)
        return sam.eval()

    return build


@pytest.fixture(scope="session")
def small_config() -> Any:
    """A SAM of 128 pixels with three blocks."""
    from transformers import SamConfig
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=48,
            output_channels=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=128,
            window_size=3,
            global_attn_indexes=[1],
            num_pos_feats=16,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=32, image_size=128),
        mask_decoder_config=SamMaskDecoderConfig(hidden_size=32, mlp_dim=64, iou_head_hidden_dim=32),
    )
