"""What the weights are trained for: masks, and an honest guess of how good each of them is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["intersection_over_union", "prediction_losses", "prompt_loss"]

QUALITY_WEIGHT = 0.3
FIRST_PREDICTION_WEIGHT = 0.5
"""Of the first answer where several things may be meant; the rest of the weight goes to the best of all answers."""
USUAL_SHARE = 0.02
"""Of the crop, that a small structure takes."""


def intersection_over_union(logits: Tensor, reference: Tensor, outside_px: Tensor) -> Tensor:
    """(B, A) IoU of the masks at logit 0, the structure's area beyond the crop counted as missed.

    An empty truth has nothing to be right about: its value is 0, which the quality head learns to say as "not here".

    Parameters
    ----------
    logits : (B, A, N, N) float32
    truth : (B, N, N) bool
    outside_px : (B,) float32
    """
    predicted, true = logits > 0, reference[:, None]
    both = (predicted & true).sum((2, 3)).float()
    either = (predicted | true).sum((2, 3)).float() + outside_px[:, None]
    return both / either.clamp_min(1.0)


def prediction_losses(logits: Tensor, reference: Tensor) -> Tensor:
    """(B, A) cross-entropy + soft Dice of each answer; the area claimed, where there is nothing.

    Parameters
    ----------
    logits : (B, A, N, N) float32
    truth : (B, N, N) bool
    """
    target = reference[:, None].float().expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum((2, 3))
    claimed = probability.sum((2, 3))
    dice = 1 - (overlap + 1) / (claimed + target.sum((2, 3)) + 1)
    present = reference.flatten(1).any(1)[:, None]
    # Dice of an empty truth saturates. What is claimed there counts by its share of a claim of usual size instead, so
    # that "not here" weighs as much as a structure missed.
    usual = USUAL_SHARE * reference[0].numel()
    return 2 * entropy + torch.where(present, dice, claimed / (claimed.detach() + usual))


def prompt_loss(
    logits: Tensor, quality: Tensor, reference: Tensor, outside_px: Tensor, ambiguous: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the answers to one prompt each, and their IoU.

    Where a prompt may mean several things, the best of the answers counts beside the first one (Kirillov et al. 2023,
    arXiv 2304.02643); where it means one, the first counts alone. Every answer learns to tell its IoU.

    Parameters
    ----------
    logits : (B, A, N, N) float32
    quality : (B, A) float32
        Logits of the predicted IoU.
    truth : (B, N, N) bool
    outside_px : (B,) float32
        Area of each structure beyond the crop, in model pixels.
    ambiguous : (B,) bool

    Returns
    -------
    Tensor
        Scalar.
    Tensor
        (B, A) IoU.
    """
    losses = prediction_losses(logits, reference)
    several = FIRST_PREDICTION_WEIGHT * losses[:, 0] + (1 - FIRST_PREDICTION_WEIGHT) * losses.min(dim=1).values
    iou = intersection_over_union(logits.detach(), reference, outside_px)
    honesty = functional.binary_cross_entropy_with_logits(quality, iou)
    return torch.where(ambiguous, several, losses[:, 0]).mean() + QUALITY_WEIGHT * honesty, iou
