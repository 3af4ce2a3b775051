"""``medsam-planner listen``: receive series, segment and plan by rule, send the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.pacs import PACS_FILE, PacsFileOption

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

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    receive(read_pacs_file(pacs), data.absolute(), stop, say)
