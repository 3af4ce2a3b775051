"""Grad-CAM for segmentation: the evidence in a layer for the voxels inside a given mask.

The layer's output must be (B, C, H, W). That of SAM's transformer blocks is (B, H, W, C): Grad-CAM averages over the
last two axes and would return a map whose axes are width and channel, without an error. Such layers are refused
(:mod:`xai.layer_layout`). SAM's neck is NCHW, and its output is the embedding itself: :func:`grad_cam_on_embedding`
explains a cached embedding at the cost of one decoder pass, and returns the same map as Grad-CAM on the neck.

Scale. :func:`grad_cam` returns values on the scale of the logits, comparable between slices. For display
:func:`normalise_saliency` divides by one number for the whole volume, not slice by slice, so that a slice without
evidence stays dark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import EmptyStructureError, SaliencyError
from xai.layer_layout import require_channels_first

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

__all__ = ["grad_cam", "grad_cam_on_embedding", "normalise_saliency"]


def grad_cam(
    network_forward: Callable[[torch.Tensor], torch.Tensor],
    layer: Module,
    inputs: Any,
    frozen_mask: Any,
    *,
    channels: int | None = None,
    relu: bool = True,
    size: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Grad-CAM [1]_ of the logits summed inside a mask [2]_.

    Gradients are computed from the layer on. With frozen parameters (``network.requires_grad_(False)``) the part of the
    network before it keeps no activations, so that the neck of SAM ViT-B costs one forward pass and little memory.

    Parameters
    ----------
    network_forward : callable
        Maps `inputs` to logits (B, H', W'); items of the batch must not influence each other. Runs `layer` once.
    layer : torch.nn.Module
        A layer whose output is (B, C, h, w).
    inputs : (B, channels, H, W) float array or tensor
        Input of the network.
    frozen_mask : (B, H', W') bool array or tensor
        The predicted mask to explain, without a gradient: a mask that depends on the logits would add its own gradient.
    channels : int, optional
        Number of channels of `layer`; decides the layout of a layer with as many channels as rows or columns.
    relu : bool
        Keep only evidence for the structure, as in [1]_. False keeps the sign.
    size : (H, W), optional
        Shape of the result; by default that of `inputs`. Upsampling is bilinear.

    Returns
    -------
    (B, H, W) float32
        On the scale of the logits (summed over the mask, averaged over the layer's positions); not normalised.

    Raises
    ------
    SaliencyError
        If the layer is not certainly (B, C, h, w), does not run exactly once, or does not reach the logits; or if
        mask and logits do not fit.
    EmptyStructureError
        If the mask of an item is empty.

    References
    ----------
    .. [1] Selvaraju et al., Grad-CAM, ICCV 2017, doi:10.1109/ICCV.2017.74.
    .. [2] Vinogradova, Dibrov, Myers, Towards interpretable semantic segmentation via gradient-weighted class
       activation mapping, AAAI 2020, doi:10.1609/aaai.v34i10.7244, arXiv 2002.11434.
    """
    input_shape = _spatial_shape(inputs)

    def check(activation: Any) -> None:
        if not hasattr(activation, "shape"):
            raise SaliencyError(f"Expected a layer that returns one tensor, got a {type(activation).__name__}.")
        require_channels_first(tuple(activation.shape), layer, input_shape=input_shape, channels=channels)

    return _attribute(network_forward, layer, inputs, frozen_mask, check, relu=relu, size=size or input_shape)


def grad_cam_on_embedding(
    decode: Callable[[torch.Tensor], torch.Tensor],
    embedding: Any,
    frozen_mask: Any,
    *,
    size: tuple[int, int],
    relu: bool = True,
) -> NDArray[np.float32]:
    """Grad-CAM at a cached embedding: the encoder does not run again.

    Parameters
    ----------
    decode : callable
        Maps an embedding to logits (B, H', W').
    embedding : (B, C, h, w) float array or tensor
        May come from ``torch.inference_mode``.
    frozen_mask : (B, H', W') bool array or tensor
        The predicted mask to explain.
    size : (H, W)
        Shape of the result: that of the model's crop.
    relu : bool
        Keep only evidence for the structure. False keeps the sign.

    Returns
    -------
    (B, H, W) float32

    Raises
    ------
    SaliencyError, EmptyStructureError
        See :func:`grad_cam`.
    """
    from torch import nn

    _spatial_shape(embedding)
    identity = nn.Identity()
    return _attribute(
        lambda tensor: decode(identity(tensor)),
        identity,
        embedding,
        frozen_mask,
        lambda activation: None,
        relu=relu,
        size=size,
    )


