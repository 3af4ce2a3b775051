"""Tokens are fetched, renewed when they end or are refused, and never printed; a busy server is asked again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from _pytest.capture import CaptureFixture

from medsam_planner.cli.app import run
from medsam_planner.errors import PeerAwayError
from medsam_planner.network import credentials
from medsam_planner.network.connecting import connect
from medsam_planner.network.node import Level
from medsam_planner.network.pacs_file import read_pacs_file
from medsam_planner.network.retries import retried, retried_while_it_advances

SECRET = "client-secret-4711"


@dataclass
class Cloud:
    """A token endpoint and a DICOMweb server that accepts the last token only; stands in for a cloud store."""

    port: int = 0
    tokens: list[str] = field(default_factory=list)
    expires_in: int = 3600
    statuses: list[int] = field(default_factory=list)
    """Answers of the next queries that are none."""
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    state = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            state.forms.append({**form, "authorization": [self.headers["Authorization"]]})
            if form.get("scope") == ["forbidden"]:
                self.answer(400, {"error": "invalid_scope", "error_description": f"no such scope for {SECRET}"})
                return
            state.tokens.append(f"token-{len(state.tokens) + 1}")
            self.answer(200, {"access_token": state.tokens[-1], "expires_in": state.expires_in, "token_type": "Bearer"})

        def do_GET(self) -> None:
            header = self.headers.get("Authorization", "")
            state.asked.append(header)
            if state.statuses:
                self.answer(state.statuses.pop(0), {"message": f"not now, {header}"})
            elif header.startswith("Bearer") and state.tokens and header != f"Bearer {state.tokens[-1]}":
                self.answer(401, {"message": f"{header} has ended"})
            else:
                self.answer(200, [])

        def answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json" if status == 200 else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def settings(folder: Path, cloud: Cloud, auth: str) -> Path:
    path = folder / "pacs.toml"
    url = f"http://127.0.0.1:{cloud.port}/dicom-web"
    path.write_text(f'[nodes.cloud]\nkind = "dicomweb"\nurl = "{url}"\nauth = {auth}\n', encoding="utf-8")
    return path


def oauth2(cloud: Cloud, scope: str = "dicom") -> str:
    return (
        f'{{ kind = "oauth2", token_url = "http://127.0.0.1:{cloud.port}/token", client_id = "planner", '
        f'client_secret_env = "PACS_SECRET", scope = "{scope}" }}'
    )


def test_a_token_is_fetched_once_and_again_when_it_is_refused(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACS_SECRET", SECRET)
    node = connect(read_pacs_file(settings(tmp_path, cloud, oauth2(cloud))), "cloud")
    assert cloud.tokens == [], "nothing is sent before it is needed"
    node.echo()
    node.find(Level.STUDY, {"PatientID": "1"})
    assert cloud.tokens == ["token-1"]
    cloud.tokens.append("token-of-somebody-else")
    node.echo()
    assert cloud.asked == ["Bearer token-1"] * 3 + ["Bearer token-3"]
    assert cloud.forms[0]["grant_type"] == ["client_credentials"] and cloud.forms[0]["scope"] == ["dicom"]
    assert cloud.forms[0]["authorization"][0].startswith("Basic ")


def test_a_token_is_renewed_before_it_ends(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_SECRET", SECRET)
    now = [1000.0]
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now[0])
    cloud.expires_in = 300
    node = connect(read_pacs_file(settings(tmp_path, cloud, oauth2(cloud))), "cloud")
    for elapsed, count in ((0, 1), (239, 1), (241, 2)):
        now[0] = 1000.0 + elapsed
        node.echo()
        assert len(cloud.tokens) == count


def test_a_command_that_prints_a_token_runs_again_when_the_token_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    printed.write_text("old")
    cloud.tokens.append("new")
    program = f"import pathlib; p = pathlib.Path({str(printed)!r}); print(p.read_text()); p.write_text('new')"
    auth = f'{{ kind = "command", command = [{json.dumps(sys.executable)}, "-c", {json.dumps(program)}] }}'
    connect(read_pacs_file(settings(tmp_path, cloud, auth)), "cloud").echo()
    assert cloud.asked == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; print('x', file=sys.stderr); print('very-secret', file=sys.stderr); sys.exit(4)", "exit code 4"),
        ("print('two very-secret words')", "exit code 0 and no single word"),
        ("import time; time.sleep(9)  # very-secret", "no answer within 1 s"),
        (None, "no such program that can be run (No such file or directory)"),
    ],
)
def test_what_a_command_for_a_token_prints_is_not_repeated(
    program: str | None,
    said: str,
    cloud: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: CaptureFixture[str],
) -> None:
    monkeypatch.setattr(credentials, "_COMMAND_S", 1.0)
    command = ["/no/such/program", "very-secret"] if program is None else [sys.executable, "-c", program]
    place = settings(tmp_path, cloud, f'{{ kind = "command", command = {json.dumps(command)} }}')
    assert run(["pacs", "echo", "cloud", "--pacs", str(place)]) == 2
    told = " ".join(capfd.readouterr().err.split())
    assert said in told and "run the command by hand to see it" in told and "very-secret" not in told


def test_no_secret_is_printed_even_if_the_server_repeats_it(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_SECRET", SECRET)
    place = settings(tmp_path, cloud, '{ kind = "bearer", token_env = "PACS_SECRET" }')
    cloud.statuses = [403]
    assert run(["pacs", "echo", "cloud", "--pacs", str(place)]) == 2
    told = capfd.readouterr()
    assert "cloud answered 403 Forbidden: not now, Bearer …" in told.err
    place = settings(tmp_path, cloud, oauth2(cloud, "forbidden"))
    assert run(["pacs", "echo", "cloud", "--pacs", str(place)]) == 2
    refused = capfd.readouterr()
    assert "gave no token: 400 no such scope for …" in refused.err
    assert SECRET not in told.err + told.out + refused.err + refused.out


def test_an_absent_secret_ends_with_2_and_where_it_belongs(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PACS_SECRET", raising=False)
    assert run(["pacs", "echo", "cloud", "--pacs", str(settings(tmp_path, cloud, oauth2(cloud)))]) == 2
    assert "Error: Expected a secret of one line in the environment variable PACS_SECRET" in capfd.readouterr().err


def test_a_busy_server_is_asked_again_and_a_refusal_is_not_repeated(cloud: Cloud, tmp_path: Path) -> None:
    place = settings(tmp_path, cloud, '{ kind = "basic", user = "u", password_file = "password" }')
    (tmp_path / "password").write_text("p\n")
    node = connect(read_pacs_file(place), "cloud")
    cloud.statuses = [503, 429]
    assert retried(lambda: node.find(Level.STUDY, {}), waits_s=(0.01, 0.01)) == []
    assert len(cloud.asked) == 3
    cloud.statuses = [503, 503]
    with pytest.raises(PeerAwayError, match="503 Service Unavailable"):
        retried(node.echo, waits_s=(0.01,))


def test_a_transfer_that_advances_is_not_given_up(tmp_path: Path) -> None:
    left = list(range(20))

    def one_and_away() -> None:
        left.pop()
        raise PeerAwayError("gone")

    retried_while_it_advances(one_and_away, lambda: len(left), waits_s=(0.0,))
    assert left == []

    def away() -> None:
        raise PeerAwayError("gone")

    left.append(1)
    with pytest.raises(PeerAwayError):
        retried_while_it_advances(away, lambda: len(left), waits_s=(0.0, 0.0))
