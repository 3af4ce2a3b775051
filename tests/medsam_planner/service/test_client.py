"""The client runs where no model can, says what is wrong with an address, and passes the server's refusals on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import ERROR_BY_CODE, MedsamPlannerError, ServiceError, code_of
from medsam_planner.service.core.options import Limits
from medsam_planner.service.http.problems import kind_of
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.medsam_planner.service.rest import lesion_box, serving


def test_the_client_needs_neither_torch_nor_the_service() -> None:
    code = (
        "import sys; from medsam_planner.client import Client; Client('http://127.0.0.1:9'); "
        "heavy = {'torch', 'highdicom', 'nibabel', 'open3d', 'fastapi', 'gradio'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_every_error_that_crosses_the_network_has_a_kind_of_problem_of_its_own() -> None:
    fallback = kind_of("no such code")
    for code, error in ERROR_BY_CODE.items():
        assert kind_of(code) is not fallback, code
        assert code_of(error("told")) == code
    assert code_of(ZeroDivisionError()) == "fault"


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="Check the address"):
        client.info()


@pytest.fixture
def other_server() -> Iterator[str]:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_is_another_program_is_told_as_one(other_server: str) -> None:
    with Client(other_server) as client, pytest.raises(ServiceError, match="without a problem document"):
        client.info()


def test_a_model_that_is_not_there_and_a_path_in_its_place_are_refused(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        study = client.open_study(study_path.name)
        for model in ("/etc/passwd", "../weights", "no-such-model"):
            with pytest.raises(MedsamPlannerError, match="Expected one of the models"):
                client.open_session(study, model=model)
        assert client.info()["sessions_held"] == 0
        assert client.sessions() == []


def test_the_server_answers_while_it_computes(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        job = session.begin_segment("lesion", samples=16, triplanar=True)
        waits_s = []
        while not session.job(job).is_final:
            before_s = time.monotonic()
            assert httpx.get(f"{address}/healthz").json() == {"ok": True}
            waits_s.append(time.monotonic() - before_s)
        assert session.job(job).state == "done"
    assert len(waits_s) > 5
    assert sorted(waits_s)[len(waits_s) // 2] < 0.5


def test_a_client_that_vanished_frees_its_place(settings: Settings, study_path: Path) -> None:
    with serving(settings, Limits(1, idle_s=0.5)) as address, Client(address) as client:
        study = client.open_study(study_path.name)
        gone = client.open_session(study)
        time.sleep(1.0)
        client.open_session(study)
        with pytest.raises(ServiceError, match="without a sign of life"):
            gone.add("lesion", lesion_box())


def test_one_event_identifier_stands_for_one_request(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box(), event_id="one")
        base, headers = f"{address}/api/v1/sessions/{session.identifier}", {"Lease": session._lease}
        body = {"structure": "lesion", "samples": 0, "event_id": "one"}
        prompt = {"kind": "click", "position_lps_mm": list(LESION_LPS_MM), "positive": True}
        other = {"structure": "other", "prompt": prompt, "event_id": "one"}
        for path, asked in (
            ("segment", body),
            ("prompts", other),
            ("undo", {"structure": "lesion", "event_id": "one"}),
        ):
            answer = httpx.post(f"{base}/{path}", json=asked, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "config")
        assert session.add("lesion", lesion_box(), event_id="one") == 2
        first, second = (
            httpx.post(f"{base}/segment", json={**body, "event_id": "two"}, headers=headers).json() for _ in range(2)
        )
        assert first == second
        session.wait(first["job"])
