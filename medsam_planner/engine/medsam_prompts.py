"""A prompt as MedSAM's network takes it: embedded by SAM's own prompt encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.errors import GeometryError, PromptError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import SamModel

__all__ = ["embedded_prompt"]

LOGIT_BOUND = 6.0
"""A probability of 0 or 1 enters the mask prompt as a logit of this size."""


def embedded_prompt(
    network: SamModel, prompt: SlicePrompt, previous_logits: NDArray[np.float32] | None
) -> tuple[Tensor | None, Tensor]:
    """Embed a prompt.

    Parameters
    ----------
    network : transformers.SamModel
        Its prompt encoder is used.
    prompt : SlicePrompt
        In model pixels. Its mask is used where there are no previous logits.
    previous_logits : (size, size) float32 or None
        Prediction of an earlier round on this slice.

    Returns
    -------
    tensor or None, tensor
        Sparse embeddings of box and clicks, None where there are none, and the dense embedding of the mask.

    Raises
    ------
    PromptError
        If the prompt is empty, or labels do not match the points.
    GeometryError
        If the mask or the logits are not (size, size).
    """
    import torch

    if prompt.is_empty() and previous_logits is None:
        raise PromptError("Expected a box, a click or a mask on the slice, got none of them.")
    points = labels = boxes = None
    if prompt.points is not None and len(prompt.points) > 0:
        if prompt.labels is None or len(prompt.labels) != len(prompt.points):
            got = None if prompt.labels is None else len(prompt.labels)
            raise PromptError(f"Expected one label for each of {len(prompt.points)} points, got {got}.")
        xy = np.ascontiguousarray(np.asarray(prompt.points, dtype=np.float32)[None, None, :, ::-1])
        points = torch.from_numpy(xy)
        labels = torch.from_numpy(np.asarray(prompt.labels, dtype=np.int64)[None, None])
    if prompt.box is not None:
        row0, column0, row1, column1 = (float(value) for value in prompt.box)
        boxes = torch.tensor([[[column0, row0, column1, row1]]], dtype=torch.float32)
    sparse, dense = network.prompt_encoder(points, labels, boxes, _mask_input(network, prompt, previous_logits))
    return sparse, dense


def _mask_input(network: SamModel, prompt: SlicePrompt, previous_logits: NDArray[np.float32] | None) -> Tensor | None:
    """(1, 1, size / 4, size / 4) logits; None where there is neither a mask nor an earlier prediction."""
    import torch

    if previous_logits is not None:
        values = np.asarray(previous_logits, dtype=np.float32)
    elif prompt.mask is not None:
        bound = 1.0 / (1.0 + math.exp(-LOGIT_BOUND))
        probability = np.clip(np.asarray(prompt.mask, dtype=np.float32), 1.0 - bound, bound)
        values = np.log(probability / (1.0 - probability))
    else:
        return None
    size = cast(int, network.vision_encoder.image_size)
    if values.shape != (size, size):
        raise GeometryError(f"Expected a mask or logits of {size} x {size} pixels, got {values.shape}.")
    side = 4 * int(network.prompt_encoder.image_embedding_size[0])
    return torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=(side, side), mode="area")
