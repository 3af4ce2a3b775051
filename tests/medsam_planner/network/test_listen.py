"""The listener: what it acknowledges is on the disk, what is hostile is refused, what is done is done once."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from medsam_planner.cli.app import run
from medsam_planner.network.inbox import Inbox
from medsam_planner.network.job import JobState, send
from medsam_planner.network.pacs_file import read_pacs_file
from tests.free_port import free_port
from tests.medsam_planner.network.balls import write_ball
from tests.medsam_planner.network.conftest import PACS_TOML, Orthanc

RULE = """
[[rules]]
name = "balls"
modality = "CT"
prompts = "ball.json"
options = ["--samples", "0"]
send_to = "web"
"""
PEER = 'peers = [{ ae_title = "CT1", address = "127.0.0.1" }]\n'


def pacs_toml(
    folder: Path, port: int, *, listen: str = "quiet_s = 600\nkeep_free_mb = 1\n", peer: str = PEER, rules: str = ""
) -> Path:
    path = folder / "pacs.toml"
    text = PACS_TOML.replace("port = 11112", f"port = {port}")
    path.write_text(f"{text}\n[listen]\n{peer}{listen}{rules}", encoding="utf-8")
    return path


@contextmanager
def listening(pacs: Path, data: Path, before: Callable[[], None] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A listener in a process of its own, which is killed at the end."""
    code = "from medsam_planner.cli import main; main()"
    command = [sys.executable, "-c", code, "listen", "--pacs", str(pacs), "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=before)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "receives at" in first, first + process.stdout.read()
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def associated(
    port: int, *, title: str = "CT1", called: str = "MEDSAMPLANNER", sop_class: str = CTImageStorage
) -> Iterator[Association]:
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = 10
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store_raw(association: Association, sop_class: str, uid: str, dataset: bytes) -> int:
    """C-STORE of any bytes under any UID: the status, or -1 if the association ended."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = BytesIO(dataset)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return -1 if answer is None else int(answer.Status)


def encoded(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    dataset = pydicom.Dataset(dataset)
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def kept(data: Path) -> list[str]:
    return sorted(path.name for path in data.rglob("*.dcm"))


def until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.2)


def test_an_acknowledged_instance_survives_kill_9(ct: Path, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    pacs = pacs_toml(tmp_path, port)
    files = sorted(ct.iterdir())
    with listening(pacs, data) as process, associated(port) as association:
        for file in files[:4]:
            assert association.send_c_store(file).Status == 0
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
    assert kept(data) == sorted(f"{uid}.dcm" for uid in uids[:4])
    with listening(pacs, data), associated(port) as association:
        assert [association.send_c_store(file).Status for file in files] == [0] * 7
    assert kept(data) == sorted(f"{uid}.dcm" for uid in uids)
    for file in files:
        sent = pydicom.dcmread(file)
        (path,) = data.rglob(f"{sent.SOPInstanceUID}.dcm")
        assert pydicom.dcmread(path) == sent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_listener_ends_with_0_when_it_is_told_to(number: int, ct: Path, tmp_path: Path) -> None:
    port = free_port()
    with listening(pacs_toml(tmp_path, port), tmp_path / "data") as process, associated(port) as association:
        assert association.send_c_store(min(ct.iterdir())).Status == 0
        process.send_signal(number)
        assert process.wait(30) == 0


def test_only_a_known_title_from_a_known_address_to_our_title_is_let_in(ct: Path, tmp_path: Path) -> None:
    port = free_port()
    two = PEER.replace("}]", '}, { ae_title = "CT2", address = "127.0.0.2" }]')
    with listening(pacs_toml(tmp_path, port, peer=two), tmp_path / "data"):
        for title, called, reason in (
            ("CT9", "MEDSAMPLANNER", 3),
            ("CT2", "MEDSAMPLANNER", 3),
            ("CT1", "OTHER", 7),
        ):
            with associated(port, title=title, called=called) as association:
                assert association.is_rejected
                assert association.acceptor.primitive.diagnostic == reason
        with associated(port) as association:
            assert association.is_established


def test_a_connection_from_an_unknown_address_is_closed_unread(tmp_path: Path) -> None:
    port = free_port()
    other = PEER.replace("127.0.0.1", "127.0.0.2")
    with (
        listening(pacs_toml(tmp_path, port, peer=other), tmp_path / "data"),
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        assert connection.recv(1) == b""


def test_noise_silence_and_endless_messages_keep_nobody_out(tmp_path: Path) -> None:
    port = free_port()
    noise = [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00", b"", bytes(range(256)), b"\x04\x00\x00\x00\x00\x03abc"]
    with listening(pacs_toml(tmp_path, port), tmp_path / "data") as process, ExitStack() as silent:
        for number in range(30):
            connection = silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            connection.sendall(noise[number % len(noise)])
        endless = silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        with pytest.raises(OSError):
            endless.sendall(b"\x01\x00\xff\xff\xff\xf0")
            for _ in range(64):
                endless.sendall(bytes(1 << 20))
        with associated(port) as association:
            assert association.is_established
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 400_000, "kB: what is stated is not kept"


def test_a_full_house_refuses_for_now(tmp_path: Path) -> None:
    port = free_port()
    with listening(pacs_toml(tmp_path, port), tmp_path / "data"), ExitStack() as guests:
        for _ in range(16):
            assert guests.enter_context(associated(port)).is_established
        with associated(port) as association:
            assert association.is_rejected
            assert association.acceptor.primitive.result == 2, "rejected, transient"


def test_hostile_instances_are_refused_and_nothing_is_written(ct: Path, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    good = pydicom.dcmread(min(ct.iterdir()))
    uid = str(good.SOPInstanceUID)

    def changed(**values: str) -> bytes:
        dataset = pydicom.dcmread(min(ct.iterdir()))
        with pydicom.config.disable_value_validation():
            for keyword, value in values.items():
                setattr(dataset, keyword, value)
            return encoded(dataset)

    whole = encoded(good)
    pixels = whole.index(b"\xe0\x7f\x10\x00OW")
    huge = whole[: pixels + 8] + (0x7FFFFFFE).to_bytes(4, "little") + whole[pixels + 12 :]
    with listening(pacs_toml(tmp_path, port), data):
        for sop_class, name, content, status in (
            (CTImageStorage, "1.2.3", whole, 0xA900),
            (CTImageStorage, "../../../1", changed(SOPInstanceUID="../../../1"), 0xC000),
            (CTImageStorage, uid, changed(SeriesInstanceUID="../../x"), 0xC000),
            (CTImageStorage, uid, changed(SOPClassUID=SecondaryCaptureImageStorage), 0xA900),
            (CTImageStorage, uid, huge, 0xC000),
            (CTImageStorage, uid, whole[:-50], 0xC000),
            (CTImageStorage, uid, b"%PDF-1.7 no DICOM at all", 0xC000),
            (CTImageStorage, uid, whole[:pixels], 0xA900),
        ):
            with associated(port) as association:
                assert store_raw(association, sop_class, name, content) == status, (name, status)
        with associated(port, sop_class=SecondaryCaptureImageStorage) as association:
            assert not association.accepted_contexts
        with associated(port) as association:
            assert store_raw(association, CTImageStorage, uid, whole) == 0
            assert store_raw(association, CTImageStorage, uid, changed(PatientName="Another")) == 0x0111
            assert store_raw(association, CTImageStorage, uid, changed(SeriesInstanceUID="1.2.3.4")) == 0x0111
    assert kept(tmp_path) == [f"{uid}.dcm"]


def test_an_instance_beyond_any_image_ends_the_association(ct: Path, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    dataset = pydicom.dcmread(min(ct.iterdir()))
    dataset.PixelData = bytes(3_000_000)
    settings = "quiet_s = 600\nkeep_free_mb = 1\nlargest_instance_mb = 1\n"
    with listening(pacs_toml(tmp_path, port, listen=settings), data):
        with associated(port) as association:
            assert store_raw(association, CTImageStorage, dataset.SOPInstanceUID, encoded(dataset)) == -1
        with associated(port) as association:
            assert association.send_c_store(min(ct.iterdir())).Status == 0
    assert len(kept(data)) == 1


@pytest.mark.parametrize("how", ["no space is left", "too little would be left"])
def test_a_full_disk_refuses_and_loses_nothing(how: str, ct: Path, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    full = how == "no space is left"
    settings = "quiet_s = 600\nkeep_free_mb = 1\n" if full else "quiet_s = 600\nkeep_free_mb = 1e9\n"

    def limit() -> None:  # no file may grow beyond this: the error of a full quota
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    pacs = pacs_toml(tmp_path, port, listen=settings)
    with listening(pacs, data, limit if full else None), associated(port) as association:
        assert association.send_c_store(min(ct.iterdir())).Status == 0xA700
    assert not [path for path in (data / "inbox").rglob("*") if path.is_file()]


def test_a_series_without_a_rule_and_one_that_comes_late_become_dead_letters(ct: Path, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    files = sorted(ct.iterdir())
    pacs = pacs_toml(tmp_path, port, listen="quiet_s = 1\nkeep_free_mb = 1\n")
    with listening(pacs, data):
        with associated(port) as association:
            assert association.send_c_store(files[0]).Status == 0
        until(lambda: len(list(data.glob("dead/*/reason.txt"))) == 1, 20)
        with associated(port) as association:
            assert association.send_c_store(files[0]).Status == 0, "sent again: it is there"
            assert association.send_c_store(files[1]).Status == 0
        until(lambda: len(list(data.glob("dead/*/reason.txt"))) == 2, 20)
    first, second = (path.read_text() for path in sorted(data.glob("dead/*/reason.txt")))
    assert "No rule of pacs.toml fits Modality 'CT'" in first
    assert "came after the series was taken for complete" in second
    assert len(kept(data)) == 2


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """A CT of a ball; ball.json with its prompts lies beside it."""
    return write_ball(tmp_path)[0]


def test_a_series_is_segmented_by_rule_and_its_results_reach_the_pacs_once(
    orthanc: Orthanc, ball: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    pacs = pacs_toml(tmp_path, 11112, listen="quiet_s = 1\nkeep_free_mb = 1\n", rules=RULE)
    with listening(pacs, data) as process:
        with associated(11112) as association:
            for file in sorted(ball.iterdir()):
                assert association.send_c_store(file).Status == 0
        until(lambda: bool(list(data.glob("jobs/*/log.txt"))))
        process.kill()  # kill -9 while it computes
    assert orthanc.count() == 0
    with listening(pacs, data):
        until(lambda: bool(list(data.glob("done/*"))))
    (job,) = data.glob("done/*")
    state = JobState.read(job)
    results = sorted(path.name for path in (job / f"results-{state.attempt}").glob("*.dcm"))
    assert sorted(state.sent) == results and "seg.dcm" in results
    assert orthanc.count() == len(results)

    # A crash between what the PACS confirms and the note of it: the same instances are found there, and not sent again.
    inbox = Inbox(data)
    job = inbox.move(job, inbox.jobs)
    forgot = JobState(**{**{name: getattr(state, name) for name in JobState.__slots__}, "sent": ()}).note(job)
    arrived = changes(orthanc)
    assert sorted(send(job, read_pacs_file(pacs).rules[0], forgot, read_pacs_file(pacs)).sent) == results
    assert changes(orthanc) == arrived
    inbox.close()


def changes(orthanc: Orthanc) -> int:
    """Number of the last thing that happened in Orthanc: a second transfer would raise it."""
    import json
    import urllib.request

    with urllib.request.urlopen("http://127.0.0.1:8042/changes?last", timeout=10) as answer:
        document = json.load(answer)
    stable = [one for one in document["Changes"] if one["ChangeType"].startswith("Stable")]
    return int(document["Last"]) - len(stable)


def test_a_refused_association_ends_with_2_and_the_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    pacs = pacs_toml(tmp_path, port)
    other = tmp_path / "other.toml"
    other.write_text(
        f'[local]\nae_title = "CT9"\n[nodes.us]\nkind = "dimse"\nhost = "127.0.0.1"\nport = {port}\n'
        'ae_title = "MEDSAMPLANNER"\n'
    )
    with listening(pacs, tmp_path / "data"):
        assert run(["pacs", "echo", "us", "--pacs", str(other)]) == 2
    assert "rejected the association: Calling AE title not recognised" in capfd.readouterr().err
    assert run(["pacs", "echo", "us", "--pacs", str(other)]) == 2
    assert "does not answer" in capfd.readouterr().err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_with_tls_both_sides_show_certificates(ct: Path, tmp_path: Path) -> None:
    port = free_port()
    for name in ("us", "ct1"):
        subprocess.run(
            (
                f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} "
                f"-addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
            ).split(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    tls = 'tls = { cert_file = "us.pem", key_file = "us.key", ca_file = "ct1.pem" }\n'
    pacs = pacs_toml(tmp_path, port, listen=f"quiet_s = 600\nkeep_free_mb = 1\n{tls}")
    text = (
        f'[local]\nae_title = "CT1"\n[nodes.us]\nkind = "dimse"\nhost = "127.0.0.1"\nport = {port}\ntimeout_s = 5\n'
        'ae_title = "MEDSAMPLANNER"\ntls = { ca_file = "us.pem", cert_file = "ct1.pem", key_file = "ct1.key" }\n'
    )
    (tmp_path / "other.toml").write_text(text)
    (tmp_path / "distrusts.toml").write_text(text.replace('ca_file = "us.pem"', 'ca_file = "ct1.pem"'))
    (tmp_path / "plain.toml").write_text(re.sub("tls = .*", "", text))
    with listening(pacs, tmp_path / "data"):
        assert run(["pacs", "echo", "us", "--pacs", str(tmp_path / "other.toml")]) == 0
        for name in ("distrusts", "plain"):
            assert run(["pacs", "echo", "us", "--pacs", str(tmp_path / f"{name}.toml")]) == 2
        silent = socket.create_connection(("127.0.0.1", port))  # asks for no TLS, and holds nobody up
        assert run(["pacs", "echo", "us", "--pacs", str(tmp_path / "other.toml")]) == 0
        silent.close()
