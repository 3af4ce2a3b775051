"""``medsam-planner train-auto CASES --label NAME --out FILE.safetensors``: an automatic network from reviewed masks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train_auto"]


class TrackerName(StrEnum):
    """The trackers, repeated here so that ``--help`` does not import them."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


def train_auto(
    cases: Annotated[
        Path,
        typer.Argument(
            help="Folder of cases as `evaluate` reads them (image.nii.gz, labels.nii.gz, meta.json in each), or a "
            "project folder, whose reviewed studies are taken."
        ),
    ],
    label: Annotated[str, typer.Option(help="Name of the structure, or the number of its label.")],
    out: Annotated[Path, typer.Option("--out", help="FILE.safetensors; the card goes beside it.")],
    only: Annotated[list[str] | None, typer.Option(help="Pattern of case names; may be repeated.")] = None,
    hold_back: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of names of the cases that are held back; may be repeated. By default a quarter of the "
            "patients."
        ),
    ] = None,
    most_steps: Annotated[
        int, typer.Option(help="At most so many steps; held-back cases end it earlier.", min=1)
    ] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier call stopped.")] = False,
    track: Annotated[
        list[TrackerName] | None,
        typer.Option(help="Records on this machine, in FILE_tracking; may be repeated. mlflow and wandb are extras."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and of the choice of held-back patients.", min=0)] = 0,
) -> None:
    """Train a network that segments one structure without prompts; SIGTERM and Ctrl-C leave a checkpoint."""
    from medsam_planner.cli.console import say, watched_until_signalled
    from medsam_planner.lab.automatic.reviewed import examples_in
    from medsam_planner.lab.automatic.tracking import Tracker
    from medsam_planner.lab.automatic.train import TrainingOptions, train_automatic

    options = TrainingOptions(
        most_steps=most_steps,
        seed=seed,
        held_back=tuple(hold_back or ()),
        trackers=tuple(Tracker(one.value) for one in track or ()),
    )
    with watched_until_signalled() as progress:
        examples = examples_in(cases, label, only or ())
        trained = train_automatic(examples, label, out, options, resume=resume, progress=progress)
    say(
        f"Network: {trained.weights} (use with `medsam-planner auto STUDY --model {trained.weights} --out MASK.nii.gz`)"
    )
    say(f"Held-back Dice {sum(trained.held_back_dice) / len(trained.held_back_dice):.3f}; see the card: {trained.card}")
