"""A DICOMweb node: QIDO-RS, WADO-RS and STOW-RS by dicomweb-client."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

from medsam_planner.errors import PeerAwayError, PeerError
from medsam_planner.io.study_files import quiet_pydicom
from medsam_planner.network.credentials import credentials_of
from medsam_planner.network.node import FIELDS, Instance, Keep, Level
from medsam_planner.network.settings import DicomwebNode

__all__ = ["Dicomweb"]

T = TypeVar("T")

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_QUOTE = 300
_AS_STORED = (("application/dicom", "*"),)
"""Media type: in the transfer syntax in which it is stored, so that nothing is decoded on the way."""
_AT_ONCE = 500
"""Answers of one page of a query."""


class Dicomweb:
    """One DICOMweb node.

    Parameters
    ----------
    name : str
        Its name, for messages.
    node : DicomwebNode
    """

    def __init__(self, name: str, node: DicomwebNode) -> None:
        self._name = name
        self._credentials = credentials_of(node.auth)
        session = _Session()
        session.trust_env = False  # no proxy and no password of .netrc that pacs.toml does not name
        if self._credentials is not None:
            session.auth = self._credentials
        if node.ca_file is not None:
            session.verify = str(node.ca_file)
        self._client = DICOMwebClient(node.url.rstrip("/"), session=session, timeout=node.timeout_s)
        # Its own repetitions would send an emptied body (it is a generator); retries.py repeats whole requests.
        self._client.set_http_retry_params(retry=False)

    def echo(self) -> str:
        """Search for one study."""
        self._asked(partial(self._client.search_for_studies, limit=1))
        return "answers QIDO-RS"

    def find(self, level: Level, match: Mapping[str, str]) -> list[pydicom.Dataset]:
        """Search with QIDO-RS, page by page."""
        filters = dict(match)
        parents = {}
        if level is not Level.STUDY and "StudyInstanceUID" in filters:
            parents["study_instance_uid"] = filters.pop("StudyInstanceUID")
        if level is Level.IMAGE and "SeriesInstanceUID" in filters:
            parents["series_instance_uid"] = filters.pop("SeriesInstanceUID")
        search_by_level: dict[Level, Callable[..., list[dict[str, Any]]]] = {
            Level.STUDY: self._client.search_for_studies,
            Level.SERIES: self._client.search_for_series,
            Level.IMAGE: self._client.search_for_instances,
        }
        # Patient and study of a series are asked for where its parent is not named.
        fields = [*FIELDS[level], *(("StudyInstanceUID",) if level is not Level.STUDY and not parents else ())]
        found: list[pydicom.Dataset] = []
        while True:
            asked = {"search_filters": filters, "fields": fields, "limit": _AT_ONCE, "offset": len(found)}
            page = self._asked(partial(search_by_level[level], **parents, **asked))
            found += [pydicom.Dataset.from_json(one) for one in page]
            if len(page) < _AT_ONCE:
                return found

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> None:
        """Retrieve one instance after the other with WADO-RS."""
        for one in instances:
            place = (one.study_uid, one.series_uid, one.uid)
            dataset = self._asked(partial(self._client.retrieve_instance, *place, media_types=_AS_STORED))
            if dataset.get("SOPInstanceUID") != one.uid:
                raise PeerError(f"{self._name} sent another instance than {one.uid}, which was asked for.")
            keep(one, _file_bytes(dataset))

    def send(self, files: Sequence[Path]) -> Iterator[Path]:
        """Store one file after the other with STOW-RS."""
        for path in files:
            with quiet_pydicom():
                dataset = pydicom.dcmread(path)
            if dataset.preamble is None:  # some servers refuse a part without
                dataset.preamble = b"\0" * 128
            answer = self._asked(partial(self._client.store_instances, [dataset]))
            for failed in answer.get("FailedSOPSequence", ()):
                reason = failed.get("FailureReason")
                told = "" if reason is None else f", reason {int(reason):#06x}"
                raise PeerError(f"{self._name} did not store {path.name} ({dataset.get('SOPInstanceUID')}){told}.")
            yield path

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask, once more with a new token where the old one was refused, and put failures into words."""
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
        except requests.HTTPError as error:
            response = error.response
            assert response is not None, "raise_for_status names it"
            told = f"{self._name} answered {response.status_code} {response.reason}{self._words(response)}"
            if response.status_code == 401:
                raise _TokenRefusedError(f"{told}. Check auth of this node in pacs.toml.") from error
            if response.status_code in _BUSY:
                raise PeerAwayError(f"{told}.") from error
            raise PeerError(f"{told}.") from error
        except requests.exceptions.SSLError as error:
            raise PeerError(
                f"No encrypted connection to {self._name}: {_last_cause(error)}. Name the authority that signed its "
                "certificate with ca_file in pacs.toml."
            ) from error
        except requests.RequestException as error:
            raise PeerAwayError(f"{self._name} does not answer: {_last_cause(error)}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, pydicom.errors.InvalidDicomError) as error:
            raise PeerError(f"{self._name} answered what is no DICOMweb: {error}. Check url in pacs.toml.") from error

    def _words(self, response: requests.Response) -> str:
        """The node's own words in a refusal, in one line."""
        try:
            document = response.json()
        except ValueError:
            text = "" if "html" in response.headers.get("Content-Type", "") else response.text
        else:
            known = ("Details", "message", "Message", "error_description", "errorMessage", "detail")
            said = [document[key] for key in known if document.get(key)] if isinstance(document, dict) else []
            text = str(said[0]) if said else response.text
        line = " ".join(text.split())[:_LONGEST_QUOTE]
        if not line.isprintable() or not line:
            return ""
        return f": {self._credentials.hidden_in(line) if self._credentials else line}"


class _Session(requests.Session):
    """Leaves ``*`` in queries as it is, as RFC 3986 allows: Orthanc's DICOMweb 1.7 takes ``%2A`` literally."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As the base class, but for the ``*``."""
        prepared = super().prepare_request(request)
        prepared.url = (prepared.url or "").replace("%2A", "*")
        return prepared


class _TokenRefusedError(PeerError):
    """The node does not accept the token."""


def _last_cause(error: BaseException) -> str:
    """The innermost reason: the outer ones repeat the address."""
    while (inner := next((one for one in error.args if isinstance(one, BaseException)), None)) is not None or (
        inner := getattr(error, "reason", None)
    ) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return " ".join(str(error).split())[:_LONGEST_QUOTE] or type(error).__name__


def _file_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    with quiet_pydicom():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
