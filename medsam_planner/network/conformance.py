"""The page of the DICOM conformance statement: the objects, and the services of the network.

``python -m medsam_planner.network.conformance docs/conformance.md`` writes it; a test compares it with what is
negotiated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import UID

from medsam_planner.io.objects.conformance import conformance_statement, markdown_table
from medsam_planner.network.fhir.codings import DICOM_UID, PRIVATE_SYSTEM
from medsam_planner.network.negotiated import COMPRESSED, FETCHED, RECEIVED_CLASSES, UNCOMPRESSED

__all__ = ["conformance_page"]

_SERVICES = (
    ("`pacs echo`", "Verification", "SCU", "a search for one study"),
    ("`pacs query`", "Study Root Query/Retrieve - FIND", "SCU", "QIDO-RS: studies, series, instances"),
    ("`pacs pull`", "Study Root Query/Retrieve - GET, or - MOVE with Storage SCP", "SCU", "WADO-RS: instances"),
    ("`pacs push`, rules of `listen`", "Storage of any class, and FIND", "SCU", "STOW-RS, QIDO-RS, WADO-RS"),
    ("`listen`", "Verification; Storage of the classes below; Storage Commitment Push Model", "SCP", "none"),
)


def conformance_page() -> str:
    """The page as Markdown."""
    return conformance_statement() + "\n" + "\n".join(_services()) + "\n"


def _services() -> Iterator[str]:
    yield "## Network"
    yield ""
    yield (
        "DICOM over TCP/IP, with or without TLS (1.2 or later), and DICOMweb as a client. Titles, addresses and peers "
        "are configured; [Data from a hospital](use/hospital.md#exchange-with-a-pacs) says how. "
        "Worklists and MPPS are not implemented."
    )
    yield ""
    yield from markdown_table(("command", "DIMSE service", "role", "DICOMweb"), _SERVICES)
    yield ""
    yield "Transfer syntaxes, by their UIDs:"
    yield ""
    also = f"for one that is not compressed by frames also {_uids(UNCOMPRESSED)}"
    yield from markdown_table(
        ("", "proposed or accepted"),
        [
            ("`listen`", _uids((*UNCOMPRESSED, *COMPRESSED))),
            ("`pacs pull` by C-GET or C-MOVE", _uids((*UNCOMPRESSED, *FETCHED))),
            ("`pacs push` by C-STORE", f"that of the file; {also}"),
            ("DICOMweb", "that in which the node stores, and that of the file"),
        ],
    )
    yield ""
    yield (
        "`listen` commits to an instance when it is on the disk, also to one that a rule has done with; what somebody "
        "deletes from its folder afterwards is gone. It reports to the port that pacs.toml names for the peer, in an "
        "association that it requests as SCP; where none is named, in the association of the request."
    )
    yield ""
    yield "`listen` accepts these SOP classes:"
    yield ""
    yield from markdown_table(("SOP class", "UID"), [(name, uid) for uid, name in RECEIVED_CLASSES.items()])
    yield ""
    yield "## FHIR"
    yield ""
    yield (
        "`medsam-planner fhir` is a client of FHIR R4: a search for Patient by identifier, and one transaction of "
        "Patient, ImagingStudy, Observation and DiagnosticReport with conditional creates; in R5 ImagingSelection too. "
        f"Private codes have the system `{PRIVATE_SYSTEM}`; identifiers that are UIDs have `{DICOM_UID}`."
    )


def _uids(uids: tuple[UID, ...]) -> str:
    return ", ".join(str(uid) for uid in uids)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(conformance_page(), encoding="utf-8")
