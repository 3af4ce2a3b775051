"""Commands by name, errors as messages."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache, wraps
from importlib.metadata import entry_points, version
from typing import Any

import typer
from typer.core import TyperGroup

from medsam_planner.cli import (
    adapt,
    auto,
    calibrate,
    deidentify,
    demo,
    doctor,
    evaluate,
    export,
    fhir,
    import_check,
    inspect,
    landmarks,
    listen,
    move,
    pacs,
    plan,
    project,
    register,
    replay,
    run_plan,
    segment,
    serve,
    study,
    train,
    train_auto,
    users,
    weights,
)
from medsam_planner.errors import EXTRAS, MedsamPlannerError, require_extra
from prompts.whole_file import NO_ROOM

__all__ = ["app", "run"]

_WHAT_IT_IS = (
    "Few-click segmentation of CT and MR with uncertainty maps, and straight trajectories with safety margins. "
    "Research use only."
)
_COMMAND_GROUP = "medsam_planner.commands"

_NOBODY_READS = 141
"""Exit code by which a shell reports a process that ended with SIGPIPE."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Report an interruption; typer would end silently, and with 1 when the reader of a pipe has gone."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(_said("Interrupted.", 130)) from None
    except BrokenPipeError:
        _print_no_more()
        raise typer.Exit(_NOBODY_READS) from None


class _Commands(TyperGroup):
    """All commands."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line; ``--version`` and ``--help`` print already."""
        with _told():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        with _told():
            return super().invoke(ctx)


def _with_its_extra(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """A command named like an extra needs that extra; said when it is called, so that its help needs nothing."""
    if name not in EXTRAS:
        return command

    @wraps(command)
    def checked(*arguments: Any, **options: Any) -> None:
        require_extra(name, f"`medsam-planner {name}`")
        command(*arguments, **options)

    return checked


app = typer.Typer(
    cls=_Commands,
    name="medsam-planner",
    help=_WHAT_IT_IS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(segment.segment)
app.command()(plan.plan)
app.command("run")(run_plan.run_plan)
app.command()(replay.replay)
app.command()(register.register)
app.command()(move.move)
app.command()(export.export)
app.command()(calibrate.calibrate)
app.command()(inspect.inspect)
app.command("import-check")(import_check.import_check)
app.command()(deidentify.deidentify)
app.command()(listen.listen)
app.command()(_with_its_extra("fhir", fhir.fhir))
app.command()(_with_its_extra("serve", serve.serve))
app.command()(train.train)
app.command()(adapt.adapt)
app.command("train-auto")(train_auto.train_auto)
app.command()(auto.auto)
app.command()(evaluate.evaluate)
app.command()(doctor.doctor)
app.add_typer(pacs.app, name="pacs")
app.add_typer(landmarks.app, name="landmarks")
app.add_typer(project.app, name="project")
app.add_typer(study.app, name="study")
app.add_typer(users.app, name="users")
app.add_typer(weights.app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("medsam-planner"))
        raise typer.Exit()


@app.callback(help=_WHAT_IT_IS)
def _root(
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of the program itself."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        _add_commands_of_upper_layers()
        app(arguments)
        code = 0
    except MedsamPlannerError as error:
        if os.environ.get("MEDSAM_PLANNER_TRACEBACK"):
            raise
        return _said(f"Error: {error}", 2)
    except SystemExit as leaving:  # typer leaves this way, also after a wrong option
        code = leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        return _said("Interrupted.", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return _disk_full(error)
        if os.environ.get("MEDSAM_PLANNER_TRACEBACK"):
            raise
        return _fault(error)
    return _flushed(code)


def _fault(error: Exception) -> int:
    """Report an unexpected error, which is a bug."""
    from medsam_planner.io.fault_log import in_one_line, log_fault

    told = f"Unexpected error: {in_one_line(error)}. This is a bug"
    log = log_fault(error)
    if log is not None:
        return _said(f"{told}. See the log: {log}", 3)
    import traceback

    return _said(f"{told}, and no log could be written:\n{''.join(traceback.format_exception(error))}", 3)


def _flushed(code: int) -> int:
    """Flush standard output: if that fails, the exit code says so."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            _print_no_more()
            return _NOBODY_READS
        return _disk_full(error)
    return code


def _disk_full(error: OSError) -> int:
    """Report a full disk while printing or writing temporary files; results have an error of their own."""
    _print_no_more()
    where = f" for {error.filename}" if error.filename else " for what is printed or for temporary files"
    return _said(
        f"Error: no space is left{where}: {error.strerror}. Free some space. Result files that exist are complete.", 2
    )


def _print_no_more() -> None:
    """Discard further output: Python flushes once more at exit and would change the exit code."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _said(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # standard error may be full or closed, too
        typer.secho(text, err=True, fg=typer.colors.RED)
    return code


@cache
def _add_commands_of_upper_layers() -> None:
    for point in entry_points(group=_COMMAND_GROUP):
        app.command(point.name)(_with_its_extra(point.name, point.load()))
