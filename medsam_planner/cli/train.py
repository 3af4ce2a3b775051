"""``medsam-planner train CONFIG``: training, evaluation and model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="TOML file; see medsam_planner/lab/training/compact.toml.")],
    resume: Annotated[
        bool,
        typer.Option(help="Continue where an earlier call with the same file stopped, in training or in evaluation."),
    ] = False,
    describe: Annotated[
        Path | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Do not train: measure these weights and write their model card. The TOML file must be the one that "
            "they were trained with.",
        ),
    ] = None,
) -> None:
    """Train the compact model, measure it on held-out cases, and write its model card; can be resumed."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab import model_card

    with watched() as progress:
        if describe is not None:
            described = model_card.describe(config, describe, progress=progress)
        else:
            described = model_card.train_and_describe(config, resume=resume, progress=progress)
    say(f"Weights: {described.weights}")
    say(f"Card: {described.card}")
