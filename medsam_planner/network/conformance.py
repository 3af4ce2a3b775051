"""The page of the DICOM conformance statement: the objects, and the services of the network.

``python -m medsam_planner.network.conformance docs/conformance.md`` writes it; a test compares it with what is
negotiated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import UID

from medsam_planner.io.objects.conformance import conformance_statement
from medsam_planner.network.negotiated import COMPRESSED, FETCHED, RECEIVED_CLASSES, UNCOMPRESSED

__all__ = ["conformance_page"]

_SERVICES = (
    ("`pacs echo`", "Verification", "SCU", "a search for one study"),
    ("`pacs query`", "Study Root Query/Retrieve - FIND", "SCU", "QIDO-RS: studies, series, instances"),
    ("`pacs pull`", "Study Root Query/Retrieve - GET, or - MOVE with Storage SCP", "SCU", "WADO-RS: instances"),
    ("`pacs push`, rules of `listen`", "Storage of any class, and FIND", "SCU", "STOW-RS, QIDO-RS, WADO-RS"),
    ("`listen`", "Verification; Storage of the classes below", "SCP", "none"),
)


def conformance_page() -> str:
    """The page as Markdown."""
    return conformance_statement() + "\n" + "\n".join(_services()) + "\n"


def _services() -> Iterator[str]:
    yield "## Network"
    yield ""
    yield (
        "DICOM over TCP/IP, with or without TLS (1.2 or later), and DICOMweb as a client. Titles, addresses and peers "
        "are configured; [Data from a hospital](use/hospital.md#exchange-with-a-pacs) says how. Storage commitment, "
        "worklists and MPPS are not implemented."
    )
    yield ""
    yield "| command | DIMSE service | role | DICOMweb |"
    yield "|---|---|---|---|"
    for row in _SERVICES:
        yield f"| {' | '.join(row)} |"
    yield ""
    yield "Transfer syntaxes, by their UIDs:"
    yield ""
    yield "| | proposed or accepted |"
    yield "|---|---|"
    yield f"| `listen` | {_uids((*UNCOMPRESSED, *COMPRESSED))} |"
    yield f"| `pacs pull` by C-GET or C-MOVE | {_uids((*UNCOMPRESSED, *FETCHED))} |"
    also = f"for one that is not compressed by frames also {_uids(UNCOMPRESSED)}"
    yield f"| `pacs push` by C-STORE | that of the file; {also} |"
    yield "| DICOMweb | that in which the node stores, and that of the file |"
    yield ""
    yield "`listen` accepts these SOP classes:"
    yield ""
    yield "| SOP class | UID |"
    yield "|---|---|"
    for uid, name in RECEIVED_CLASSES.items():
        yield f"| {name} | {uid} |"


def _uids(uids: tuple[UID, ...]) -> str:
    return ", ".join(str(uid) for uid in uids)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(conformance_page(), encoding="utf-8")
