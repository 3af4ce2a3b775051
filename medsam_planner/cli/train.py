"""``medsam-planner train CONFIG``: from data to weights and their card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="TOML file; see medsam_planner/training/compact.toml.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of the same configuration.")] = False,
) -> None:
    """Train the compact model, resumably."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.training import train_from_file

    with watched() as progress:
        weights = train_from_file(config, resume=resume, progress=progress)
    say(f"Weights: {weights}")
