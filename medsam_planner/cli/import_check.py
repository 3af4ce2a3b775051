"""``medsam-planner import-check FOLDER --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Out, Workers

__all__ = ["import_check"]

_MOST_REASONS = 15


def import_check(
    folder: Annotated[Path, typer.Argument(help="Archive: any number of studies in folders and zips.")],
    out: Out,
    workers: Workers = 1,
) -> None:
    """List every series of an archive: readable, or refused and why. A repeated call checks only what is new.

    Exit code 1 if nothing is readable.
    """
    from medsam_planner.cli.console import say, watched
    from medsam_planner.io.import_check import check_archive

    with watched() as progress:
        found = check_archive(folder, out, workers=workers, progress=progress)
    for status, count in sorted(found.count_by_status.items()):
        say(f"{count:7d}  {status}")
    for reason, count in list(found.count_by_reason.items())[:_MOST_REASONS]:
        say(f"{count:7d}  refused or damaged: {reason}")
    if len(found.count_by_reason) > _MOST_REASONS:
        say(f"         and {len(found.count_by_reason) - _MOST_REASONS} other reasons")
    say(f"Table: {found.table}")
    raise typer.Exit(0 if {"readable", "several volumes"} & found.count_by_status.keys() else 1)
