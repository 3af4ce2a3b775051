"""A FHIR server in memory that validates what it gets, creates conditionally, and wants a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

__all__ = ["FhirDouble", "fhir_double"]


@dataclass
class FhirDouble:
    """What it holds and what it was asked."""

    url: str = ""
    token: str | None = None
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By reference, such as ``"Patient/1"``."""
    statuses: list[int] = field(default_factory=list)
    """Answers of the next requests that are none."""
    headers: list[dict[str, str]] = field(default_factory=list)
    nonsense: list[object] = field(default_factory=list)
    """Documents that it answers with 200 to the next requests, whatever they ask."""
    redirect: str = ""
    """Where it sends every request on to."""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.resources.values() if one["resourceType"] == kind]

    def found(self, kind: str, query: str) -> list[str]:
        system, _, value = parse_qs(query)["identifier"][0].rpartition("|")
        return [
            reference
            for reference, one in self.resources.items()
            if one["resourceType"] == kind
            and any(
                each["value"] == value and (not system or each.get("system") == system) for each in one["identifier"]
            )
        ]

    def transact(self, bundle: dict[str, Any]) -> dict[str, Any]:
        Bundle.model_validate(bundle)
        answers, places = [], {}
        for entry in bundle["entry"]:
            kind = entry["request"]["url"]
            found = self.found(kind, entry["request"]["ifNoneExist"])
            reference = found[0] if found else f"{kind}/{len(self.resources) + 1}"
            if not found:
                self.resources[reference] = {**entry["resource"], "id": reference.partition("/")[2]}
            places[entry["fullUrl"]] = reference
            answers.append({"response": {"status": "200" if found else "201 Created", "location": reference}})
        text = json.dumps(self.resources)
        for address, reference in places.items():
            text = text.replace(json.dumps(address), json.dumps(reference))
        self.resources = json.loads(text)
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}


@contextmanager
def fhir_double(token: str | None = None) -> Iterator[FhirDouble]:
    """The server for the duration of the block."""
    state = FhirDouble(token=token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if not self.refused():
                found = state.found(parts.path.rpartition("/")[2], parts.query)
                entries = [{"resource": state.resources[one]} for one in found]
                self.answer(200, {"resourceType": "Bundle", "type": "searchset", "entry": entries})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.refused():
                return
            try:
                self.answer(200, state.transact(body))
            except ValidationError as error:
                self.answer(400, {"resourceType": "OperationOutcome", "issue": [{"diagnostics": str(error)}]})

        def refused(self) -> bool:
            state.headers.append(dict(self.headers))
            if state.redirect:
                self.send_response(307)
                self.send_header("Location", state.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return True
            if state.nonsense:
                self.answer(200, state.nonsense.pop(0))
                return True
            if state.statuses:
                status = state.statuses.pop(0)
            elif state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                status = 401
            else:
                return False
            issue = {"severity": "error", "code": "processing", "diagnostics": "not as things are"}
            self.answer(status, {"resourceType": "OperationOutcome", "issue": [issue]})
            return True

        def answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/fhir"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
