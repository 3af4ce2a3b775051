"""``medsam-planner demo [pelvic-screw|brain-biopsy|seeg] --out DIR``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.segmentation.limits import LARGEST_SEED

__all__ = ["demo"]


class DemoName(StrEnum):
    """The demonstrations that need no download."""

    PELVIC_SCREW = "pelvic-screw"
    BRAIN_BIOPSY = "brain-biopsy"
    SEEG = "seeg"


def demo(
    name: Annotated[DemoName, typer.Argument(help="Which one.")] = DemoName.PELVIC_SCREW,
    out: Annotated[Path, typer.Option(help="Folder for the results; created when absent.")] = Path("out/demo"),
    seed: Annotated[
        int, typer.Option(help="Seed of the phantom, the stochastic passes and the planner.", min=0, max=LARGEST_SEED)
    ] = 0,
) -> None:
    """Segment a synthetic study, plan trajectories, and write plan.json and the report; needs no download."""
    from medsam_planner.cli.console import say, tell_plan, watched

    say(f"MedSAM Planner, demonstration '{name.value}'. Research use only; not a medical device.")
    with watched() as progress:
        if name is DemoName.PELVIC_SCREW:
            from medsam_planner.demo.pelvic_screw import run_pelvic_screw as run
        elif name is DemoName.BRAIN_BIOPSY:
            from medsam_planner.demo.brain_biopsy import run_brain_biopsy as run
        else:
            from medsam_planner.demo.seeg import run_seeg as run
        written = run(out, seed=seed, say=say, progress=progress)
    raise typer.Exit(tell_plan(written))
