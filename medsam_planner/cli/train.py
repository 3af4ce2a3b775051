"""``medsam-planner train CONFIG``: from data to measured weights and their card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="TOML file; see medsam_planner/lab/training/compact.toml.")],
    resume: Annotated[
        bool, typer.Option(help="Go on where the same file was left, in training or in the evaluation.")
    ] = False,
    describe: Annotated[
        Path | None, typer.Option(metavar="WEIGHTS", help="Do not train: measure these weights and write their card.")
    ] = None,
) -> None:
    """Train the compact model, measure it on cases held back, and write its card; resumably."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab import model_card

    with watched() as progress:
        if describe is not None:
            made = model_card.describe(config, describe, progress=progress)
        else:
            made = model_card.train_and_describe(config, resume=resume, progress=progress)
    say(f"Weights: {made.weights}")
    say(f"Card: {made.card}")
