"""``medsam-planner listen``: receive series, segment and plan by rule, send the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsam_planner.cli.pacs import PACS_FILE, PacsFileOption

if TYPE_CHECKING:
    from medsam_planner.network.listen_settings import Rule

__all__ = ["listen"]


def listen(
    data: Annotated[Path, typer.Option(help="Folder for everything that is received, and its results.")],
    pacs: PacsFileOption = PACS_FILE,
) -> None:
    """Receive images as a C-STORE SCP, and do with each complete series what the rules of pacs.toml say."""
    import signal
    import threading

    from medsam_planner.cli.console import say
    from medsam_planner.network.listening import listen as receive
    from medsam_planner.network.pacs_file import read_pacs_file

    settings = read_pacs_file(pacs)
    for rule in settings.rules:
        _check_options(rule)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    receive(settings, data.absolute(), stop, say)


def _check_options(rule: Rule) -> None:
    """Refuse options that the rule's command does not have, before anything is received."""
    from medsam_planner.cli.run_plan import run_plan
    from medsam_planner.cli.segment import segment
    from medsam_planner.errors import ConfigError

    name, function = ("segment", segment) if rule.plan is None else ("run", run_plan)
    alone = typer.Typer()
    alone.command()(function)
    known = {
        option
        for parameter in typer.main.get_command(alone).params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for given in (option.split("=")[0] for option in rule.options if option.startswith("--")):
        if given not in known:
            raise ConfigError(f"Rule '{rule.name}': expected options of `medsam-planner {name}`, got {given}.")
