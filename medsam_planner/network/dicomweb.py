"""A DICOMweb node: QIDO-RS, WADO-RS and STOW-RS by dicomweb-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from dicomweb_client.api import DICOMwebClient

from medsam_planner.errors import PeerError
from medsam_planner.io.study_files import quiet_pydicom
from medsam_planner.network.http_peer import HttpPeer
from medsam_planner.network.node import FIELDS, Instance, Keep, Level
from medsam_planner.network.settings import DicomwebNode

__all__ = ["Dicomweb"]

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
        self._peer = HttpPeer(name, node.auth, node.ca_file, speaks="DICOMweb")
        self._client = DICOMwebClient(node.url.rstrip("/"), session=self._peer.session, timeout=node.timeout_s)
        # Its own repetitions would send an emptied body (it is a generator); retries.py repeats whole requests.
        self._client.set_http_retry_params(retry=False)

    def echo(self) -> str:
        """Search for one study."""
        self._peer.asked(partial(self._client.search_for_studies, limit=1))
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
            page = self._peer.asked(partial(search_by_level[level], **parents, **asked))
            found += [pydicom.Dataset.from_json(one) for one in page]
            if len(page) < _AT_ONCE:
                return found

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> None:
        """Retrieve one instance after the other with WADO-RS."""
        for one in instances:
            place = (one.study_uid, one.series_uid, one.uid)
            dataset = self._peer.asked(partial(self._client.retrieve_instance, *place, media_types=_AS_STORED))
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
            answer = self._peer.asked(partial(self._client.store_instances, [dataset]))
            for failed in answer.get("FailedSOPSequence", ()):
                reason = failed.get("FailureReason")
                told = "" if reason is None else f", reason {int(reason):#06x}"
                raise PeerError(f"{self._name} did not store {path.name} ({dataset.get('SOPInstanceUID')}){told}.")
            yield path


def _file_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    with quiet_pydicom():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
