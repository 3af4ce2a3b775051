"""``medsam-planner inspect STUDY``: what is in a folder, and whether it is a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
) -> None:
    """List the series of a study, their geometry, and any problem found."""
    from medsam_planner.cli.console import say
    from medsam_planner.io import inspect_study

    say(inspect_study(study).as_text())
