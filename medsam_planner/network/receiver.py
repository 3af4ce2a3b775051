"""A C-STORE SCP: only known titles from known addresses, only images, and nothing is acknowledged before it is kept."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import pydicom
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from medsam_planner.errors import ConfigError
from medsam_planner.network.bounded_server import MOST_CONNECTIONS, limit_messages, server_for
from medsam_planner.network.commitment import Commitments
from medsam_planner.network.inbox import Inbox, RefusedInstanceError
from medsam_planner.network.listen_settings import Listen
from medsam_planner.network.negotiated import COMPRESSED, RECEIVED_CLASSES, UNCOMPRESSED
from medsam_planner.network.settings import Local
from medsam_planner.network.tls import server_context

__all__ = ["Receiver"]

_MOST_ASSOCIATIONS = 16
_SILENT_S = 10.0
"""After so long a connection ends that asks for no association."""
_PERMANENT, _BY_SERVICE_USER, _CALLING_TITLE_UNKNOWN = 1, 1, 3
_TRANSIENT, _BY_PRESENTATION, _LOCAL_LIMIT = 2, 3, 2


class Receiver:
    """The listening side, in threads of its own.

    Parameters
    ----------
    local : Local
        Title and address of this program.
    settings : Listen
    inbox : Inbox
    commitments : Commitments
    tell : callable
        Is told in words what was refused.

    Raises
    ------
    ConfigError
        If the port cannot be opened.
    """

    def __init__(
        self, local: Local, settings: Listen, inbox: Inbox, commitments: Commitments, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._tell = tell
        self._received: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        self._entity = entity = AE(local.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = [one.ae_title for one in settings.peers]
        entity.maximum_associations = MOST_CONNECTIONS  # pynetdicom counts silent and dead connections, too
        entity.acse_timeout = _SILENT_S
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel)
        for sop_class in RECEIVED_CLASSES:
            entity.add_supported_context(sop_class, [*UNCOMPRESSED, *COMPRESSED])
        try:
            self._server = entity.make_server(
                (local.host, local.port),
                ae_title=local.ae_title,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, limit_messages),
                    (evt.EVT_REQUESTED, self._on_requested),
                    (evt.EVT_DATA_RECV, self._on_data),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_N_ACTION, commitments.on_action),
                ],
                server_class=server_for(
                    settings.peers,
                    None if settings.tls is None else server_context(settings.tls),
                    float(entity.network_timeout or _SILENT_S),
                    tell,
                ),
            )
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise ConfigError(
                f"Port {local.port} of {local.host} cannot be opened: {reason}. Change [local] in pacs.toml."
            ) from error
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def close(self) -> None:
        """Accept nothing more, and end what is under way; nothing of it is lost that was acknowledged."""
        self._server.shutdown()
        for association in self._entity.active_associations:
            association.abort()

    def _on_requested(self, event: evt.Event) -> None:
        """Refuse a known title from another address, which pynetdicom does not check, and one association too many."""
        peer = event.assoc.requestor
        request = peer.primitive
        title = str(getattr(request, "calling_ae_title", "")).strip()
        address = str(peer.address)
        if not any(one.ae_title == title and one.is_at(address) for one in self._settings.peers):
            self._tell(f"Refused: {title!r} at {address} is no peer of pacs.toml.")
            _reject(event.assoc, _PERMANENT, _BY_SERVICE_USER, _CALLING_TITLE_UNKNOWN)
        elif sum(one.is_established for one in self._entity.active_associations) >= _MOST_ASSOCIATIONS:
            _reject(event.assoc, _TRANSIENT, _BY_PRESENTATION, _LOCAL_LIMIT)

    def _on_data(self, event: evt.Event) -> None:
        """End an association whose dataset grows beyond any image, before it fills the memory."""
        association = event.assoc
        count = self._received.get(association, 0) + len(event.data)
        self._received[association] = count
        if count > self._settings.largest_instance_mb * 1e6:
            self._tell(f"Refused: an instance of more than {self._settings.largest_instance_mb:g} MB.")
            sock = association.dul.socket
            if sock is not None:
                sock.close()  # abort() would wait for this very thread

    def _on_store(self, event: evt.Event) -> int | pydicom.Dataset:
        """Keep an instance; success means that it is on the disk."""
        self._received[event.assoc] = 0
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        try:
            self._inbox.keep(str(request.AffectedSOPClassUID), uid, event.encoded_dataset())
        except RefusedInstanceError as error:
            self._tell(f"Refused: {uid[:64]!r}: {error} ({error.status:#06x}).")
            answer = pydicom.Dataset()
            answer.Status = error.status
            answer.ErrorComment = str(error)[:64]
            return answer
        return 0


def _reject(association: Association, result: int, source: int, reason: int) -> None:
    association.acse.send_reject(result, source, reason)
    association.kill()  # waits until it is sent
