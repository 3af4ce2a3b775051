"""From a training file to weights with a card: training, evaluation on held-out cases, and what came of both."""

from __future__ import annotations

from medsam_planner.lab.model_card.pipeline import Made, describe, train_and_describe

__all__ = ["Made", "describe", "train_and_describe"]
