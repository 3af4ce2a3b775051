"""Failures of DIMSE in words: those of the peer, and what to do."""

from __future__ import annotations

import pydicom
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from medsam_planner.errors import PeerAwayError, PeerError
from medsam_planner.network.settings import DimseNode

__all__ = ["no_association", "refused", "refused_store"]

_TRANSIENT = 0x02
_MEANINGS = {
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0xA700: "out of resources",
    0xA701: "out of resources",
    0xA702: "sub-operations cannot be done: it may not know the SOP class as one that it can send by C-GET",
    0xA801: "move destination unknown",
    0xA900: "dataset does not match SOP class",
}
_BUSY = frozenset({0xA700, 0xA701})


def no_association(name: str, node: DimseNode, association: Association) -> PeerError:
    """Why there is no association."""
    place = f"{name} ({node.ae_title} at {node.host}:{node.port})"
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = getattr(answer, "reason_str", "") or "no reason"
        told = f"{place} rejected the association: {reason}"
        if getattr(answer, "result", None) == _TRANSIENT:
            return PeerAwayError(f"{told}. It may accept it later.")
        return PeerError(f"{told}. Check the titles and the address by which it must know this program.")
    if association.acceptor.primitive is not None and not association.accepted_contexts:
        return PeerError(f"{place} accepts none of the SOP classes or transfer syntaxes that are needed.")
    return PeerAwayError(f"{place} does not answer, or ended the association at once. Is it running, and is it DICOM?")


def refused(name: str, service: str, status: pydicom.Dataset) -> PeerError:
    """Why a request failed; an empty status means that the association ended."""
    if "Status" not in status:
        return PeerAwayError(f"{name} ended the association during {service}, or did not answer in time.")
    told = f"{name} answered {service} with {_in_words(status)}"
    if service == "C-GET":
        told += ". With retrieve = 'move' in pacs.toml it may send it"
    return PeerAwayError(f"{told}.") if status.Status in _BUSY else PeerError(f"{told}.")


def refused_store(name: str, file: str, status: pydicom.Dataset) -> PeerError:
    """Why an instance was not stored."""
    return refused(name, f"C-STORE of {file}", status)


def _in_words(status: pydicom.Dataset) -> str:
    code = int(status.Status)
    comment = " ".join(str(status.get("ErrorComment") or "").split())
    meaning = _MEANINGS.get(code) or code_to_category(code).lower()
    return f"{code:#06x} ({meaning}){f': {comment}' if comment.isprintable() and comment else ''}"
