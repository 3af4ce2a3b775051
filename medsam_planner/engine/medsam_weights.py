"""MedSAM's weights on disk: the official ``.pth`` layout and the Hugging Face layout, both read as tensors only.

The official layout is segment-anything's (``image_encoder.blocks.0.norm1.weight``), the other that of
:class:`transformers.SamModel` (``vision_encoder.layers.0.layer_norm1.weight``). The network's size is read off the
shapes of the tensors, so no configuration file is trusted or needed.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_planner.errors import WeightsError, require_extra
from medsam_planner.io.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import SamConfig, SamModel

__all__ = ["config_of", "convert", "network_from", "official_to_hugging_face", "read_tensors", "weights_file"]

DECODER_HEADS = 8
"""Attention heads of SAM's mask decoder: the same in every published size, and not visible in the shapes."""

_RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
)
_HEAD = re.compile(r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\.(.+)$")
_IMAGE_STATISTICS = ("pixel_mean", "pixel_std")  # SAM's colour normalisation, which MedSAM does not use
_TIED = "prompt_encoder.shared_embedding.positional_embedding"
_SHARED = "shared_image_embedding.positional_embedding"


def weights_file(path: Path) -> Path:
    """The file that holds the tensors: `path` itself, or the one inside a Hugging Face directory.

    Raises
    ------
    WeightsError
        If there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(
            f"Expected MedSAM weights at {path} (a .pth or .safetensors file, or a folder), found nothing."
        )
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return path / name
    found = sorted(entry.name for entry in path.iterdir())[:8]
    raise WeightsError(
        f"Expected model.safetensors or pytorch_model.bin in {path}, found {found}. "
        "Weights in several shards are not read: save them as one file."
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file in float32, in the layout of the file. Nothing but tensors is unpickled.

    Raises
    ------
    WeightsError
        If the file is damaged, holds anything but tensors, or no tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        struct.error,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
    ) as error:
        # torch's message advises weights_only=False, which would run code from the file; it is not passed on.
        raise WeightsError(
            f"{path} cannot be read as a file of tensors ({type(error).__name__}). Files that hold more than tensors "
            "are refused, because unpickling could run code; get the weights again, or export the state dict alone."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]  # MedSAM's training script keeps the optimiser beside the weights
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"Expected a table of tensors in {path}, got {type(content).__name__}.")
    strangers = [name for name, tensor in content.items() if not isinstance(tensor, torch.Tensor)]
    if strangers:
        raise WeightsError(f"Expected a table of tensors in {path}; these entries are not tensors: {strangers[:5]}.")
    # Copied out of the file's memory map: there tensors start at odd addresses, on which kernels round differently.
    return {str(name).removeprefix("module."): tensor.float().clone() for name, tensor in content.items()}


def official_to_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of segment-anything's layout to those of :class:`transformers.SamModel`."""
    last: dict[str, int] = {}
    for name in tensors:
        if (head := _HEAD.match(name)) is not None:
            last[head[1]] = max(last.get(head[1], 0), int(head[2]))
    renamed = {}
    for name, tensor in tensors.items():
        if name in _IMAGE_STATISTICS:
            continue
        if (head := _HEAD.match(name)) is not None:
            layer = int(head[2])
            place = "proj_in" if layer == 0 else "proj_out" if layer == last[head[1]] else f"layers.{layer - 1}"
            renamed[f"{head[1]}.{place}.{head[3]}"] = tensor
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def config_of(tensors: Mapping[str, Tensor]) -> SamConfig:
    """Configuration of the network that `tensors` (Hugging Face layout) belong to, from their shapes.

    Raises
    ------
    WeightsError
        If a tensor that determines a size is absent.
    """
    from transformers import SamConfig
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise WeightsError(f"Expected the weights of a SAM network; the tensor '{name}' is absent.")
        return tuple(tensors[name].shape)

    def count(pattern: str) -> int:
        return len({match[1] for name in tensors if (match := re.match(pattern, name)) is not None})

    hidden, _, patch, _ = shape("vision_encoder.patch_embed.projection.weight")
    grid = shape("vision_encoder.pos_embed")[1]
    depth = count(r"vision_encoder\.layers\.(\d+)\.")
    reaches = [shape(f"vision_encoder.layers.{layer}.attn.rel_pos_h") for layer in range(depth)]
    windows = [(reach + 1) // 2 for reach, _ in reaches]  # a window of w pixels has 2 w - 1 relative positions
    image_size = grid * patch
    vision = SamVisionConfig(
        hidden_size=hidden,
        output_channels=shape("vision_encoder.neck.conv1.weight")[0],
        num_hidden_layers=depth,
        num_attention_heads=hidden // reaches[0][1],
        image_size=image_size,
        patch_size=patch,
        window_size=next((window for window in windows if window != grid), grid),
        global_attn_indexes=[layer for layer, window in enumerate(windows) if window == grid],
        num_pos_feats=shape(_SHARED)[1],
        mlp_dim=shape("vision_encoder.layers.0.mlp.lin1.weight")[0],
    )
    width = shape("mask_decoder.iou_token.weight")[1]
    prompt = SamPromptEncoderConfig(
        hidden_size=width,
        image_size=image_size,
        patch_size=patch,
        mask_input_channels=shape("prompt_encoder.mask_embed.conv2.weight")[0],
        num_point_embeddings=count(r"prompt_encoder\.point_embed\.(\d+)\."),
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=width,
        mlp_dim=shape("mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
        num_hidden_layers=count(r"mask_decoder\.transformer\.layers\.(\d+)\."),
        num_attention_heads=DECODER_HEADS,
        attention_downsample_rate=width // shape("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight")[0],
        num_multimask_outputs=shape("mask_decoder.mask_tokens.weight")[0] - 1,
        iou_head_depth=count(r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\.") + 2,
        iou_head_hidden_dim=shape("mask_decoder.iou_prediction_head.proj_in.weight")[0],
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def network_from(path: Path) -> SamModel:
    """Network with the weights of `path`, in evaluation mode and float32.

    Parameters
    ----------
    path : Path
        An official ``.pth``, a ``.safetensors`` or ``.bin`` file of either layout, or a Hugging Face directory.

    Raises
    ------
    MissingDependencyError
        If the extra ``medsam`` is not installed.
    WeightsError
        If the file is absent, damaged, or of another network; names the tensors that do not fit.
    """
    require_extra("medsam", "MedSAM")
    import torch
    from transformers import SamModel

    tensors, config = _read_hugging_face(path)
    with torch.device("meta"):  # without initialisation: the weights are overwritten
        network = SamModel(config)
    tensors[_TIED] = tensors[_SHARED]
    try:
        problems = network.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit a SAM network: {' '.join(str(error).split())[:400]}") from error
    if problems.missing_keys or problems.unexpected_keys:
        raise WeightsError(
            f"{path} does not fit a SAM network: {len(problems.missing_keys)} tensors are missing "
            f"(first {problems.missing_keys[:3]}), {len(problems.unexpected_keys)} are not its own "
            f"(first {problems.unexpected_keys[:3]})."
        )
    return network.eval()


def convert(source: Path, destination: Path) -> Path:
    """Write the weights of `source` as a Hugging Face directory (``config.json`` and ``model.safetensors``).

    Parameters
    ----------
    source : Path
        Anything :func:`network_from` reads.
    destination : Path
        Folder to make; must not exist or be empty.

    Returns
    -------
    Path
        The ``model.safetensors`` written.

    Raises
    ------
    WeightsError
        If the source cannot be read or the destination is taken.
    """
    from safetensors.torch import save

    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise WeightsError(f"Expected a new or empty folder to write to, {destination} is taken; name another one.")
    network = network_from(source)
    network.config.architectures = ["SamModel"]
    write_whole(destination / "config.json", network.config.to_json_string())
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items() if name != _TIED}
    path = destination / "model.safetensors"
    return write_whole(path, save(tensors, metadata={"format": "pt"}))


def _read_hugging_face(path: Path) -> tuple[dict[str, Tensor], SamConfig]:
    file = weights_file(path)
    tensors = read_tensors(file)
    if any(name.startswith("image_encoder.") for name in tensors):
        tensors = official_to_hugging_face(tensors)
    if not any(name.startswith("vision_encoder.") for name in tensors):
        raise WeightsError(
            f"{file} holds neither layout of MedSAM (image_encoder.… or vision_encoder.…); "
            f"its first tensors are {sorted(tensors)[:3]}."
        )
    if _SHARED not in tensors and _TIED in tensors:
        tensors[_SHARED] = tensors[_TIED]
    return tensors, config_of(tensors)
