"""``medsam-planner ui [STUDY]``: the workbench in the browser."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Seed
from medsam_planner.service.access import LOOPBACK

__all__ = ["ui"]


def ui(
    study: Annotated[Path | None, typer.Argument(help="DICOM folder, zip or file, or NIfTI, opened at once.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; by default for this machine only.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 7860,
    model: Annotated[str, typer.Option(help="compact, medsam-vit-b, or a path to weights.")] = "compact",
    out: Annotated[Path, typer.Option("--data", "--out", help="Folder for studies, sessions and results.")] = Path(
        "runs"
    ),
    max_sessions: Annotated[int, typer.Option(help="Most sessions that clients may hold at once.", min=1)] = 16,
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose studies may be opened by path; repeatable. Without it only STUDY may."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the secret that users enter; required beyond this machine.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Further host name under which browsers reach this machine; repeatable.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Open the workbench: prompt a study, segment it in 3D, plan a path, read the report.

    It also serves what ``medsam-planner serve`` serves, on the same port and data folder.
    """
    import uvicorn

    from medsam_planner.cli.console import say
    from medsam_planner.engine.registry import load_model
    from medsam_planner.errors import StudyError
    from medsam_planner.io.output_folder import require_apart
    from medsam_planner.service.access import Access, is_loopback, read_token
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.service import Service
    from medsam_planner.service.listening import address_of, listen
    from medsam_planner.service.settings import Settings
    from medsam_planner.workflow.run_folder import open_run_folder
    from ui.app import make_app

    access = Access(host, None if token_file is None else read_token(token_file), tuple(name or ()))
    for path in (*((study,) if study else ()), *(allow or ())):
        if not path.exists():
            raise StudyError(f"{path} does not exist. Check the path.")
    for folder in allow or ():
        if not folder.is_dir():
            raise StudyError(f"Expected a folder for --allow, got the file {folder}.")
    require_apart(out, [study] if study else [])
    bound = listen(host, port)
    try:
        settings = Settings(
            out=open_run_folder(out).absolute(),
            model=model,
            study=study,
            roots=tuple(path.absolute() for path in allow or ()),
            seed=seed,
        )
        say("Starting the workbench ...")
        load_model(model)  # report an unknown or damaged model now, not to the first person who opens a study
        with closing(Service(settings, Limits(max_sessions))) as service:
            app = make_app(service, access=access)
            for told in service.unreadable:
                say(f"Left out: session {told}")
            notes = "" if token_file is None else f" It asks for the token in {token_file}."
            if not is_loopback(host):
                notes += " The connection is not encrypted: put a proxy with TLS in front of the server."
            notes += f" Results go to {out}. Ctrl-C ends it. Research use only."
            say(f"Open {address_of(bound, host)} in a browser.{notes}")
            config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
            uvicorn.Server(config).run(sockets=[bound])
    finally:
        bound.close()
