"""A DIMSE node: C-ECHO, C-FIND, C-GET or C-MOVE, and C-STORE by pynetdicom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from medsam_planner.errors import ConfigError, MedsamPlannerError, PeerError
from medsam_planner.io.study_files import quiet_pydicom
from medsam_planner.network.bounded_server import limit_messages
from medsam_planner.network.dimse_words import no_association, refused, refused_store
from medsam_planner.network.negotiated import FETCHED, UNCOMPRESSED
from medsam_planner.network.node import FIELDS, Instance, Keep, Level
from medsam_planner.network.settings import DimseNode, Local
from medsam_planner.network.tls import client_context

__all__ = ["Dimse"]

_MOST_CONTEXTS = 128
_AT_ONCE = 100
"""Instances of one C-GET or C-MOVE: a list of UIDs is one value of at most 65,534 bytes, and some peers allow fewer."""
_ECHO_S = 15.0
_CANNOT_UNDERSTAND = 0xC000
_OUT_OF_RESOURCES = 0xA700
_USUAL_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in ("2", "2.1", "4", "4.1", "7", "66.4", "66.7", "30", "88.34", "104.1", "104.3", "481.3")
)
"""SOP classes to negotiate where a node does not say which its instances have: what this program reads and writes."""


class Dimse:
    """One DIMSE node.

    Parameters
    ----------
    name : str
        Its name, for messages.
    node : DimseNode
    local : Local
        Title by which this program calls itself; where it receives, if the node sends by C-MOVE.
    """

    def __init__(self, name: str, node: DimseNode, local: Local) -> None:
        self._name = name
        self._node = node
        self._local = local

    def echo(self) -> str:
        """C-ECHO."""
        with self._associated([build_context(Verification)]) as association:
            status = association.send_c_echo()
            if "Status" not in status or status.Status != 0:
                raise refused(self._name, "C-ECHO", status)
        return "answers C-ECHO"

    def find(self, level: Level, match: Mapping[str, str]) -> list[pydicom.Dataset]:
        """C-FIND in the study root model."""
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = level.value.upper()
        for keyword in FIELDS[level]:
            setattr(query, keyword, "" if keyword != "SeriesNumber" and keyword != "InstanceNumber" else None)
        for keyword, value in match.items():
            setattr(query, keyword, value)
        if level is Level.SERIES and "StudyInstanceUID" not in query:
            query.StudyInstanceUID = ""
        found = []
        model = StudyRootQueryRetrieveInformationModelFind
        with self._associated([build_context(model)]) as association:
            for status, answer in association.send_c_find(query, model):
                if "Status" not in status or status.Status not in (0x0000, 0xFF00, 0xFF01):
                    raise refused(self._name, "C-FIND", status)
                if answer is not None:
                    found.append(answer)
        return found

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> None:
        """C-GET, or C-MOVE to this program; series by series, with lists of UIDs."""
        by_series: dict[tuple[str, str], list[Instance]] = {}
        for one in instances:
            by_series.setdefault((one.study_uid, one.series_uid), []).append(one)
        for asked in by_series.values():
            for start in range(0, len(asked), _AT_ONCE):
                self._fetch_some(asked[start : start + _AT_ONCE], keep)

    def send(self, files: Sequence[Path]) -> Iterator[Path]:
        """C-STORE over one association for each set of SOP classes and transfer syntaxes that one can negotiate."""
        by_kind: dict[tuple[str, str], list[Path]] = {}
        for path in files:
            with quiet_pydicom():
                header = pydicom.dcmread(path, stop_before_pixels=True)
            by_kind.setdefault((str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)), []).append(path)
        for (sop_class, syntax), paths in by_kind.items():
            contexts = [build_context(sop_class, syntax)]
            if not UID(syntax).is_encapsulated:  # uncompressed datasets are rewritten for what the node prefers
                contexts += [build_context(sop_class, one) for one in UNCOMPRESSED if one != syntax]
            with self._associated(contexts) as association:
                for path in paths:
                    yield self._stored(association, path)

    def _stored(self, association: Association, path: Path) -> Path:
        try:
            with quiet_pydicom():
                status = association.send_c_store(path)
        except ValueError as error:  # no accepted context
            raise PeerError(
                f"{self._name} does not take {path.name}: {error}. It must accept its SOP class and transfer syntax."
            ) from error
        except RuntimeError as error:  # the association has ended
            raise refused(self._name, "C-STORE", pydicom.Dataset()) from error
        if "Status" not in status or (status.Status != 0 and status.Status & 0xF000 != 0xB000):
            raise refused_store(self._name, path.name, status)
        return path

    def _fetch_some(self, instances: Sequence[Instance], keep: Keep) -> None:
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = instances[0].study_uid
        query.SeriesInstanceUID = instances[0].series_uid
        query.SOPInstanceUID = [one.uid for one in instances]
        arrivals = _Arrivals(instances, keep)
        if self._node.retrieve == "move":
            self._move(query, arrivals)
        else:
            self._get(query, arrivals)
        arrivals.require_all(self._name)

    def _get(self, query: pydicom.Dataset, arrivals: _Arrivals) -> None:
        model = StudyRootQueryRetrieveInformationModelGet
        classes = _classes_of(arrivals.instances)
        storage = [build_context(one, list(UNCOMPRESSED)) for one in classes]
        storage += [build_context(one, syntax) for syntax in FETCHED for one in classes]
        contexts = [build_context(model), *storage[: _MOST_CONTEXTS - 1]]
        handlers = [(evt.EVT_C_STORE, arrivals.on_store)]
        roles = [build_role(one, scp_role=True) for one in classes]
        with self._associated(contexts, roles=roles, handlers=handlers) as association:
            for status, _ in association.send_c_get(query, model):
                arrivals.raise_failure()
                if "Status" not in status or not _is_going_on(status.Status):
                    raise refused(self._name, "C-GET", status)

    def _move(self, query: pydicom.Dataset, arrivals: _Arrivals) -> None:
        model = StudyRootQueryRetrieveInformationModelMove
        receiver = AE(self._local.ae_title)
        receiver.require_called_aet = True
        receiver.require_calling_aet = [self._node.ae_title]
        receiver.supported_contexts = [
            build_context(one, [*UNCOMPRESSED, *FETCHED]) for one in _classes_of(arrivals.instances)
        ]
        try:
            server = receiver.start_server(
                (self._local.host, self._local.port),
                block=False,
                evt_handlers=[(evt.EVT_CONN_OPEN, limit_messages), (evt.EVT_C_STORE, arrivals.on_store)],
            )
        except OSError as error:
            raise ConfigError(
                f"Port {self._local.port} of {self._local.host} cannot be opened for what {self._name} sends: "
                f"{error.strerror or error}. Is `medsam-planner listen` using it? Change [local] in pacs.toml."
            ) from error
        try:
            with self._associated([build_context(model)]) as association:
                for status, _ in association.send_c_move(query, self._local.ae_title, model):
                    arrivals.raise_failure()
                    if "Status" not in status or not _is_going_on(status.Status):
                        raise refused(self._name, "C-MOVE", status)
        finally:
            if server is not None:
                server.shutdown()

    @contextmanager
    def _associated(
        self, contexts: Sequence[PresentationContext], *, roles: Sequence[object] = (), handlers: Sequence[object] = ()
    ) -> Iterator[Association]:
        """An association for the duration of the block."""
        entity = AE(self._local.ae_title)
        entity.connection_timeout = entity.acse_timeout = min(_ECHO_S, self._node.timeout_s)
        entity.dimse_timeout = entity.network_timeout = self._node.timeout_s
        tls = None if self._node.tls is None else (client_context(self._node.tls), self._node.host)
        association = entity.associate(
            self._node.host,
            self._node.port,
            contexts=list(contexts),
            ae_title=self._node.ae_title,
            ext_neg=list(roles) or None,  # type: ignore[arg-type]
            evt_handlers=list(handlers) or None,  # type: ignore[arg-type]
            tls_args=tls,
        )
        if not association.is_established:
            raise no_association(self._name, self._node, association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()


class _Arrivals:
    """What a peer sends because it was asked to; anything else is refused."""

    def __init__(self, instances: Sequence[Instance], keep: Keep) -> None:
        self.instances = instances
        self._left = {one.uid: one for one in instances}
        self._keep = keep
        self._failure: MedsamPlannerError | None = None

    def on_store(self, event: evt.Event) -> int:
        """Keep an instance; a status of PS3.4, annex B."""
        one = self._left.get(str(getattr(event.request, "AffectedSOPInstanceUID", "")))
        if one is None:
            return _CANNOT_UNDERSTAND
        try:
            self._keep(one, event.encoded_dataset())
        except MedsamPlannerError as error:  # no space is left
            self._failure = error
            return _OUT_OF_RESOURCES
        del self._left[one.uid]
        return 0

    def raise_failure(self) -> None:
        """Raise what went wrong in another thread."""
        if self._failure is not None:
            raise self._failure

    def require_all(self, name: str) -> None:
        """Refuse an end without all instances."""
        self.raise_failure()
        if self._left:
            raise PeerError(
                f"{name} did not send {len(self._left)} of {len(self.instances)} instances, the first "
                f"{next(iter(self._left))}. Does it know this program's title and, for C-MOVE, its address?"
            )


def _classes_of(instances: Sequence[Instance]) -> list[str]:
    return sorted({one.sop_class_uid for one in instances if one.sop_class_uid}) or list(_USUAL_CLASSES)


def _is_going_on(status: int) -> bool:
    """Whether a C-GET or C-MOVE is under way or has ended; what is missing is counted afterwards."""
    return status in (0x0000, 0xFF00, 0xB000)
