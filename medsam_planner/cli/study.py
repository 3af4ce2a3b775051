"""``medsam-planner study``: studies with readers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medsam_planner.cli.options import Host, OidcFile, Out, Port, ServerData, TlsCertificate, TlsKey, TrustedProxy

if TYPE_CHECKING:
    from medsam_planner.lab.readers.study_page import Analysed
    from medsam_planner.reading.records import ReadingRecords
    from medsam_planner.reading.study_file import StudyFile

__all__ = ["app"]

RECORDS = "readings.sqlite"

app = typer.Typer(help="Studies with readers: their masks, their readings, their plans.", no_args_is_help=True)

BootstrapSeed = Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)]
Study = Annotated[Path, typer.Argument(help="Study file, STUDY.toml.")]


@app.command()
def analyse(
    study: Annotated[
        Path, typer.Argument(help="Study file with the table [masks], or a folder of cases with labels_READER.nii.gz.")
    ],
    out: Out,
    seed: BootstrapSeed = 0,
) -> None:
    """Compare the masks of readers, and of a model: scores, agreement, non-inferiority, figures, check-list."""
    from medsam_planner.cli.console import watched
    from medsam_planner.lab.readers.mask_report import analyse_masks
    from medsam_planner.reading.study_file import read_study_file

    read = read_study_file(study)
    with watched() as progress:
        analysed = analyse_masks(read, out, source=study, seed=seed, progress=progress)
    _tell(analysed)


@app.command()
def serve(
    study: Study,
    data: ServerData = Path("study"),
    host: Host = "127.0.0.1",
    port: Port = 7862,
    name: Annotated[
        list[str] | None, typer.Option(help="Further host name under which browsers reach this machine; repeatable.")
    ] = None,
    oidc: OidcFile = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    trusted_proxy: TrustedProxy = None,
) -> None:
    """Serve the page on which readers read the cases; readers are users (medsam-planner users add NAME --data DATA)."""
    from medsam_planner.cli.serve import run_server
    from medsam_planner.errors import ConfigError, require_extra
    from medsam_planner.service.access import read_access
    from medsam_planner.service.core.options import Limits
    from medsam_planner.service.core.retention import Keep
    from medsam_planner.service.listening import address_of, listen
    from medsam_planner.service.reading import require_shown
    from medsam_planner.service.settings import Settings

    require_extra("serve", "`medsam-planner study serve`")
    from medsam_planner.service.http.app import make_app
    from medsam_planner.service.reading_routes import add_reading_page

    data.mkdir(parents=True, exist_ok=True)
    access = read_access(
        host,
        data.absolute(),
        names=name or (),
        oidc=oidc,
        trusted_proxy=trusted_proxy,
        certificate=tls_cert,
        private_key=tls_key,
    )
    if access.people is None:
        raise ConfigError(
            "A reader study needs to know who reads. Add its readers first: "
            f"medsam-planner users add NAME --data {data}."
        )
    read, records = _records(study, data)
    assert read.reading is not None
    require_shown(read.reading.cases)

    def make(service: Any, *, access: Any) -> Any:
        return make_app(service, access=access, page=partial(add_reading_page, records=records))

    with listen(host, port) as bound:
        address = address_of(bound, host, is_tls=tls_cert is not None)
        ready = f"Open {address} in a browser. {access.told} Readings go to {data / RECORDS}. Ctrl-C ends it."
        settings = Settings(out=data.absolute())
        run_server(bound, settings, access, Limits(1), Keep(30.0, None), make, f"{ready} Research use only.")


@app.command()
def readings(study: Study, out: Out, data: ServerData = Path("study"), seed: BootstrapSeed = 0) -> None:
    """Export the readings as CSV and for iMRMC, and compare the modes over readers and cases."""
    from medsam_planner.errors import ConfigError
    from medsam_planner.lab.readers.reading_report import analyse_readings

    if not (data / RECORDS).is_file():
        raise ConfigError(
            f"{data / RECORDS} is not there: nobody has read yet. Serve the study first, or correct --data."
        )
    read, records = _records(study, data)
    analysed = analyse_readings(read, records, out, source=study, seed=seed)
    _tell(analysed)


@app.command()
def orders(
    table: Annotated[Path, typer.Argument(help="CSV with the columns case, surgeon, alternative, rank.")],
    out: Out,
    seed: BootstrapSeed = 0,
) -> None:
    """Compare surgeons' orders of planned paths with the planner's."""
    from medsam_planner.lab.readers.plan_report import analyse_orders

    _tell(analyse_orders(table, out, seed=seed))


@app.command()
def lines(
    table: Annotated[
        Path,
        typer.Argument(help="CSV with the columns patient, tool, plan, executed_entry_x … executed_target_z (LPS mm)."),
    ],
    out: Out,
    seed: BootstrapSeed = 0,
) -> None:
    """Compare executed lines with planned ones: entry and target error, angle, and grade of screws."""
    from medsam_planner.lab.readers.plan_report import analyse_lines

    _tell(analyse_lines(table, out, seed=seed))


def _tell(analysed: Analysed) -> None:
    from medsam_planner.cli.console import say

    for caution in analysed.cautions:
        say(f"Caution: {caution}")
    say(analysed.headline)
    say(f"Page: {analysed.page}")


def _records(study: Path, data: Path) -> tuple[StudyFile, ReadingRecords]:
    from medsam_planner.errors import ConfigError
    from medsam_planner.reading.records import ReadingRecords
    from medsam_planner.reading.study_file import read_study_file

    read = read_study_file(study)
    if read.reading is None:
        raise ConfigError(f"{study} has no table [reading]. Name readers and cases there.")
    return read, ReadingRecords(data / RECORDS, read.reading)
