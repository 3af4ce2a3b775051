"""``medsam-planner serve``: the service without a page."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsam_planner.cli.options import (
    Engine,
    Host,
    Identified,
    KeepDays,
    KeepWorksDays,
    MaxSessions,
    Model,
    OidcFile,
    Port,
    ProjectFolder,
    Seed,
    ServerData,
    TlsCertificate,
    TlsKey,
    TrustedProxy,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from medsam_planner.service.access import Access
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.retention import Keep
    from medsam_planner.service.settings import Settings

__all__ = ["run_server", "serve"]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 7861,
    data: ServerData = Path("service"),
    token_file: Annotated[
        Path | None, typer.Option(help="File with the secret that clients send; required beyond this machine.")
    ] = None,
    max_sessions: MaxSessions = 16,
    allow: Annotated[
        list[Path] | None, typer.Option(help="Folder whose studies may be opened by path; repeatable.")
    ] = None,
    model: Model = "compact",
    engine: Engine = "auto",
    name: Annotated[
        list[str] | None, typer.Option(help="Further host name under which clients reach this machine; repeatable.")
    ] = None,
    seed: Seed = 0,
    oidc: OidcFile = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    trusted_proxy: TrustedProxy = None,
    keep_days: KeepDays = 30.0,
    keep_works_days: KeepWorksDays = None,
    identified: Identified = None,
    project: ProjectFolder = None,
) -> None:
    """Serve studies, prompts, segmentations and plans to other programs over REST."""
    from medsam_planner.errors import StudyError
    from medsam_planner.service.access import read_access
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.retention import Keep
    from medsam_planner.service.http.app import PREFIX, make_app
    from medsam_planner.service.listening import address_of, listen
    from medsam_planner.service.settings import Settings

    access = read_access(
        host,
        data.absolute(),
        token_file=token_file,
        names=name or (),
        oidc=oidc,
        trusted_proxy=trusted_proxy,
        certificate=tls_cert,
        private_key=tls_key,
    )
    for folder in allow or ():
        if not folder.is_dir():
            raise StudyError(f"Expected an existing folder for --allow, got {folder}.")
    with listen(host, port) as bound:
        roots = tuple(path.absolute() for path in allow or ())
        settings = Settings(
            out=data.absolute(),
            model=model,
            engine=engine,
            roots=roots,
            seed=seed,
            project=None if project is None else project.absolute(),
            is_identified=identified,
        )
        address = f"{address_of(bound, host, is_tls=tls_cert is not None)}{PREFIX.lstrip('/')}"
        ready = f"Serving {address} from {data}. {access.told} Ctrl-C ends it. Research use only."
        run_server(bound, settings, access, Limits(max_sessions), Keep(keep_days, keep_works_days), make_app, ready)


def run_server(
    bound: socket.socket,
    settings: Settings,
    access: Access,
    limits: Limits,
    keep: Keep,
    make: Callable[..., FastAPI],
    ready: str,
) -> None:
    """Serve one data folder until the process is told to end; `make` gives the application, `ready` is then said."""
    from medsam_planner.cli.console import say
    from medsam_planner.engine.registry import require_weights
    from medsam_planner.service.core.retention import Retention
    from medsam_planner.service.core.service import Service
    from medsam_planner.service.listening import serve_on

    # Report an unknown or damaged model now, not to the first client.
    require_weights(settings.model, engine=settings.engine)
    service = Service(settings, limits)
    with closing(service), closing(Retention(service, keep).start()):
        app = make(service, access=access)
        service.prepare()
        for told in service.unreadable:
            say(f"Left out: session {told}")
        say(ready.replace("  ", " "))
        serve_on(bound, app, access)
