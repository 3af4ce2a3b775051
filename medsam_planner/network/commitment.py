"""Storage commitment as SCP (PS3.4, annex J): who asks whether instances are kept is told, also after `kill -9`.

What was acknowledged is on the disk already, so the answer is known when it is asked for. It is noted before the
request is answered, and the note is deleted when the peer has confirmed the report::

    commitments/<title>.<transaction>.json

A peer with a port gets its report in an association of its own, another one in that of its request.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pydicom
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from medsam_planner.io.fault_log import in_one_line, log_fault
from medsam_planner.io.files import sync_folder, write_json
from medsam_planner.io.study_files import READ_ERRORS
from medsam_planner.network.inbox import Inbox
from medsam_planner.network.listen_settings import Listen
from medsam_planner.network.node import is_uid
from medsam_planner.network.settings import Local
from medsam_planner.network.tls import client_context

__all__ = ["Commitments"]

_REQUEST = 1
_ALL_KEPT, _SOME_MISSING = 1, 2
_SUCCESS, _PROCESSING_FAILURE, _NO_SUCH_INSTANCE, _INVALID_ARGUMENT, _NO_SUCH_ACTION = 0, 0x0110, 0x0112, 0x0115, 0x0123
_CLASS_CONFLICT = 0x0119
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 300.0
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A request, and what is to be reported on it."""

    uid: str
    title: str
    address: str
    kept: tuple[tuple[str, str], ...]
    """SOP class and instance."""
    missing: tuple[tuple[str, str, int], ...]
    """The same, and the reason as PS3.3 C.14.1.1 has it."""
    since_s: float
    """Seconds since the epoch."""

    def report(self) -> tuple[int, pydicom.Dataset]:
        """Event type and information of the report."""
        told = pydicom.Dataset()
        told.TransactionUID = self.uid
        if self.kept:
            told.ReferencedSOPSequence = [_item(*one) for one in self.kept]
        if self.missing:
            told.FailedSOPSequence = [_item(*one) for one in self.missing]
        return _SOME_MISSING if self.missing else _ALL_KEPT, told


