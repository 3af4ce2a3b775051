"""Commands by name, errors as messages."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import entry_points, version

import typer

from medsam_planner.cli import (
    calibrate,
    demo,
    doctor,
    evaluate,
    inspect,
    plan,
    replay,
    run_case,
    segment,
    train,
    weights,
)
from medsam_planner.errors import MedsamPlannerError

__all__ = ["app", "run"]

_COMMAND_GROUP = "medsam_planner.commands"

app = typer.Typer(
    name="medsam-planner",
    help="Few-click segmentation of CT and MR with honest uncertainty, and safe trajectory plans. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(segment.segment)
app.command()(plan.plan)
app.command("run")(run_case.run_case)
app.command()(replay.replay)
app.command()(calibrate.calibrate)
app.command()(inspect.inspect)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(doctor.doctor)
app.add_typer(weights.app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("medsam-planner"))
        raise typer.Exit()


@app.callback()
def _root(
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Few-click segmentation of CT and MR with honest uncertainty, and safe trajectory plans. Research use only."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    _add_commands_of_upper_layers()
    try:
        app(arguments)
    except MedsamPlannerError as error:
        if os.environ.get("MEDSAM_PLANNER_TRACEBACK"):
            raise
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        return 2
    except SystemExit as leaving:  # typer leaves this way, also after a wrong option
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    return 0


@cache
def _add_commands_of_upper_layers() -> None:
    for point in entry_points(group=_COMMAND_GROUP):
        app.command(point.name)(point.load())
