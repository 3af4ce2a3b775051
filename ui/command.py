"""``medsam-planner ui [STUDY]``: the workbench in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ui"]

LOOPBACK = "127.0.0.1"


def ui(
    study: Annotated[Path | None, typer.Argument(help="DICOM folder, zip or file, or NIfTI, opened at once.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; by default open to this machine only.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 7860,
    model: Annotated[str, typer.Option(help="compact, medsam-vit-b, or a path to weights.")] = "compact",
    out: Annotated[Path, typer.Option("--out", help="Folder for prompts, results and plans.")] = Path("runs"),
    allow: Annotated[
        list[Path] | None, typer.Option(help="Folder whose studies may be opened by path; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the stochastic runs and the planner.", min=0)] = 0,
) -> None:
    """Open the workbench: prompt a study, run it to 3D, plan a path, read the report."""
    import uvicorn

    from medsam_planner.cli.console import say
    from medsam_planner.errors import StudyError
    from medsam_planner.run_folder import open_run_folder
    from ui.app import build_app
    from ui.settings import Settings

    if study is not None and not study.exists():
        raise StudyError(f"Nothing is at {study}. Check the path for a typing error.")
    roots = tuple(allow) if allow else (Path.cwd(), Path.home())
    settings = Settings(out=open_run_folder(out), model=model, study=study, roots=roots, seed=seed)
    chosen = port or free_port(host)
    say("Starting the workbench ...")
    app = build_app(settings, host=host)
    say(f"Open http://{host}:{chosen}/ in a browser. Results go to {out}. Ctrl-C ends it. Research use only.")
    uvicorn.run(app, host=host, port=chosen, log_level="warning")


def free_port(host: str) -> int:
    """A port nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
