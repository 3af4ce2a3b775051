"""What the weights are trained for: the mask, and an honest guess of how good the mask is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["intersection_over_union", "loss"]

QUALITY_WEIGHT = 0.3
USUAL_SHARE = 0.02
"""Of the field, that a small structure takes."""


def intersection_over_union(logits: Tensor, truth: Tensor, outside_px: Tensor) -> Tensor:
    """(B,) IoU of the masks at logit 0, the structure's area beyond the field counted as missed.

    An empty truth has nothing to be right about: its value is 0, which the quality head learns to say as "not here".
    """
    predicted = logits > 0
    both = (predicted & truth).sum((1, 2)).float()
    either = (predicted | truth).sum((1, 2)).float() + outside_px
    return both / either.clamp_min(1.0)


def loss(logits: Tensor, quality: Tensor, truth: Tensor, outside_px: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy + soft Dice (the area claimed, where there is nothing) + predicted IoU.

    Parameters
    ----------
    logits : (B, N, N) float32
    quality : (B,) float32
        Logits of the predicted IoU.
    truth : (B, N, N) bool
    outside_px : (B,) float32
        Area of each structure beyond the field, in model pixels.

    Returns
    -------
    Tensor
        Scalar.
    dict
        Parts and mean IoU, for the log.
    """
    target = truth.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum((1, 2))
    dice = 1 - (overlap + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
    present = truth.flatten(1).any(1)
    # Dice of an empty truth saturates. What is claimed there counts by its share of a claim of usual size instead, so
    # that "not here" weighs as much as a structure missed.
    claimed = probability.sum((1, 2))
    usual = USUAL_SHARE * target[0].numel()
    dice_mean = torch.where(present, dice, claimed / (claimed.detach() + usual)).mean()
    iou = intersection_over_union(logits.detach(), truth, outside_px)
    honesty = functional.binary_cross_entropy_with_logits(quality, iou)
    total = 2 * entropy + dice_mean + QUALITY_WEIGHT * honesty
    parts = {
        "loss": float(total.detach()),
        "cross_entropy": float(entropy.detach()),
        "dice_loss": float(dice_mean.detach()),
        "iou": float(iou[present].mean()) if bool(present.any()) else float("nan"),
        "quality_error": float((torch.sigmoid(quality.detach()) - iou).abs().mean()),
    }
    return total, parts
