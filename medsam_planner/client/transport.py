"""Requests over HTTP; a refusal becomes the error that the service raised."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import httpx

from medsam_planner.errors import ERROR_BY_CODE, ServiceError
from prompts.whole_file import whole_file

__all__ = ["Transport"]

_PATIENCE_S = 120.0
"""The longest answer is the reading of a large study."""


class Transport:
    """One connection to one server.

    Parameters
    ----------
    address : str
    token : str or None
    """

    def __init__(self, address: str, token: str | None) -> None:
        headers = {} if not token else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            base_url=f"{address.rstrip('/')}/api/v1", headers=headers, timeout=_PATIENCE_S, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        file: Path | None = None,
        fields: Mapping[str, str] | None = None,
        lease: str | None = None,
    ) -> Any:
        """One request and its JSON answer.

        Parameters
        ----------
        method, path : str
        body : mapping, optional
            Sent as JSON.
        file : Path, optional
            Sent as ``file`` of a form, with `fields`.
        fields : mapping, optional
        lease : str, optional

        Raises
        ------
        MedsamPlannerError
            The error of the service; :class:`ServiceError` where it cannot be reached.
        """
        headers = {} if lease is None else {"Lease": lease}
        try:
            if file is None:
                answer = self._http.request(method, path, json=body, headers=headers)
            else:
                with file.open("rb") as stream:
                    answer = self._http.request(
                        method, path, files={"file": (file.name, stream)}, data=dict(fields or {}), headers=headers
                    )
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if answer.is_error:
            _refuse(answer)
        return answer.json() if answer.content else None

    def save(self, path: str, target: Path, *, parameters: Mapping[str, str] | None = None) -> None:
        """Write an answer to a file, atomically.

        Raises
        ------
        MedsamPlannerError
            As :meth:`ask`; :class:`OutputError` where the file cannot be written.
        """
        try:
            with self._http.stream("GET", path, params=dict(parameters or {})) as answer:
                if answer.is_error:
                    answer.read()
                    _refuse(answer)
                with whole_file(target) as out:
                    for piece in answer.iter_bytes():
                        out.write(piece)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    def events(self, path: str) -> Iterator[Any]:
        """The JSON documents of server-sent events, until the server ends them."""
        try:
            with self._http.stream("GET", path) as answer:
                if answer.is_error:
                    answer.read()
                    _refuse(answer)
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line.removeprefix("data:"))
        except httpx.HTTPError as error:
            raise _unreachable(error) from error


def _refuse(answer: httpx.Response) -> NoReturn:
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
        do = "" if code in ERROR_BY_CODE else f" {problem['do']}"
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceError(
            f"Expected a server of MedSAM Planner, got HTTP {answer.status_code} without a problem document. Check the "
            "address."
        ) from error
    raise ERROR_BY_CODE.get(code, ServiceError)(detail + do)


def _unreachable(error: httpx.HTTPError) -> ServiceError:
    return ServiceError(
        f"The server cannot be reached: {error or type(error).__name__}. Check the address, and whether it runs."
    )
