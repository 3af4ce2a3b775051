"""Refusals as problem documents (RFC 9457), each with a ``code`` for programs and what to ``do`` for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from medsam_planner.errors import MedsamPlannerError, code_of
from medsam_planner.service.uploads import UploadRefusedError

__all__ = ["MEDIA_TYPE", "kind_of", "problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of refusal."""

    status: int
    title: str
    do: str


_KINDS: Mapping[str, _Kind] = {
    "at-capacity": _Kind(503, "The server is at its capacity", "Give a session back, or try again later."),
    "forbidden": _Kind(403, "Your role does not allow it", "Ask the owner of the study, or an administrator."),
    "lease-held": _Kind(409, "The session is not held by this client", "Claim the session: POST .../lease."),
    "lease-lost": _Kind(410, "The lease has ended", "Claim the session again: POST .../lease."),
    "not-there": _Kind(404, "Not there", "List what there is, and name one of it."),
    "read-only": _Kind(409, "The session can only be read", "Begin a new session on the study."),
    "worker-died": _Kind(503, "The computation has ended twice without a result", "Ask again, with fewer samples."),
    "model-server": _Kind(502, "The server of the model does not help", "Tell the administrator what the detail says."),
    "stale": _Kind(409, "The result is not of the present prompts", "Segment the structure: POST .../segment."),
    "cancelled": _Kind(409, "Stopped on request", "Ask again."),
    "prompt": _Kind(422, "The prompt cannot be used", "Correct the prompt as the detail says."),
    "geometry": _Kind(422, "The geometry does not fit", "Correct the positions: LPS mm of this study."),
    "study": _Kind(422, "The study cannot be opened", "Follow the detail, or upload the study."),
    "plan": _Kind(422, "The plan request cannot be used", "Correct the request as the detail says."),
    "config": _Kind(422, "The request cannot be used", "Correct the request as the detail says."),
    "empty-structure": _Kind(422, "The structure is empty", "Prompt it anew, then segment it."),
    "zero-variance": _Kind(422, "All stochastic passes are equal", "Ask for another source of uncertainty."),
    "saliency": _Kind(422, "No saliency can be computed", "Ask without saliency."),
    "uncertainty": _Kind(422, "No uncertainty can be computed", "Ask for more samples."),
    "weights": _Kind(422, "The model is not available", "Name another model, or fetch its weights on the server."),
    "output": _Kind(507, "The server cannot write", "Free some space on the server, then try again."),
    "missing-dependency": _Kind(501, "A part is not installed on the server", "Install what the detail names."),
    "token": _Kind(401, "The token is missing or wrong", "Send the header 'Authorization: Bearer TOKEN'."),
    "login": _Kind(401, "Not logged in", "Send the name and the password of a user of this server."),
    "too-many-tries": _Kind(429, "Too many tries to log in", "Wait as long as Retry-After says."),
    "host": _Kind(400, "Unknown host name", "Use the server's address, or restart it with --name NAME."),
    "origin": _Kind(403, "Another site's page may not ask", "Ask from a program, or from this server's own page."),
    "request": _Kind(422, "The request does not follow the schema", "Compare it with /api/v1/openapi.json."),
    "too-large": _Kind(413, "The request is too large", "Send less at once."),
    "upload": _Kind(400, "The upload was refused", "Follow the detail."),
    "fault": _Kind(500, "A fault of the server", "Tell the administrator of the server."),
}
_HTTP = _Kind(400, "The request was refused", "See /api/v1/openapi.json.")


def kind_of(code: str) -> _Kind:
    """Status, title and advice of a code."""
    return _KINDS.get(code, _HTTP)


def problem(code: str, detail: str, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document.

    Parameters
    ----------
    code : str
    detail : str
        What was expected, what came, what to do.
    status : int, optional
        By default that of the code.
    headers : mapping, optional
    """
    kind = kind_of(code)
    number = kind.status if status is None else status
    document: dict[str, Any] = {
        "type": f"urn:medsam-planner:problem:{code}",
        "title": kind.title,
        "status": number,
        "detail": detail,
        "code": code,
        "do": kind.do,
    }
    content = json.dumps(document).encode("ascii")  # a refused name may hold what no UTF-8 can
    return Response(content, status_code=number, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def problem_of(error: MedsamPlannerError, detail: str) -> Response:
    """The problem document of an error, with its message as it may be told."""
    if isinstance(error, UploadRefusedError):
        return problem("upload", detail, status=error.status)
    return problem(code_of(error), detail)
