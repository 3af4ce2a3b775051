"""From a training file to weights with a model card: training, evaluation on held-out cases, and the card."""

from __future__ import annotations

from medsam_planner.lab.model_card.pipeline import DescribedWeights, describe, train_and_describe

__all__ = ["DescribedWeights", "describe", "train_and_describe"]