class Commitments:
    """Answers requests, and reports in a thread of its own.

    Parameters
    ----------
    folder : Path
        Of notes on reports that are due; made when absent.
    local : Local
    settings : Listen
    inbox : Inbox
    tell : callable
        Is told in words what happens.
    """

    def __init__(self, folder: Path, local: Local, settings: Listen, inbox: Inbox, tell: Callable[[str], None]) -> None:
        self._folder, self._local, self._settings, self._inbox, self._tell = folder, local, settings, inbox, tell
        self._tls: SSLContext | None = None if settings.tls is None else client_context(settings.tls)
        self._open: dict[str, Association] = {}
        """By the name of a note: the association of the request."""
        folder.mkdir(exist_ok=True)
        self._wake, self._ends = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="storage commitment", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Report nothing more; what is due is reported after the next start."""
        self._ends.set()
        self._wake.set()

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Answer a request; success means that its report is noted."""
        if event.action_type != _REQUEST:
            return _NO_SUCH_ACTION, None
        request: Any = event.request
        if str(request.RequestedSOPInstanceUID) != StorageCommitmentPushModelInstance:
            return _NO_SUCH_INSTANCE, None
        peer = event.assoc.requestor
        try:
            asked = event.action_information
            uid = str(asked.get("TransactionUID") or "")
            wanted = [_reference(item) for item in asked.get("ReferencedSOPSequence") or ()]
        except READ_ERRORS:
            return _INVALID_ARGUMENT, None
        if not wanted or not all(is_uid(text) for text in (uid, *(text for one in wanted for text in one))):
            self._tell(f"Refused: a storage commitment of {str(peer.ae_title).strip()!r} without valid UIDs.")
            return _INVALID_ARGUMENT, None
        there = self._inbox.sop_classes_of({one for _, one in wanted})
        reasons = [_reason(sop_class, there.get(one)) for sop_class, one in wanted]
        done = Transaction(
            uid,
            str(peer.ae_title).strip(),
            str(peer.address),
            tuple(one for one, reason in zip(wanted, reasons, strict=True) if reason is None),
            tuple((*one, reason) for one, reason in zip(wanted, reasons, strict=True) if reason is not None),
            time.time(),
        )
        try:
            write_json(self._note(done), asdict(done))
            sync_folder(self._folder)
        except OSError:
            return _PROCESSING_FAILURE, None
        if not done.missing:
            self._inbox.hurry(
                {one for _, one in wanted}, self._settings.quiet_after_commitment_s, self._settings.quiet_s
            )
        self._open[self._note(done).name] = event.assoc
        self._tell(f"Storage commitment of {done.title}: {len(done.kept)} instances kept, {len(done.missing)} not.")
        self._wake.set()
        return _SUCCESS, None

    def _note(self, one: Transaction) -> Path:
        return self._folder / f"{one.title}.{one.uid}.json"

    def _work(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._ends.is_set():
            self._wake.clear()
            try:
                left = self._not_reported()
            except Exception as error:  # noqa: BLE001 - one bad report must not end all others
                self._tell(f"Unexpected error: {in_one_line(error)}. This is a bug; see the log: {log_fault(error)}")
                left = list(self._due())
            self._wake.wait(wait_s if left else None)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S) if left else _FIRST_WAIT_S

    def _not_reported(self) -> list[Transaction]:
        """Report what is due, and give what is left; a peer that is away is tried once, so that others do not wait."""
        left: list[Transaction] = []
        for one in self._due():
            if any(other.title == one.title for other in left) or not self._is_reported(one):
                left.append(one)
        return left

    def _due(self) -> Sequence[Transaction]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                kept, missing = (tuple(map(tuple, stated[key])) for key in ("kept", "missing"))
                found.append(Transaction(**{**stated, "kept": kept, "missing": missing}))
            except (OSError, ValueError, TypeError, KeyError):
                self._tell(f"Left out: {path.name} is no note on a storage commitment.")
        return found

    def _is_reported(self, one: Transaction) -> bool:
        """Report; whether nothing is left to do."""
        peers = [peer for peer in self._settings.peers if peer.ae_title == one.title and peer.is_at(one.address)]
        port = next((peer.port for peer in peers if peer.port is not None), None)
        asked_in = self._open.pop(self._note(one).name, None)
        try:
            if port is not None:
                is_confirmed = self._reported_anew(one, port)
            else:
                is_confirmed = asked_in is not None and _is_confirmed(asked_in, one)
        except (OSError, RuntimeError, ValueError):  # the association ended meanwhile
            is_confirmed = False
        is_old = time.time() - one.since_s > self._settings.give_up_after_h * 3600
        if not is_confirmed and port is not None and not is_old:
            return False
        if not is_confirmed:
            why = "given up" if port is not None else "its association ended, and pacs.toml names no port for it"
            self._tell(f"Storage commitment of {one.title} was not reported: {why}.")
        self._note(one).unlink(missing_ok=True)
        sync_folder(self._folder)
        return True

    def _reported_anew(self, one: Transaction, port: int) -> bool:
        entity = AE(self._local.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT_S
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            one.address,
            port,
            ae_title=one.title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
            tls_args=None if self._tls is None else (self._tls, one.address),
        )
        if not association.is_established:
            return False
        try:
            return _is_confirmed(association, one)
        finally:
            association.release()


def _is_confirmed(association: Association, one: Transaction) -> bool:
    """Send a report; whether the peer took it."""
    kind, told = one.report()
    status, _ = association.send_n_event_report(
        told, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return "Status" in status and int(status.Status) == _SUCCESS


def _reason(sop_class: str, found: str | None) -> int | None:
    """Why an instance is not committed to; None for one that is."""
    if found is None:
        return _NO_SUCH_INSTANCE
    return None if found == sop_class else _CLASS_CONFLICT


def _reference(item: pydicom.Dataset) -> tuple[str, str]:
    return str(item.get("ReferencedSOPClassUID") or ""), str(item.get("ReferencedSOPInstanceUID") or "")


def _item(sop_class: str, uid: str, reason: int | None = None) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    if reason is not None:
        item.FailureReason = reason
    return item
