"""Requests to a server of pacs.toml over HTTP: its login, its words of refusal, what may succeed later."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pydicom
import requests

from medsam_planner.errors import ConfigError, PeerAwayError, PeerError
from medsam_planner.network.credentials import credentials_of
from medsam_planner.network.settings import BasicAuth, BearerAuth, CommandAuth, OAuth2

__all__ = ["HttpPeer"]

T = TypeVar("T")

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_QUOTE = 300


class HttpPeer:
    """One server.

    Parameters
    ----------
    name : str
        Its name, for messages.
    auth, ca_file
        As pacs.toml has them.
    speaks : str
        What it is expected to speak, for messages.
    """

    def __init__(
        self,
        name: str,
        auth: BearerAuth | BasicAuth | OAuth2 | CommandAuth | None,
        ca_file: Path | None,
        *,
        speaks: str,
    ) -> None:
        self.name = name
        self._speaks = speaks
        self._credentials = credentials_of(auth)
        self.session = _Session()
        self.session.trust_env = False  # no proxy and no password of .netrc that pacs.toml does not name
        if self._credentials is not None:
            self.session.auth = self._credentials
        if ca_file is not None:
            self.session.verify = str(ca_file)

    def asked(self, ask: Callable[[], T]) -> T:
        """Ask, once more with a new token where the old one was refused, and put failures into words.

        Parameters
        ----------
        ask : callable
            Uses :attr:`session`, and raises :class:`requests.HTTPError` for a status of failure.

        Raises
        ------
        PeerError
            With the server's own words.
        PeerAwayError
            If the same may succeed later.
        """
        try:
            return self._once(ask)
        except _TokenRefusedError:
            if self._credentials is None:
                raise
            self._credentials.forget()
            return self._once(ask)

    def _once(self, ask: Callable[[], T]) -> T:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ask()
        except ConfigError:
            raise  # a secret that pacs.toml names is not there: the server was not asked
        except requests.HTTPError as error:
            response = error.response
            assert response is not None, "raise_for_status names it"
            told = f"{self.name} answered {response.status_code} {response.reason}{self._words(response)}"
            if response.is_redirect:
                parts = urlsplit(str(response.headers["Location"]))
                where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another address of its own"
                raise PeerError(
                    f"{told}: it sends on to {where}, which is not followed, since patients' data and a login go "
                    "along. State the address that answers as url in pacs.toml."
                ) from error
            if response.status_code == 401:
                raise _TokenRefusedError(f"{told}. Check auth of this node in pacs.toml.") from error
            if response.status_code in _BUSY:
                raise PeerAwayError(f"{told}.") from error
            raise PeerError(f"{told}.") from error
        except requests.exceptions.SSLError as error:
            raise PeerError(
                f"No encrypted connection to {self.name}: {_last_cause(error)}. Name the authority that signed its "
                "certificate with ca_file in pacs.toml."
            ) from error
        except requests.RequestException as error:
            raise PeerAwayError(f"{self.name} does not answer: {_last_cause(error)}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, pydicom.errors.InvalidDicomError) as error:
            raise PeerError(
                f"{self.name} answered what is no {self._speaks}: {error}. Check url in pacs.toml."
            ) from error

    def _words(self, response: requests.Response) -> str:
        """The server's own words in a refusal, in one line."""
        try:
            document = response.json()
        except ValueError:
            text = "" if "html" in response.headers.get("Content-Type", "") else response.text
        else:
            text = _said(document) or response.text
        line = " ".join(text.split())[:_LONGEST_QUOTE]
        if not line.isprintable() or not line:
            return ""
        return f": {self._credentials.hidden_in(line) if self._credentials else line}"


def _said(document: object) -> str:
    """What a document of an error says: fields of DICOMweb servers, or the issues of a FHIR OperationOutcome."""
    if not isinstance(document, dict):
        return ""
    known = ("Details", "message", "Message", "error_description", "errorMessage", "detail")
    for key in known:
        if document.get(key):
            return str(document[key])
    issues = document.get("issue")
    said = []
    for issue in issues if isinstance(issues, list) else []:
        if isinstance(issue, dict):
            details = issue.get("details")
            said.append(issue.get("diagnostics") or (details.get("text") if isinstance(details, dict) else None))
    return "; ".join(str(one) for one in said if one)


class _Session(requests.Session):
    """Follows no redirection, and leaves ``*`` in queries as it is, as RFC 3986 allows.

    Orthanc's DICOMweb 1.7 takes ``%2A`` literally.
    """

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As the base class.

        Raises
        ------
        requests.HTTPError
            If the server sends on to another address.
        """
        answer = super().send(request, **{**kwargs, "allow_redirects": False})
        if answer.is_redirect:
            raise requests.HTTPError("redirection", response=answer)
        return answer

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As the base class, but for the ``*``."""
        prepared = super().prepare_request(request)
        prepared.url = (prepared.url or "").replace("%2A", "*")
        return prepared


class _TokenRefusedError(PeerError):
    """The server does not accept the token."""


def _last_cause(error: BaseException) -> str:
    """The innermost reason: the outer ones repeat the address."""
    while (inner := next((one for one in error.args if isinstance(one, BaseException)), None)) is not None or (
        inner := getattr(error, "reason", None)
    ) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return " ".join(str(error).split())[:_LONGEST_QUOTE] or type(error).__name__