def normalise_saliency(saliency: ArrayLike) -> NDArray[np.float32]:
    """Scale a whole volume for display by its largest magnitude: to [0, 1], or to [-1, 1] if it is signed.

    A volume that is zero everywhere stays zero.

    Raises
    ------
    SaliencyError
        If a value is not finite.
    """
    values = np.asarray(saliency, dtype=np.float32)
    if not np.isfinite(values).all():
        raise SaliencyError("Expected finite saliency, got NaN or infinity.")
    largest = float(np.abs(values).max(initial=0.0))
    return values / np.float32(largest) if largest > 0 else values.copy()


def _spatial_shape(inputs: Any) -> tuple[int, int]:
    shape = tuple(getattr(inputs, "shape", ()))
    if len(shape) != 4:
        raise SaliencyError(f"Expected inputs of shape (B, C, H, W), got {shape}.")
    return int(shape[2]), int(shape[3])


def _frozen(mask: Any) -> torch.Tensor:
    import torch

    if isinstance(mask, torch.Tensor) and mask.requires_grad:
        raise SaliencyError("Expected a frozen mask, got one with a gradient: threshold the logits beforehand.")
    frozen = torch.as_tensor(mask)
    if frozen.ndim != 3 or not bool(((frozen == 0) | (frozen == 1)).all()):
        raise SaliencyError(f"Expected a mask (B, H, W) of zeros and ones, got {frozen.dtype} {tuple(frozen.shape)}.")
    empty = torch.nonzero(frozen.flatten(1).sum(1) == 0).flatten().tolist()
    if empty:
        raise EmptyStructureError(
            f"The mask of items {empty} is empty, so there is nothing to explain: leave them out."
        )
    return frozen.detach()


def _attribute(
    network_forward: Callable[[torch.Tensor], torch.Tensor],
    layer: Module,
    inputs: Any,
    frozen_mask: Any,
    check: Callable[[Any], None],
    *,
    relu: bool,
    size: tuple[int, int],
) -> NDArray[np.float32]:
    import torch
    from captum.attr import LayerAttribution, LayerGradCam

    mask = _frozen(frozen_mask)
    calls = 0

    def start_graph(module: Module, arguments: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        check(output)
        return output.detach().requires_grad_()  # nothing before the layer needs a gradient

    def target(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls = 0
        logits = network_forward(tensor)
        if calls != 1:
            raise SaliencyError(
                f"Expected {type(layer).__name__} to run once in network_forward, it ran {calls} times."
            )
        if logits.shape != mask.shape:
            raise SaliencyError(f"Expected logits of the mask's shape {tuple(mask.shape)}, got {tuple(logits.shape)}.")
        if not logits.requires_grad:
            raise SaliencyError("The logits carry no gradient: network_forward must not run under no_grad.")
        return (logits * mask.to(logits)).flatten(1).sum(1)

    handle = layer.register_forward_hook(start_graph)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            tensor = torch.as_tensor(inputs).detach().clone()  # a plain tensor, even from an inference tensor
            cam = LayerGradCam(target, layer).attribute(tensor, relu_attributions=relu)
            full = LayerAttribution.interpolate(cam.detach().float(), size, interpolate_mode="bilinear")
    except RuntimeError as error:
        if "not have been used in the graph" not in str(error):
            raise
        raise SaliencyError(
            f"The output of {type(layer).__name__} does not reach the logits: name another layer."
        ) from error
    finally:
        handle.remove()
    result: NDArray[np.float32] = full[:, 0].cpu().numpy()
    return result
