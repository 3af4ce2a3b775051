"""``medsam-planner fhir RUN``: the results of a run as FHIR resources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsam_planner.cli.pacs import PACS_FILE, PacsFileOption

if TYPE_CHECKING:
    from medsam_planner.network.settings import HttpServer

__all__ = ["fhir"]


def fhir(
    run: Annotated[Path, typer.Argument(help="Folder of a run on a DICOM study.")],
    out: Annotated[Path | None, typer.Option("--out", help="File for the transaction bundle (JSON).")] = None,
    push: Annotated[
        str | None, typer.Option("--push", help="FHIR server: a name under fhir in the pacs file, or a URL.")
    ] = None,
    release: Annotated[str, typer.Option(help="R4, or R5, which adds ImagingSelection.")] = "R4",
    patient_system: Annotated[
        str | None, typer.Option(help="URI of the system of the patient ID, where the files do not name it.")
    ] = None,
    create_patient: Annotated[
        bool, typer.Option("--create-patient", help="Create the patient on a server that does not know the ID.")
    ] = False,
    pacs: PacsFileOption = PACS_FILE,
) -> None:
    """Write or send study, clearance of each tool and report (PDF) as FHIR resources, validated."""
    from medsam_planner.cli.console import say
    from medsam_planner.errors import ConfigError, OutputError
    from medsam_planner.io.files import write_json
    from medsam_planner.network.fhir.bundle import Release, transaction
    from medsam_planner.network.fhir.imaging import patient
    from medsam_planner.network.fhir.run_objects import read_run_objects

    if (out is None) == (push is None):
        raise ConfigError("Expected --out FILE or --push SERVER, got both or neither.")
    if release not in list(Release):
        raise ConfigError(f"Expected --release R4 or R5, got '{release}'.")
    if out is not None and out.exists() and not _is_bundle(out):
        raise OutputError(f"Expected a new file, or a bundle of an earlier call, to write; {out} is another one.")
    objects = read_run_objects(run)
    wanted = Release(release)
    if out is not None:
        bundle = transaction(objects, release=wanted, patient_system=patient_system)
        write_json(out, bundle)
        say(f"{len(bundle['entry'])} resources of FHIR {wanted}: {out}")
        return
    from medsam_planner.network.fhir.server import FhirServer

    name = str(push)
    server = FhirServer(name, _server(name, pacs), wanted)
    known = None
    if not objects.is_deidentified:
        known = server.known_patient(patient(objects, patient_system))
        if known is None and not create_patient:
            raise ConfigError(
                f"{name} knows no patient with the ID of this run. Name the system of the ID with --patient-system, or "
                "have the patient created with --create-patient."
            )
    bundle = transaction(objects, release=wanted, patient_system=patient_system, known_patient=known)
    for entry, stored in zip(bundle["entry"], server.send(bundle), strict=True):
        say(f"{entry['request']['url']}: {'created' if stored.is_new else 'was there'}, {stored.location}")


def _is_bundle(path: Path) -> bool:
    import json

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("resourceType") == "Bundle"


def _server(name: str, pacs: Path) -> HttpServer:
    """The server of a name of the pacs file, or at a URL that needs no login.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    from pydantic import ValidationError

    from medsam_planner.errors import ConfigError
    from medsam_planner.network.pacs_file import read_pacs_file
    from medsam_planner.network.settings import HttpServer

    if "://" not in name:
        known = read_pacs_file(pacs).fhir
        if name not in known:
            raise ConfigError(f"Expected a name of [fhir] in {pacs} or a URL, got '{name}'; it has: {sorted(known)}.")
        return known[name]
    try:
        return HttpServer(url=name)
    except ValidationError as error:
        raise ConfigError(f"Expected --push https://HOST/PATH, got '{name}': {error.errors()[0]['msg']}.") from error
