"""``medsam-planner move TRANSFORM.json FILE ... --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Out

__all__ = ["move"]


def move(
    transform: Annotated[Path, typer.Argument(help="transform.json of `register`.")],
    files: Annotated[list[Path], typer.Argument(help="Masks (NIfTI), prompt, landmark and plan files.")],
    out: Out,
    onto: Annotated[Path | None, typer.Option(help="The study they are carried onto, for plan files.")] = None,
    back: Annotated[bool, typer.Option("--back", help="From the fixed series to the moving one.")] = False,
) -> None:
    """Carry masks, prompts, landmarks and plan files from the moving series onto the fixed one."""
    from medsam_planner.cli.console import say
    from medsam_planner.workflow.move import move_files

    for path in move_files(transform, files, out, onto=onto, back=back):
        say(f"Written: {path}")
