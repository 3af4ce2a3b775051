"""``medsam-planner ui [STUDY]``: the workbench in the browser."""

from __future__ import annotations

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
    TlsCertificate,
    TlsKey,
    TrustedProxy,
)
from medsam_planner.service.access import LOOPBACK

if TYPE_CHECKING:
    from medsam_planner.network.pacs_file import PacsFile

__all__ = ["ui"]


def ui(
    study: Annotated[Path | None, typer.Argument(help="DICOM folder, zip or file, or NIfTI, opened at once.")] = None,
    host: Host = LOOPBACK,
    port: Port = 7860,
    model: Model = "compact",
    engine: Engine = "auto",
    out: Annotated[Path, typer.Option("--data", "--out", help="Folder for studies, sessions and results.")] = Path(
        "runs"
    ),
    max_sessions: MaxSessions = 16,
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
    oidc: OidcFile = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    trusted_proxy: TrustedProxy = None,
    keep_days: KeepDays = 30.0,
    keep_works_days: KeepWorksDays = None,
    identified: Identified = None,
    project: ProjectFolder = None,
    pacs: Annotated[
        Path | None, typer.Option(help="File with PACS nodes (TOML) that pages may search, and send results to.")
    ] = None,
) -> None:
    """Open the workbench: prompt a study, segment it in 3D, plan a path, read the report.

    It also serves what ``medsam-planner serve`` serves, on the same port and data folder.
    """
    from medsam_planner.cli.console import say
    from medsam_planner.cli.serve import run_server
    from medsam_planner.errors import ConfigError, StudyError
    from medsam_planner.io.output_folder import require_apart
    from medsam_planner.service.access import read_access
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.retention import Keep
    from medsam_planner.service.listening import address_of, listen
    from medsam_planner.service.settings import Settings
    from ui.app import make_app

    access = read_access(
        host,
        out.absolute(),
        token_file=token_file,
        names=name or (),
        oidc=oidc,
        trusted_proxy=trusted_proxy,
        certificate=tls_cert,
        private_key=tls_key,
    )
    for path in (*((study,) if study else ()), *(allow or ())):
        if not path.exists():
            raise StudyError(f"{path} does not exist. Check the path.")
    for folder in allow or ():
        if not folder.is_dir():
            raise StudyError(f"Expected a folder for --allow, got the file {folder}.")
    require_apart(out, [study] if study else [])
    if pacs is not None and identified is False:
        raise ConfigError("Expected --deidentified without --pacs: what a PACS answers names patients. Leave one out.")
    with listen(host, port) as bound:
        settings = Settings(
            out=out.absolute(),
            model=model,
            engine=engine,
            study=study,
            roots=tuple(path.absolute() for path in allow or ()),
            seed=seed,
            pacs=_pacs_file(pacs),
            project=None if project is None else project.absolute(),
            is_identified=identified,
        )
        say("Starting the workbench ...")
        address = address_of(bound, host, is_tls=tls_cert is not None)
        ready = f"Open {address} in a browser. {access.told} Results go to {out}. Ctrl-C ends it. Research use only."
        run_server(bound, settings, access, Limits(max_sessions), Keep(keep_days, keep_works_days), make_app, ready)


def _pacs_file(path: Path | None) -> PacsFile | None:
    """The PACS nodes of the page, if any.

    Raises
    ------
    MissingDependencyError, ConfigError
    """
    from medsam_planner.errors import require_extra
    from medsam_planner.network.pacs_file import read_pacs_file

    if path is None:
        return None
    require_extra("pacs", "A PACS on the page")
    return read_pacs_file(path)
