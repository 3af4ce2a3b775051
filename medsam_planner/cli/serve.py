"""``medsam-planner serve``: the service without a page."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Seed

__all__ = ["serve"]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; by default for this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 7861,
    data: Annotated[Path, typer.Option(help="Folder for studies, sessions and results.")] = Path("service"),
    token_file: Annotated[
        Path | None, typer.Option(help="File with the secret that clients send; required beyond this machine.")
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="Most sessions that clients may hold at once.", min=1)] = 16,
    allow: Annotated[
        list[Path] | None, typer.Option(help="Folder whose studies may be opened by path; repeatable.")
    ] = None,
    model: Annotated[str, typer.Option(help="compact, medsam-vit-b, or a path to weights.")] = "compact",
    name: Annotated[
        list[str] | None, typer.Option(help="Further host name under which clients reach this machine; repeatable.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Serve studies, prompts, segmentations and plans to other programs over REST."""
    import uvicorn

    from medsam_planner.cli.console import say
    from medsam_planner.engine.registry import load_model
    from medsam_planner.errors import StudyError
    from medsam_planner.service.access import Access, is_loopback, read_token
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.service import Service
    from medsam_planner.service.http.app import PREFIX, make_app
    from medsam_planner.service.listening import address_of, listen
    from medsam_planner.service.settings import Settings

    access = Access(host, None if token_file is None else read_token(token_file), tuple(name or ()))
    for folder in allow or ():
        if not folder.is_dir():
            raise StudyError(f"Expected an existing folder for --allow, got {folder}.")
    bound = listen(host, port)
    try:
        load_model(model)  # report an unknown or damaged model now, not to the first client
        roots = tuple(path.absolute() for path in allow or ())
        settings = Settings(out=data.absolute(), model=model, roots=roots, seed=seed)
        with closing(Service(settings, Limits(max_sessions))) as service:
            app = make_app(service, access=access)
            for told in service.unreadable:
                say(f"Left out: session {told}")
            notes = "" if token_file is None else f" It asks for the token in {token_file}."
            if not is_loopback(host):
                notes += " The connection is not encrypted: put a proxy with TLS in front of the server."
            address = f"{address_of(bound, host)}{PREFIX.lstrip('/')}"
            say(f"Serving {address} from {data}.{notes} Ctrl-C ends it. Research use only.")
            config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5)
            uvicorn.Server(config).run(sockets=[bound])
    finally:
        bound.close()
