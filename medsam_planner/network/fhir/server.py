"""A FHIR server: whom it knows, and sending of a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from medsam_planner.errors import PeerError
from medsam_planner.network.fhir.bundle import Release
from medsam_planner.network.fhir.resources import Entry
from medsam_planner.network.http_peer import HttpPeer
from medsam_planner.network.retries import retried
from medsam_planner.network.settings import HttpServer

__all__ = ["FhirServer", "Stored"]

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
            If it knows several, or one of another name or date of birth: nothing may be filed under a wrong patient.
        """
        found = [
            one["resource"]
            for one in self._asked("GET", f"Patient?{patient.search}").get("entry", ())
            if one.get("resource", {}).get("resourceType") == "Patient"
        ]
        if not found:
            return None
        if len(found) > 1:
            raise PeerError(
                f"{self._peer.name} knows {len(found)} patients with this patient ID. Name the system of the ID with "
                "--patient-system."
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
        answer = self._asked("POST", "", bundle)
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
            stored.append(Stored(str(one.get("location", "")), status.startswith("201")))
        return stored

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            answer = self._peer.session.request(
                method,
                f"{self._url}/{path}" if path else self._url,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Accept": self._type, **({} if body is None else {"Content-Type": self._type})},
                timeout=self._timeout_s,
                allow_redirects=False,
            )
            if answer.is_redirect:
                raise requests.HTTPError(response=answer)
            answer.raise_for_status()
            document = answer.json()
            if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
                raise ValueError("no Bundle")
            return document

        return retried(lambda: self._peer.asked(ask))


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs of name and date of birth, where both sides state it."""
    differing = []
    families = {str(one["family"]).strip().casefold() for one in theirs.get("name", ()) if one.get("family")}
    own = {str(one["family"]).strip().casefold() for one in ours.get("name", ()) if one.get("family")}
    if own and families and not own & families:
        differing.append("family name")
    if ours.get("birthDate") and theirs.get("birthDate") and ours["birthDate"] != theirs["birthDate"]:
        differing.append("date of birth")
    return differing
