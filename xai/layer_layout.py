"""Whether a layer's output is (B, C, H, W): what Grad-CAM takes for granted and never checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai.errors import SaliencyError

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = ["require_channels_first"]


def require_channels_first(
    shape: tuple[int, ...], layer: Module, *, field: tuple[int, int], channels: int | None = None
) -> None:
    """Refuse an activation that is not (B, C, h, w) for certain.

    The layer's type decides where it can (a convolution is NCHW, a linear layer or layer norm has channels last), then
    the number of channels, then the sides: h : w must be as in the input. What still reads both ways is refused.

    Parameters
    ----------
    shape
        Shape of the layer's output.
    layer : torch.nn.Module
    field
        (H, W) of the network's input.
    channels
        Number of channels of the layer, where known.

    Raises
    ------
    SaliencyError
        If the layout is channels-last, neither, or cannot be told.
    """
    kind = type(layer).__name__
    if len(shape) != 4:
        raise SaliencyError(f"Expected a layer with output (B, C, H, W), {kind} gives {shape}: choose a convolution.")
    channels_last = SaliencyError(
        f"{kind} gives {shape}, channels last (B, H, W, C): Grad-CAM would average over width and channel and be "
        "silently wrong. Choose an NCHW layer; for SAM the neck (vision_encoder.neck), not a transformer block."
    )
    first_fits, last_fits = _same_aspect(shape[2:], field), _same_aspect(shape[1:3], field)
    if channels is not None:
        first_fits, last_fits = first_fits and shape[1] == channels, last_fits and shape[3] == channels
    declared = _declared_layout(layer)
    if declared == "last" or (last_fits and not first_fits):
        raise channels_last
    if not first_fits:
        known = "" if channels is None else f" and {channels} channels"
        raise SaliencyError(f"Expected (B, C, h, w) with sides as {field}{known}, {kind} gives {shape}.")
    if last_fits and declared is None:
        raise SaliencyError(
            f"{kind} gives {shape}, which reads as (B, C, H, W) and as (B, H, W, C). Choose a convolution, whose "
            "layout is known" + ("." if channels is not None else ", or pass `channels`.")
        )


def _declared_layout(layer: Module) -> str | None:
    """``"first"``, ``"last"``, or None where the layer's type does not tell."""
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


def _same_aspect(sides: tuple[int, ...], field: tuple[int, int]) -> bool:
    """Whether h : w is H : W, but for the rounding of strided layers (exactly, for square fields)."""
    return abs(sides[0] * field[1] - sides[1] * field[0]) < max(field)
