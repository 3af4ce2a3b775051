"""Check that a layer's output is (B, C, H, W), which Grad-CAM assumes and does not check itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai.errors import SaliencyError

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = ["require_channels_first"]


def require_channels_first(
    shape: tuple[int, ...], layer: Module, *, input_shape: tuple[int, int], channels: int | None = None
) -> None:
    """Refuse an activation whose layout is not certainly (B, C, h, w).

    The layer's type decides where possible (a convolution is NCHW, a linear layer or layer norm has channels last),
    then the number of channels, then the sides: h : w must be as in the input. A layout that is still ambiguous is
    refused.

    Parameters
    ----------
    shape : tuple of int
        Shape of the layer's output.
    layer : torch.nn.Module
        The layer.
    input_shape : (H, W)
        Shape of the network's input.
    channels : int, optional
        Number of channels of the layer, where known.

    Raises
    ------
    SaliencyError
        If the layout is channels-last, neither of the two, or ambiguous.
    """
    kind = type(layer).__name__
    if len(shape) != 4:
        raise SaliencyError(f"Expected a layer with output (B, C, H, W), {kind} gives {shape}: choose a convolution.")
    channels_last = SaliencyError(
        f"{kind} gives {shape}, channels last (B, H, W, C): Grad-CAM would average over width and channel and be "
        "silently wrong. Choose an NCHW layer; for SAM the neck (vision_encoder.neck), not a transformer block."
    )
    first_fits, last_fits = _same_aspect(shape[2:], input_shape), _same_aspect(shape[1:3], input_shape)
    if channels is not None:
        first_fits, last_fits = first_fits and shape[1] == channels, last_fits and shape[3] == channels
    declared = _declared_layout(layer)
    if declared == "last" or (last_fits and not first_fits):
        raise channels_last
    if not first_fits:
        known = "" if channels is None else f" and {channels} channels"
        raise SaliencyError(f"Expected (B, C, h, w) with sides as {input_shape}{known}, {kind} gives {shape}.")
    if last_fits and declared is None:
        raise SaliencyError(
            f"{kind} gives {shape}, which reads as (B, C, H, W) and as (B, H, W, C). Choose a convolution, whose "
            "layout is known" + ("." if channels is not None else ", or pass `channels`.")
        )


def _declared_layout(layer: Module) -> str | None:
    """``"first"``, ``"last"``, or None where the layer's type does not decide."""
    from torch import nn

    if isinstance(layer, nn.Sequential) and len(layer) > 0:
        return _declared_layout(layer[-1])
    if isinstance(
        layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.MaxPool2d)
    ):
        return "first"
    if isinstance(layer, nn.LayerNorm) and getattr(layer, "data_format", None) == "channels_first":
        return "first"  # transformers.SamLayerNorm in the neck
    return "last" if isinstance(layer, (nn.Linear, nn.LayerNorm)) else None


def _same_aspect(sides: tuple[int, ...], input_shape: tuple[int, int]) -> bool:
    """Whether h : w equals H : W, up to the rounding of strided layers (exactly, for square inputs)."""
    return abs(sides[0] * input_shape[1] - sides[1] * input_shape[0]) < max(input_shape)
