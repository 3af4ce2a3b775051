"""``medsam-planner demo NAME --out DIR``: the worked cases."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsam_planner.errors import ConfigError
from medsam_planner.segmentation.limits import LARGEST_SEED

if TYPE_CHECKING:
    from medsam_planner.workflow.written_plan import WrittenPlan

__all__ = ["demo"]


class DemoName(StrEnum):
    """The worked cases; none needs a download."""

    PELVIC_SCREW = "pelvic-screw"
    BRAIN_BIOPSY = "brain-biopsy"
    SEEG = "seeg"
    COLUMN_SCREW = "column-screw"
    PEDICLE_SCREW = "pedicle-screw"
    LIVER_NEEDLE = "liver-needle"


def demo(
    name: Annotated[DemoName, typer.Argument(help="Which one.")] = DemoName.PELVIC_SCREW,
    out: Annotated[Path, typer.Option(help="Folder for the results; created when absent.")] = Path("out/demo"),
    seed: Annotated[
        int, typer.Option(help="Seed of the phantom, the stochastic passes and the planner.", min=0, max=LARGEST_SEED)
    ] = 0,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of cases with real images, for pedicle-screw and liver-needle; else procedural."),
    ] = None,
) -> None:
    """Plan a worked case, and write plan.json and the report; needs no download."""
    from medsam_planner.cli.console import say, tell_plan, watched

    say(f"MedSAM Planner, demonstration '{name.value}'. Research use only; not a medical device.")
    with watched() as progress:
        if name in _WITH_DATA:
            run: Callable[..., WrittenPlan] = partial(_runner(name), data=data)
        elif data is not None:
            raise ConfigError(f"Expected no --data for '{name.value}', which has no real image. Leave it out.")
        else:
            run = _runner(name)
        written = run(out, seed=seed, say=say, progress=progress)
    raise typer.Exit(tell_plan(written))


_WITH_DATA = (DemoName.PEDICLE_SCREW, DemoName.LIVER_NEEDLE)


def _runner(name: DemoName) -> Callable[..., WrittenPlan]:
    module = import_module(f"medsam_planner.demo.{name.value.replace('-', '_')}")
    runner: Callable[..., WrittenPlan] = getattr(module, f"run_{name.value.replace('-', '_')}")
    return runner
