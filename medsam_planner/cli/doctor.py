"""``medsam-planner doctor``: what this machine has and lacks."""

from __future__ import annotations

import typer

__all__ = ["doctor"]


def doctor() -> None:
    """Check libraries, weights and a tiny segmentation; exit code 1 when something needed is missing."""
    from medsam_planner.cli.console import say
    from medsam_planner.cli.health import examine

    findings = examine()
    for finding in findings:
        mark = typer.style("ok  ", fg="green") if finding.is_well else typer.style("FAIL", fg="red")
        say(f"{mark} {finding.what}: {finding.found}")
        if finding.advice:
            say(f"       {finding.advice}")
    raise typer.Exit(0 if all(finding.is_well for finding in findings) else 1)
