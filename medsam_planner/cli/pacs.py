"""``medsam-planner pacs``: ask, fetch from and send to the nodes of pacs.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medsam_planner.network.node import Node

__all__ = ["PACS_FILE", "PacsFileOption", "app"]

app = typer.Typer(help="Ask, fetch from and send to the PACS nodes of pacs.toml.", no_args_is_help=True)

PacsFileOption = Annotated[Path, typer.Option("--pacs", help="File with the nodes (TOML).")]
NodeName = Annotated[str, typer.Argument(help="Name of the node in the pacs file.")]
PACS_FILE = Path("pacs.toml")


@app.command("list")
def list_nodes(pacs: PacsFileOption = PACS_FILE) -> None:
    """List the nodes; no secret is read or shown."""
    from medsam_planner.cli.console import say
    from medsam_planner.network.pacs_file import read_pacs_file
    from medsam_planner.network.settings import DicomwebNode

    file = read_pacs_file(pacs)
    say(f"This program: {file.local.ae_title}, receives at {file.local.host}:{file.local.port}")
    for name, node in file.nodes.items():
        if isinstance(node, DicomwebNode):
            say(f"{name}: DICOMweb, {node.url}, {'no login' if node.auth is None else node.auth.kind}")
        else:
            tls = "TLS" if node.tls else "not encrypted"
            say(f"{name}: DIMSE, {node.ae_title} at {node.host}:{node.port}, C-{node.retrieve.upper()}, {tls}")


@app.command()
def echo(node: NodeName, pacs: PacsFileOption = PACS_FILE) -> None:
    """Ask whether a node is there and lets this program in."""
    from medsam_planner.cli.console import say

    say(f"{node} {_connected(pacs, node).echo()}.")


@app.command()
def query(
    node: NodeName,
    patient_id: Annotated[str | None, typer.Option(help="Patient ID.")] = None,
    patient_name: Annotated[str | None, typer.Option(help="Patient's name, with * as wildcard.")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession number.")] = None,
    date: Annotated[
        str | None, typer.Option(help="Study date (2026-01-31 or 20260131), or a range: 20260101-20260131.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Modality of a series: CT, MR.")] = None,
    study: Annotated[str | None, typer.Option(help="UID of a study: its series are listed.")] = None,
    pacs: PacsFileOption = PACS_FILE,
) -> None:
    """List studies, or the series of one study. The answer has names of patients."""
    from medsam_planner.cli.console import say
    from medsam_planner.io.study_files import header_text
    from medsam_planner.network.matching import matching_keys
    from medsam_planner.network.node import FIELDS, Level
    from medsam_planner.network.retries import retried

    level = Level.STUDY if study is None else Level.SERIES
    match = matching_keys(
        {
            "PatientID": patient_id,
            "PatientName": patient_name,
            "AccessionNumber": accession,
            "StudyDate": date,
            ("ModalitiesInStudy" if level is Level.STUDY else "Modality"): modality,
            "StudyInstanceUID": study,
        }
    )
    connected = _connected(pacs, node)
    found = retried(lambda: connected.find(level, match))
    say("\t".join(FIELDS[level]))
    for one in found:
        say("\t".join(header_text(one, keyword, join="+").replace("\t", " ") for keyword in FIELDS[level]))


@app.command()
def pull(
    node: NodeName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; one of an earlier call is completed.")],
    study: Annotated[str | None, typer.Option(help="UID of the study.")] = None,
    series: Annotated[list[str] | None, typer.Option(help="UID of a series; may be repeated; all by default.")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession number, instead of the UID of the study.")] = None,
    pacs: PacsFileOption = PACS_FILE,
) -> None:
    """Fetch a study, or series of it, into a folder that `inspect` and `segment` read."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.errors import ConfigError
    from medsam_planner.network import pull as fetching
    from medsam_planner.network.matching import matching_keys
    from medsam_planner.network.node import is_uid

    if (study is None) == (accession is None):
        raise ConfigError("Expected --study UID or --accession NUMBER, got both or neither. `pacs query` lists both.")
    matching_keys({"StudyInstanceUID": study, "AccessionNumber": accession})
    for uid in series or ():
        if not is_uid(uid):
            raise ConfigError(f"Expected the UID of a series of digits and dots, got '{uid[:80]}'.")
    if accession is not None and set(accession) & set("*?"):
        raise ConfigError("Expected one accession number without * and ?: `pull` fetches one study.")
    connected = _connected(pacs, node)
    if study is None:
        found = fetching.studies_with(connected, str(accession))
        if len(found) != 1:
            raise ConfigError(
                f"Expected one study with the accession number '{accession}', {node} has {len(found)}. Name it with "
                "--study UID."
            )
        study = found[0]
    with watched() as progress:
        done = fetching.pull(connected, study, out, series_uids=series or (), progress=progress)
    say(f"{done.fetched} instances fetched, {done.already_there} were there.")
    for folder in done.folders:
        say(f"Series: {folder}")


@app.command()
def push(
    node: NodeName,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    read_back: Annotated[
        bool, typer.Option("--read-back/--no-read-back", help="Fetch each instance again and compare.")
    ] = True,
    pacs: PacsFileOption = PACS_FILE,
) -> None:
    """Send DICOM files; what the node has already is not sent again. Exit code 2 if one is refused or altered."""
    from medsam_planner.cli.console import say, tell_notes, watched
    from medsam_planner.network import push as sending

    connected = _connected(pacs, node)
    files = sending.outgoing(paths)
    with watched() as progress:
        done = sending.push(connected, files, read_back=read_back, progress=progress)
    checked = f"{done.checked} read back and equal" if read_back else "all are there"
    say(f"{done.sent} instances sent, {done.already_there} were there; {checked}.")
    if done.changed:
        tell_notes([f"{node} changed attributes of what was sent: {', '.join(done.changed)}."])


def _connected(pacs: Path, name: str) -> Node:
    from medsam_planner.network.connecting import connect
    from medsam_planner.network.pacs_file import read_pacs_file

    return connect(read_pacs_file(pacs), name)
