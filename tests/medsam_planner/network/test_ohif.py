"""What OHIF beside an Orthanc makes of our objects, and the small server that shows it."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medsam_planner.demo.ohif import serve_ohif


@pytest.fixture
def orthanc_port() -> Iterator[int]:
    """A stand-in for Orthanc, which says what it was asked."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.path} {self.headers['Accept']} {self.headers['Host']} {self.headers['Cookie']}".encode()
            self.send_response(206)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def address(orthanc_port: int, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "viewer"
    folder.mkdir()
    (folder / "index.html").write_text("the page")
    (folder / "app.js").write_text("the program")
    (tmp_path / "secret").write_text("outside")
    with serve_ohif(folder, orthanc_port) as base:
        yield base.removeprefix("http://")


def asked(address: str, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_files_settings_and_addresses_of_the_router_are_served_from_one_origin(address: str) -> None:
    assert asked(address, "/app.js") == (200, "the program")
    assert asked(address, "/viewer?StudyInstanceUIDs=1.2.3") == (200, "the page")
    assert asked(address, "/../secret") == (200, "the page")
    assert asked(address, "/%2e%2e/secret") == (200, "the page")
    status, settings = asked(address, "/app-config.js")
    assert status == 200 and '"wadoRoot": "/dicom-web"' in settings and "http" not in settings


def test_questions_for_dicomweb_go_to_orthanc_without_cookies(address: str) -> None:
    status, said = asked(address, "/dicom-web/studies?limit=1", Accept="application/dicom+json", Cookie="a=b")
    assert (status, said) == (206, f"/dicom-web/studies?limit=1 application/dicom+json {address} None")
    assert "/secret" not in asked(address, "/system", Accept="x")[1]


def test_a_page_that_points_its_own_name_here_reads_nothing(address: str) -> None:
    assert asked(address, "/dicom-web/studies", Host="evil.example")[0] == 421


def test_without_orthanc_the_answer_is_502(tmp_path: Path) -> None:
    with serve_ohif(tmp_path, 9) as base:
        assert asked(base.removeprefix("http://"), "/dicom-web/studies")[0] == 502


def test_the_viewer_is_fetched_once_and_only_as_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medsam_planner.demo import ohif
    from medsam_planner.errors import MissingDependencyError

    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    npm = tmp_path / "npm"
    npm.write_text(
        '#!/bin/sh\n[ "$ANSWER" = file ] && echo other > ohif.tgz && exit 0\necho "no registry" >&2; exit 1\n'
    )
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(MissingDependencyError, match="no registry"):
        ohif.fetch_ohif()
    monkeypatch.setenv("ANSWER", "file")
    with pytest.raises(MissingDependencyError, match="It was not unpacked"):
        ohif.fetch_ohif()
    assert ohif.ohif_folder() is None and not list((tmp_path / "medsam-planner").iterdir())
    (tmp_path / "medsam-planner" / "ohif-3.13.2").mkdir()
    (tmp_path / "medsam-planner" / "ohif-3.13.2" / "index.html").touch()
    assert ohif.fetch_ohif() == ohif.ohif_folder() == tmp_path / "medsam-planner" / "ohif-3.13.2"
