"""``medsam-planner plan PLAN.toml --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Identified, Out, Paths

__all__ = ["plan"]


def plan(
    plan_file: Annotated[Path, typer.Argument(help="Plan file (TOML): study, masks, tool, entry, target, limits.")],
    out: Out,
    paths: Paths = False,
    identified: Identified = None,
) -> None:
    """Plan straight tools on existing masks, and write plan.json and report.html.

    Exit code 1 if no trajectory is feasible. The certified clearance is a guaranteed lower bound for the given masks
    and margins.
    """
    from medsam_planner.cli.console import tell_plan, tell_reading, watched
    from medsam_planner.workflow.written_plan import write_plan_from_file

    with watched() as progress:
        written = write_plan_from_file(plan_file, out, with_paths=paths, is_identified=identified, progress=progress)
    tell_reading(written.study)
    raise typer.Exit(tell_plan(written))
