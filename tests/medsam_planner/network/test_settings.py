"""`pacs.toml`: every mistake is named, no secret stands in it or is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError
from medsam_planner.network.pacs_file import read_pacs_file

DIMSE = '[nodes.a]\nkind = "dimse"\nhost = "10.0.0.5"\nport = 104\nae_title = "ARCHIVE"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "pacs.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nodes.a]\nkind = 'ftp'\n", "nodes.a: input tag 'ftp'"),
        (DIMSE.replace("104", "0"), "nodes.a.dimse.port: input should be greater than or equal to 1, got 0"),
        (DIMSE.replace('"ARCHIVE"', '"WAY TOO LONG FOR A TITLE"'), "nodes.a.dimse.ae_title"),
        (DIMSE + "password = 'x'\n", "nodes.a.dimse.password: is no entry of a pacs file"),
        ("[nodes.a]\nkind = 'dicomweb'\nurl = 'http://u:p@127.0.0.1/d'\n", "expected url without a password"),
        (
            "[nodes.a]\nkind = 'dicomweb'\nurl = 'http://pacs.example.org/d'\n"
            "auth = { kind = 'bearer', token_env = 'T' }\n",
            "expected url with https, since a secret is sent to it",
        ),
        (
            "[nodes.a]\nkind = 'dicomweb'\nurl = 'https://pacs.example.org/d'\nauth = { kind = 'bearer' }\n",
            "expected exactly one of token_env and token_file",
        ),
    ],
)
def test_a_wrong_entry_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pacs_file(written(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        "kind = 'dicomweb'\nurl = 'https://h/d?token=very-secret'\n",
        "kind = 'ftp'\nauth = { token = 'very-secret' }\n",
        "kind = 'dicomweb'\nurl = 'https://h/d'\nauth = 'very-secret'\n",
    ],
)
def test_a_secret_in_a_wrong_place_is_not_repeated(entries: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pacs_file(written(tmp_path, f"[nodes.a]\n{entries}"))
    assert "nodes.a" in str(caught.value) and "very-secret" not in str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = DIMSE + 'tls = { ca_file = "ca.pem" }\n[nodes.w]\nkind = "dicomweb"\nurl = "https://h/d"\n'
    pacs = read_pacs_file(written(tmp_path, text + 'auth = { kind = "bearer", token_file = "t" }\n'))
    assert pacs.nodes["a"].tls.ca_file == tmp_path / "ca.pem"
    assert pacs.nodes["w"].auth.token_file == tmp_path / "t"


def test_a_list_shows_every_node_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_TOKEN", "very-secret")
    web = '[nodes.w]\nkind = "dicomweb"\nurl = "https://h/d"\nauth = { kind = "bearer", token_env = "PACS_TOKEN" }\n'
    assert run(["pacs", "list", "--pacs", str(written(tmp_path, DIMSE + web))]) == 0
    told = capfd.readouterr()
    assert "a: DIMSE, ARCHIVE at 10.0.0.5:104, C-GET, not encrypted" in told.out
    assert "w: DICOMweb, https://h/d, bearer" in told.out
    assert "very-secret" not in told.out + told.err


def test_an_unknown_node_ends_with_2_and_the_names_of_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["pacs", "echo", "b", "--pacs", str(written(tmp_path, DIMSE))]) == 2
    assert "got 'b'; it has: a." in capfd.readouterr().err
