"""A FHIR server: whom it knows, and sending of a transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medsam_planner.errors import PeerError
from medsam_planner.network.fhir.bundle import Release
from medsam_planner.network.fhir.resources import Entry
from medsam_planner.network.http_peer import HttpPeer
from medsam_planner.network.retries import retried
from medsam_planner.network.settings import HttpServer

__all__ = ["FhirServer", "Stored"]

_FHIR_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_VERSION = {Release.R4: "4.0", Release.R5: "5.0"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the server says of one resource."""

    location: str
    is_new: bool
    """Otherwise one with the same identifier was there, and was left as it is."""


class FhirServer:
    """One FHIR server.

    Parameters
    ----------
    name : str
        Its name, for messages.
    server : HttpServer
    release : Release
        Of FHIR, that it is asked in.
    """

    def __init__(self, name: str, server: HttpServer, release: Release = Release.R4) -> None:
        self._peer = HttpPeer(name, server.auth, server.ca_file, speaks="FHIR")
        self._url = server.url.rstrip("/")
        self._timeout_s = server.timeout_s
        self._type = f"application/fhir+json; fhirVersion={_VERSION[release]}"

    def known_patient(self, patient: Entry) -> str | None:
        """Reference to the patient on the server, such as ``"Patient/17"``; None if it knows none of the identifier.

        Raises
        ------
        PeerError
            If it knows several, one that was replaced, or one of another ID, name or date of birth: nothing may be
            filed under a wrong patient.
        """
        answer = self._asked("GET", f"Patient?{patient.search}", "searchset")
        found = [
            one["resource"]
            for one in answer.get("entry", ())
            if one.get("resource", {}).get("resourceType") == "Patient"
        ]
        if not found:
            return None
        if len(found) > 1:
            raise PeerError(
                f"{self._peer.name} knows {len(found)} patients with this patient ID. Name the system of the ID with "
                "--patient-system."
            )
        if not _FHIR_ID.fullmatch(str(found[0].get("id"))):
            raise PeerError(f"{self._peer.name} answered a patient without an id that can be referred to.")
        is_replaced = any(one.get("type") == "replaced-by" for one in _tables(found[0].get("link")))
        if found[0].get("active") is False or is_replaced:
            raise PeerError(
                f"The patient with this patient ID on {self._peer.name} is not active, or was joined with another one. "
                "Nothing was sent. Ask under which patient it is to be filed."
            )
        if differing := _differences(patient.resource, found[0]):
            raise PeerError(
                f"The patient with this patient ID on {self._peer.name} has another {' and another '.join(differing)} "
                "than the run. Nothing was sent. Check the patient, and the system of the ID (--patient-system)."
            )
        return f"Patient/{found[0]['id']}"

    def send(self, bundle: Mapping[str, Any]) -> list[Stored]:
        """Send a transaction; what is there already stays as it is, so it can be repeated.

        Returns
        -------
        list of Stored
            For each entry of the bundle.
        """
        answer = self._asked("POST", "", "transaction-response", bundle)
        answers = [one.get("response", {}) for one in answer.get("entry", ())]
        if len(answers) != len(bundle["entry"]):
            raise PeerError(
                f"{self._peer.name} answered {len(answers)} of {len(bundle['entry'])} resources of a transaction."
            )
        stored = []
        for one, entry in zip(answers, bundle["entry"], strict=True):
            status = str(one.get("status", "none"))
            if not status.startswith("2"):
                raise PeerError(f"{self._peer.name} did not store a {entry['request']['url']}: status {status}.")
            kind, location = entry["request"]["url"], str(one.get("location", ""))
            if location and kind not in location.split("?")[0].split("/"):
                raise PeerError(f"{self._peer.name} answered another resource than the {kind} that was sent: check it.")
            stored.append(Stored(location, status.startswith("201")))
        return stored

    def _asked(self, method: str, path: str, kind: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The bundle of a kind that the server answers; its entries are tables."""

        def ask() -> dict[str, Any]:
            answer = self._peer.session.request(
                method,
                f"{self._url}/{path}" if path else self._url,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Accept": self._type, **({} if body is None else {"Content-Type": self._type})},
                timeout=self._timeout_s,
            )
            answer.raise_for_status()
            document = answer.json()
            if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
                raise ValueError("no Bundle")
            if document.get("type") != kind:
                raise ValueError(f"no Bundle of the type {kind}")
            if not isinstance(document.get("entry", []), list) or not all(map(_is_entry, document.get("entry", []))):
                raise ValueError("a Bundle whose entries are none")
            return document

        return retried(lambda: self._peer.asked(ask))


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs of the identifier, and of name and date of birth where both sides state them."""
    differing = []
    known = {(str(one.get("system") or ""), str(one.get("value"))) for one in _tables(theirs.get("identifier"))}
    wanted = ours["identifier"][0]
    if not any(wanted["value"] == value and wanted.get("system") in (None, system) for system, value in known):
        differing.append("patient ID")  # a server that does not know the search answers anybody
    families = {str(one["family"]).strip().casefold() for one in _tables(theirs.get("name")) if one.get("family")}
    own = {str(one["family"]).strip().casefold() for one in ours.get("name", ()) if one.get("family")}
    if own and families and not own & families:
        differing.append("family name")
    if ours.get("birthDate") and theirs.get("birthDate") and ours["birthDate"] != theirs["birthDate"]:
        differing.append("date of birth")
    return differing


def _is_entry(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(key, {}), dict) for key in ("resource", "response"))


def _tables(value: object) -> list[dict[str, Any]]:
    """The tables in a list that somebody else wrote."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
