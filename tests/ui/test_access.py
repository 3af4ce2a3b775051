"""Starting the server: what is said before it, and what may not be started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from medsam_planner.cli.app import run
from medsam_planner.service import listening
from medsam_planner.service.access import Access, read_token

TOKEN = "0123456789abcdefghij"
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run ``ui`` with arguments that it must refuse; gives its one message."""
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: pytest.fail("the server was started"))

    def attempt(*arguments: object) -> str:
        assert run(["ui", "--out", str(tmp_path / "runs"), "--port", "0", *map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert "Open http" not in said.out
        assert said.err.count("Error: ") == 1
        return said.err

    return attempt


def test_a_port_in_use_is_said_before_any_address(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("--port", port)
    assert f"Port {port}" in said and "--port" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "workstation.example"])
def test_beyond_loopback_nothing_starts_without_a_secret(refused: Refused, host: str) -> None:
    assert "--token-file" in refused("--host", host)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"", "one line"), (b"short", "at least 20"), (b"\xff\xfe\x00", "not text")],
    ids=["absent", "empty", "short", "binary"],
)
def test_a_token_file_must_hold_a_secret(refused: Refused, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    assert words in refused("--host", "0.0.0.0", "--token-file", path)


@pytest.mark.parametrize("place", ["", "runs", "a/link/runs"])
def test_results_do_not_go_into_the_study(refused: Refused, tmp_path: Path, place: str) -> None:
    study = tmp_path / "series"
    (study / "a").mkdir(parents=True)
    (study / "a" / "link").symlink_to(study)
    assert "outside" in refused(study, "--out", study / place)
    assert sorted(path.name for path in study.iterdir()) == ["a"]


def test_white_space_around_the_token_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {TOKEN}\r\n", encoding="utf-8")
    assert read_token(path) == TOKEN


def test_wrong_folders_models_and_hosts_are_refused_before_the_start(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "does not exist" in refused(tmp_path / "absent")
    assert "does not exist" in refused("--allow", tmp_path / "absent")
    assert "Expected a folder for --allow" in refused("--allow", tmp_path / "file")
    assert "Expected one of the weights" in refused("--model", "nonsense")
    assert "data folder" in refused("--out", tmp_path / "file")
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    assert "not an address of this machine" in refused("--host", "192.0.2.7", "--token-file", token)
    assert "for --host, got" in refused("--host", "no such host", "--token-file", token)


def test_a_port_that_needs_rights_says_which_do_not() -> None:
    assert "above 1023" in listening._reason(PermissionError(errno.EACCES, "denied"), "127.0.0.1", 80)


def test_the_address_is_said_when_the_port_is_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[socket.socket] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: bound.extend(sockets))
    monkeypatch.setattr("ui.app.make_app", lambda service, access: said_by.append((service.settings, access)))
    said_by: list[object] = []
    assert run(["ui", "--out", str(tmp_path / "runs"), "--port", "0"]) == 0
    said = capsys.readouterr().out
    assert len(bound) == 1
    assert "Open http://127.0.0.1:" in said
    ((settings, access),) = said_by
    assert settings.roots == ()  # neither the working directory nor the home folder
    assert access == Access("127.0.0.1")
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700  # closed to other users of the machine
