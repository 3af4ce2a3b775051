"""Storage commitment: what is kept is told, in either association, also after `kill -9`; what is not is named."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from medsam_planner.network.inbox import Inbox
from tests.free_port import free_port
from tests.medsam_planner.network.conftest import Orthanc
from tests.medsam_planner.network.test_listen import listening, pacs_toml, until

TRANSACTION = "2.25.77"
Reports = list[tuple[int, pydicom.Dataset]]


class Sender:
    """A modality: it stores, asks for commitment, and takes reports."""

    def __init__(self) -> None:
        self.reports: Reports = []

    def take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return 0, None

    @contextmanager
    def associated(self, port: int) -> Iterator[Association]:
        entity = AE("CT1")
        entity.acse_timeout = entity.dimse_timeout = 10
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            "127.0.0.1", port, ae_title="MEDSAMPLANNER", evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)]
        )
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    @contextmanager
    def taking_reports(self, port: int) -> Iterator[None]:
        entity = AE("CT1")
        entity.require_called_aet = True
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)]
        )
        try:
            yield
        finally:
            server.shutdown()

    def told(self, kind: str) -> set[str]:
        (one,) = self.reports
        return {str(item.ReferencedSOPInstanceUID) for item in one[1].get(f"{kind}SOPSequence", ())}


def request(files: list[Path], **more: tuple[str, str]) -> pydicom.Dataset:
    asked = pydicom.Dataset()
    asked.TransactionUID = TRANSACTION
    asked.ReferencedSOPSequence = []
    named = [(CTImageStorage, str(pydicom.dcmread(file).SOPInstanceUID)) for file in files]
    for sop_class, uid in (*named, *more.values()):
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        asked.ReferencedSOPSequence.append(item)
    return asked


def ask(association: Association, asked: pydicom.Dataset, action: int = 1, instance: str = "") -> int:
    status, _ = association.send_n_action(
        asked, action, StorageCommitmentPushModel, instance or StorageCommitmentPushModelInstance
    )
    return int(status.Status)


def uids_of(files: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(file).SOPInstanceUID) for file in files}


def test_a_committed_series_is_complete_before_its_quiet_time_and_its_report_comes_at_once(
    ct: Path, tmp_path: Path
) -> None:
    port, data, sender, files = free_port(), tmp_path / "data", Sender(), sorted(ct.iterdir())
    pacs = pacs_toml(tmp_path, port, listen="quiet_s = 600\nquiet_after_commitment_s = 1\nkeep_free_mb = 1\n")
    with listening(pacs, data), sender.associated(port) as association:
        for file in files[:5]:
            assert association.send_c_store(file).Status == 0
        assert ask(association, request(files[:2])) == 0, "of a part of the series"
        until(lambda: len(sender.reports) == 1, 20)
        assert sender.told("Referenced") == uids_of(files[:2]) and sender.reports[0][0] == 1
        time.sleep(2)
        assert not list(data.glob("dead/*")), "three more are not asked for: the series is not complete"
        sender.reports.clear()
        assert ask(association, request(files[:5])) == 0
        until(lambda: len(sender.reports) == 1, 20)
        assert sender.told("Referenced") == uids_of(files[:5])
        until(lambda: bool(list(data.glob("dead/*/reason.txt"))), 20)  # no rule: it was taken for complete
        sender.reports.clear()
        assert ask(association, request(files[:5])) == 0, "what was done with is kept all the same"
        until(lambda: len(sender.reports) == 1, 20)
        assert sender.told("Referenced") == uids_of(files[:5])
    assert not list((data / "commitments").iterdir())


def test_what_is_missing_or_of_another_class_is_named(ct: Path, tmp_path: Path) -> None:
    port, sender, files = free_port(), Sender(), sorted(ct.iterdir())
    (other,) = uids_of(files[1:2])
    with listening(pacs_toml(tmp_path, port), tmp_path / "data"), sender.associated(port) as association:
        for file in files[:2]:
            assert association.send_c_store(file).Status == 0
        asked = request(files[:1], absent=(CTImageStorage, "2.25.404"), other=(MRImageStorage, other))
        assert ask(association, asked) == 0
        until(lambda: len(sender.reports) == 1, 20)
    kind, told = sender.reports[0]
    assert kind == 2 and str(told.TransactionUID) == TRANSACTION
    assert sender.told("Referenced") == uids_of(files[:1])
    reasons = {str(one.ReferencedSOPInstanceUID): one.FailureReason for one in told.FailedSOPSequence}
    assert reasons == {"2.25.404": 0x0112, other: 0x0119}


def test_hostile_requests_are_refused_and_leave_nothing(ct: Path, tmp_path: Path) -> None:
    port, data, sender = free_port(), tmp_path / "data", Sender()
    (tmp_path / "1.dcm").write_bytes(b"")
    with (
        listening(pacs_toml(tmp_path, port), data),
        sender.associated(port) as association,
        pydicom.config.disable_value_validation(),
    ):
        nothing = request([])
        climbing = request([], up=(CTImageStorage, "../../1"))
        named = request([], one=(CTImageStorage, "1.2.3"))
        named.TransactionUID = "../../../tmp/x"
        for asked in (nothing, climbing, named):
            assert ask(association, asked) == 0x0115
        good = request([], one=(CTImageStorage, "1.2.3"))
        assert ask(association, good, action=2) == 0x0123
        assert ask(association, good, instance="1.2.3") == 0x0112
        assert association.is_established
    assert not sender.reports and not list((data / "commitments").iterdir())


def test_a_report_that_is_due_outlives_kill_9(ct: Path, tmp_path: Path) -> None:
    port, own, data, sender = free_port(), free_port(), tmp_path / "data", Sender()
    files = sorted(ct.iterdir())
    peer = f'peers = [{{ ae_title = "CT1", address = "127.0.0.1", port = {own} }}]\n'
    pacs = pacs_toml(tmp_path, port, peer=peer)
    with listening(pacs, data) as process:
        with sender.associated(port) as association:
            for file in files:
                assert association.send_c_store(file).Status == 0
            assert ask(association, request(files)) == 0
        process.send_signal(signal.SIGKILL)  # the modality takes no reports yet
        process.wait(30)
    assert len(list((data / "commitments").iterdir())) == 1 and not sender.reports
    with sender.taking_reports(own), listening(pacs, data):
        until(lambda: len(sender.reports) == 1, 30)
        until(lambda: not list((data / "commitments").iterdir()), 10)
    assert sender.told("Referenced") == uids_of(files)


def test_two_peers_may_use_the_same_transaction_uid(tmp_path: Path) -> None:
    from medsam_planner.network.commitment import Commitments
    from medsam_planner.network.listen_settings import Listen, Peer
    from medsam_planner.network.settings import Local

    inbox = Inbox(tmp_path / "data")
    settings = Listen(peers=[Peer(ae_title=name, address="127.0.0.1") for name in ("CT1", "CT2")])
    told: list[str] = []
    one = Commitments(inbox.commitments, Local(), settings, inbox, told.append)
    one.close()
    one._thread.join(10)
    for title in ("CT1", "CT2"):
        assert one.on_action(_event(title)) == (0, None)
    assert len(list(inbox.commitments.iterdir())) == 2
    inbox.close()


def _event(title: str) -> Any:
    """As pynetdicom gives it, without an association."""
    from types import SimpleNamespace

    requestor = SimpleNamespace(ae_title=title, address="127.0.0.1")
    return SimpleNamespace(
        action_type=1,
        request=SimpleNamespace(RequestedSOPInstanceUID=StorageCommitmentPushModelInstance),
        action_information=request([], one=(CTImageStorage, "1.2.3")),
        assoc=SimpleNamespace(requestor=requestor),
    )


def test_orthanc_is_told_that_its_instances_are_kept(orthanc: Orthanc, ct: Path, tmp_path: Path) -> None:
    import json
    import urllib.request

    from medsam_planner.network.connecting import connect
    from medsam_planner.network.push import outgoing, push

    def asked(path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:8042{path}", data=data, timeout=60) as answer:
            return json.load(answer)

    push(connect(orthanc.pacs, "web"), outgoing([ct]), read_back=False)
    peer = 'peers = [{ ae_title = "ORTHANC", address = "127.0.0.1", port = 4242 }]\n'
    with listening(pacs_toml(tmp_path, 11112, peer=peer), tmp_path / "data"):
        (series,) = asked("/series")
        begun = asked("/modalities/us/store", {"Resources": [series], "StorageCommitment": True})
        transaction = begun["StorageCommitmentTransactionUID"]
        until(lambda: asked(f"/storage-commitment/{transaction}")["Status"] != "Pending", 30)
        report = asked(f"/storage-commitment/{transaction}")
    assert report["Status"] == "Success" and len(report["Success"]) == 7, report


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name == "storage commitment" and one.is_alive()]
