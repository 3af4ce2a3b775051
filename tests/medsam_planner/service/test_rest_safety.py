"""The secret of the server, and what survives its sudden end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import MedsamPlannerError, OutputError, ServiceError
from medsam_planner.service.core.service import Service
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import TOKEN, Process, lesion_box, serving


@pytest.fixture
def locked(settings: Settings) -> Iterator[str]:
    with serving(settings, token=TOKEN) as address:
        yield address


# ---- the secret -----------------------------------------------------------------------------------------------------
def test_without_the_secret_only_the_health_is_told(locked: str) -> None:
    assert httpx.get(f"{locked}/healthz").json() == {"ok": True}
    with Client(locked, token=TOKEN) as known:
        assert known.info()["sessions_held"] == 0
    document = httpx.get(f"{locked}/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert len(document["paths"]) > 15
    for path, methods in document["paths"].items():
        for method in methods:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = httpx.request(method.upper(), locked + path, headers=headers)
                if (method, path) == ("post", "/api/v1/login"):  # open to strangers, and without a name no login
                    assert (answer.status_code, answer.json()["code"]) == (422, "request")
                elif path != "/healthz":
                    assert (answer.status_code, answer.json()["code"]) == (401, "token"), path
    assert httpx.get(f"{locked}/api/v1/info", cookies={"token": TOKEN}).status_code == 401
    assert httpx.get(f"{locked}/api/v1/info", params={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_another_secret_opens_nothing(locked: str, token: str) -> None:
    with Client(locked, token=token) as stranger, pytest.raises(ServiceError, match="token"):
        stranger.info()


def test_beyond_this_machine_the_server_does_not_start_without_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medsam_planner.cli.app import run

    assert run(["serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "data")]) == 2
    assert "it needs a secret" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_no_answer_says_where_files_lie(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        session.segment("lesion", samples=0)
        texts = [
            httpx.get(f"{address}/api/v1{path}").text
            for path in ("/info", "/studies", "/sessions", f"/sessions/{session.identifier}", "/openapi.json")
        ]
        asked = {"path": str(study_path.parent / "absent.nii.gz")}
        texts.append(httpx.post(f"{address}/api/v1/studies", json=asked).text)
    for text in texts:
        assert str(study_path.parent.parent) not in text
        assert str(settings.out) not in text


# ---- the sudden end -------------------------------------------------------------------------------------------------
def test_a_killed_server_loses_no_acknowledged_prompt(study_path: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = Process(data, study_path.parent, log=tmp_path / "first.log")
    acknowledged: list[int] = []
    with Client(server.address()) as client:
        session = client.open_session(client.open_study(study_path.name))

        def prompts_on() -> None:
            try:
                while True:
                    acknowledged.append(session.add("lesion", lesion_box(len(acknowledged) % 10)))
            except MedsamPlannerError:
                return

        prompting = threading.Thread(target=prompts_on)
        prompting.start()
        while len(acknowledged) < 25:
            prompting.join(0.01)
        server.kill()
        prompting.join(30)

    again = Process(data, study_path.parent, log=tmp_path / "second.log")
    try:
        with Client(again.address()) as client:
            (listed,) = client.sessions()
            assert (listed["id"], listed["structures"], listed["is_held"]) == (session.identifier, ["lesion"], False)
            continued = client.continue_session(listed["id"])
            kept = continued.structures()["lesion"].prompts
            assert len(acknowledged) <= len(kept) <= len(acknowledged) + 1  # one may be kept and not answered
            for number, prompt in enumerate(kept):
                assert prompt["corner_lps_mm"] == list(lesion_box(number % 10).corner_lps_mm)
            continued.undo("lesion")
    finally:
        again.kill()


def test_a_job_that_the_end_interrupted_says_so_and_can_be_asked_for_again(study_path: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = Process(data, study_path.parent, log=tmp_path / "first.log")
    with Client(server.address()) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        done = session.segment("lesion", samples=0)
        job = session.begin_segment("lesion", samples=200)
        server.kill()
    again = Process(data, study_path.parent, log=tmp_path / "second.log")
    try:
        with Client(again.address()) as client:
            continued = client.continue_session(session.identifier)
            problem = continued.job(job).problem
            assert problem is not None and problem["code"] == "interrupted"
            kept = continued.structures()["lesion"].result
            assert kept is not None and kept["mask_sha256"] == done["mask_sha256"]
            continued.save("lesion", "mask.nii.gz", tmp_path / "mask.nii.gz")
            assert continued.segment("lesion", samples=0)["mask_sha256"] == done["mask_sha256"]
    finally:
        again.kill()


def test_two_servers_do_not_share_a_data_folder(settings: Settings) -> None:
    first = Service(settings)
    try:
        with pytest.raises(OutputError, match="Another server uses"):
            Service(settings)
    finally:
        first.close()
    Service(settings).close()


def test_a_session_with_a_damaged_journal_is_read_and_not_changed(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        session.add("lesion", lesion_box(1))
    journal = settings.out / "sessions" / session.identifier / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"-", b"+", 1)
    journal.write_bytes(b"".join(lines))
    with serving(settings) as address, Client(address) as client:
        continued = client.continue_session(session.identifier)
        assert len(continued.structures()["lesion"].prompts) == 1
        with pytest.raises(MedsamPlannerError, match="Line 3 of the journal"):
            continued.add("lesion", lesion_box())


def test_eviction_frees_memory_and_loses_nothing(settings: Settings, study_path: Path) -> None:
    from medsam_planner.service.core.options import Limits

    with serving(settings, Limits(loaded_bytes=1)) as address, Client(address) as client:
        masks = set()
        sessions = [client.open_session(client.open_study(study_path.name)) for _ in range(2)]
        for _ in range(2):
            for session in sessions:
                if not session.structures():
                    session.add("lesion", lesion_box())
                masks.add(session.segment("lesion", samples=0)["mask_sha256"])
        assert len(masks) == 1
        assert client.info()["loaded_bytes"] < 200 << 20


def test_an_upload_that_the_end_cut_short_is_deleted_and_nothing_else(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        whole = client.upload_study(study_path)
    studies = settings.out / "studies"
    for folder in (studies / ("a" * 32) / "source", studies / "patient-7" / "source", studies / ("b" * 32)):
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").write_bytes(b"half")
    with serving(settings) as address, Client(address) as client:
        assert [study.id for study in client.studies()] == [whole.id]
        client.open_session(whole).save_slice("axial", 3, settings.out / "slice.png")
    assert sorted(path.name for path in studies.iterdir()) == sorted([whole.id, "b" * 32, "patient-7"])
