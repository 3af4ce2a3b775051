"""``medsam-planner inspect STUDY``: what is in a folder, and whether it is a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
) -> None:
    """List the series of a study, their geometry, and any problem found; exit code 1 when none is a volume."""
    from medsam_planner.cli.console import say
    from medsam_planner.io import inspect_study

    found = inspect_study(study)
    say(found.as_text())
    raise typer.Exit(0 if found.can_be_read else 1)
