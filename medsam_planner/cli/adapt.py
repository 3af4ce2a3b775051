"""``medsam-planner adapt CASES --label NAME --out FILE.safetensors``: a model that knows a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["adapt"]


def adapt(
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
    base: Annotated[str, typer.Option(help="Weights to adapt: compact, medsam-vit-b, or a path.")] = "compact",
    others: Annotated[
        Path | None,
        typer.Option(
            help="Folder of cases of other anatomy, to measure what was forgotten; by default procedural ones."
        ),
    ] = None,
    most_steps: Annotated[int, typer.Option(help="At most so many steps; held-back cases end it earlier.", min=1)] = 90,
    seed: Annotated[int, typer.Option(help="Seed of samples and of the choice of held-back patients.", min=0)] = 0,
) -> None:
    """Adapt a model to one structure by a few reviewed cases, in minutes; the base weights stay as they are."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab.adaptation.adapt import AdaptOptions
    from medsam_planner.lab.adaptation.adapt import adapt as adapt_model
    from medsam_planner.lab.adaptation.chosen import labelled
    from medsam_planner.lab.automatic.reviewed import taken_cases

    shown = labelled(taken_cases(cases, only or ()), label)
    options = AdaptOptions(base=base, most_steps=most_steps, seed=seed, others=others)
    with watched() as progress:
        adapted = adapt_model(shown, label, out, options, progress=progress)
    say(f"Weights: {adapted.weights} (use with --model {adapted.weights}, or Session(volume, model=…))")
    say(f"Card: {adapted.card}")
