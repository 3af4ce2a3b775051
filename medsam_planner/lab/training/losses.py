"""Training losses: masks, and the predicted IoU of each mask."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

__all__ = ["intersection_over_union", "prediction_losses", "prompt_loss"]

QUALITY_WEIGHT = 0.3
FIRST_PREDICTION_WEIGHT = 0.5
"""Weight of the first mask where a prompt is ambiguous; the rest of the weight goes to the best of all masks."""
SMALL_STRUCTURE_SHARE = 0.02
"""Share of the crop that a small structure takes."""
_SOFT_DICE = DiceLoss(smooth_nr=1.0, smooth_dr=1.0, reduction="none")


def intersection_over_union(logits: Tensor, reference: Tensor, outside_px: Tensor) -> Tensor:
    """(B, A) IoU of the masks at logit 0; area of the structure beyond the crop counts as missed.

    The value is 0 where the reference is empty, so that the predicted IoU learns to indicate an absent structure.

    Parameters
    ----------
    logits : (B, A, N, N) float32
        A masks for each of B prompts.
    reference : (B, N, N) bool
        Reference masks.
    outside_px : (B,) float32
        Area of each structure beyond the crop, in model pixels.
    """
    predicted, true = logits > 0, reference[:, None]
    both = (predicted & true).sum((2, 3)).float()
    either = (predicted | true).sum((2, 3)).float() + outside_px[:, None]
    return both / either.clamp_min(1.0)


def prediction_losses(logits: Tensor, reference: Tensor) -> Tensor:
    """(B, A) cross-entropy + soft Dice of each mask; with an empty reference the predicted area replaces the Dice.

    Parameters
    ----------
    logits : (B, A, N, N) float32
        A masks for each of B prompts.
    reference : (B, N, N) bool
        Reference masks.
    """
    target = reference[:, None].float().expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    probability = torch.sigmoid(logits)
    dice, area = _SOFT_DICE(probability, target).flatten(1), probability.sum((2, 3))
    present = reference.flatten(1).any(1)[:, None]
    # The soft Dice of an empty reference saturates. Instead, the predicted area is compared with that of a small
    # structure, so that a false structure costs as much as a missed one.
    small = SMALL_STRUCTURE_SHARE * reference[0].numel()
    return 2 * entropy + torch.where(present, dice, area / (area.detach() + small))


def prompt_loss(
    logits: Tensor, quality: Tensor, reference: Tensor, outside_px: Tensor, ambiguous: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the masks for one prompt each, and their IoU.

    Where a prompt is ambiguous, the best of the masks counts beside the first one (Kirillov et al. 2023,
    arXiv 2304.02643); otherwise the first counts alone. The predicted IoU of every mask is trained.

    Parameters
    ----------
    logits : (B, A, N, N) float32
        A masks for each of B prompts.
    quality : (B, A) float32
        Logits of the predicted IoU.
    reference : (B, N, N) bool
        Reference masks.
    outside_px : (B,) float32
        Area of each structure beyond the crop, in model pixels.
    ambiguous : (B,) bool
        Whether the prompt may mean several structures.

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
    quality_loss = functional.binary_cross_entropy_with_logits(quality, iou)
    return torch.where(ambiguous, several, losses[:, 0]).mean() + QUALITY_WEIGHT * quality_loss, iou
