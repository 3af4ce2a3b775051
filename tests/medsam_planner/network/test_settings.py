"""`pacs.toml`: every mistake is named, no secret stands in it or is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError
from medsam_planner.network.matching import matching_keys
from medsam_planner.network.pacs_file import read_pacs_file

DIMSE = '[nodes.a]\nkind = "dimse"\nhost = "10.0.0.5"\nport = 104\nae_title = "ARCHIVE"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "pacs.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nodes.a]\nkind = 'ftp'\n", "nodes.a.kind: expected 'dicomweb', 'dimse', got a text"),
        (DIMSE.replace("104", "true"), "nodes.a.dimse.port: expected a whole number, got true"),
        (DIMSE.replace("104", '"104"'), "nodes.a.dimse.port: expected a whole number, got a text"),
        (DIMSE.replace("104", "104.0"), "nodes.a.dimse.port: expected a whole number, got 104.0"),
        (DIMSE.replace("104", "2026-01-31"), "nodes.a.port: expected no date, got one"),
        (DIMSE.replace('"ARCHIVE"', "7"), "nodes.a.dimse.ae_title: expected text in quotes, got 7"),
        (DIMSE + "timeout_s = true", "nodes.a.dimse.timeout_s: expected a number, got true"),
        (DIMSE + "timeout_s = nan", "nodes.a.dimse.timeout_s: input should be"),
        ("nodes = 3", "nodes: expected a table, got 3"),
        ("[listen]\npeers = 'CT1'", "listen.peers: expected a list, got a text"),
        ("[[listen.peers]]\nae_title = 'A'\naddress = 'here'", "listen.peers.0.address: expected an address as"),
        ("", "expected a pacs file, got no entry at all"),
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
        "kind = 'dicomweb'\nurl = 'https://h/d'\nauth = { kind = 'very-secret' }\n",
        "kind = 'dicomweb'\nurl = 'https://h/d'\nauth = { kind = 'command', command = 'very-secret' }\n",
        "kind = 'dicomweb'\nurl = 'https://h/d'\nauth = { kind = 'bearer', token_env = ['very-secret'] }\n",
        "kind = 'dicomweb'\nurl = ['https://u:very-secret@h/d']\n",
        "kind = 'dicomweb'\nurl = 'https://h/d'\ntimeout_s = 'very-secret'\n",
        "kind = 'dimse'\nhost = 'h'\nport = 'very-secret'\nae_title = 'A'\n",
        "kind = 'dimse'\nhost = 'h'\nport = 1\nae_title = 'A'\ntls = 'very-secret'\n",
        "kind = ['very-secret']\n",
    ],
)
def test_a_secret_in_a_wrong_place_is_not_repeated(entries: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pacs_file(written(tmp_path, f"[nodes.a]\n{entries}"))
    assert "nodes.a" in str(caught.value) and "very-secret" not in str(caught.value)


def test_a_file_in_the_encoding_of_an_editor_is_read_and_one_of_marks_alone_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_bytes(DIMSE.encode("utf-16"))
    assert list(read_pacs_file(path).nodes) == ["a"]
    for content in (b"\xff\xfe", "# nothing".encode("utf-16"), b"\xff\xfe" + DIMSE.encode()):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="expected a pacs file"):
            read_pacs_file(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--date", "2026-99-99"), "Expected a day that there is, got '2026-99-99'"),
        (("--date", "20260230"), "Expected a day that there is"),
        (("--date", "last week"), "Expected a date as 20260131"),
        (("--date", "2026013"), "Expected a date as 20260131"),
        (("--date", "20260131-20260101"), "whose first is not after its last"),
        (("--date", "-"), "Expected a date as"),
        (("--date", ""), "Expected a date to search for, got an empty text"),
        (("--modality", "CT\\MR"), "without a backslash"),
        (("--modality", "CT,MR"), "a modality such as CT or MR, one of them"),
        (("--patient-id", "x" * 65), "a patient ID of at most 64"),
        (("--patient-id", " "), "Expected a patient ID to search for, got an empty text"),
        (("--patient-name", "A\nB"), "a patient's name of at most 64 printable"),
        (("--accession", "1" * 17), "an accession number of at most 16"),
        (("--study", "1.2.x"), "the UID of a study of digits and dots"),
        ((), "Expected something to search for, got nothing"),
    ],
)
def test_a_value_that_cannot_be_one_is_refused_before_anything_is_sent(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    silent = written(tmp_path, DIMSE)  # nobody answers there: a question would end otherwise
    assert run(["pacs", "query", "a", *arguments, "--pacs", str(silent)]) == 2
    assert said in " ".join(capfd.readouterr().err.split())


def test_dates_of_a_query_are_written_as_dicom_has_them() -> None:
    for given, sent in {
        "2026-01-31": "20260131",
        "20260131": "20260131",
        "20260101-20260131": "20260101-20260131",
        "2026-01-01 - 2026-01-31": "20260101-20260131",
        "2026-01-01/2026-01-31": "20260101-20260131",
        "2026-01-01-2026-01-31": "20260101-20260131",
        "20260101-": "20260101-",
        "-2026-01-31": "-20260131",
    }.items():
        assert matching_keys({"StudyDate": given}) == {"StudyDate": sent}
    assert matching_keys({"Modality": " ct ", "PatientID": None}) == {"Modality": "CT"}


def test_what_is_to_be_fetched_is_checked_before_anything_is_sent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = ["--pacs", str(written(tmp_path, DIMSE)), "--out", str(tmp_path / "out")]
    for arguments, said in (
        (("--accession", "*"), "one accession number without *"),
        (("--study", "../1"), "the UID of a study of digits and dots"),
        (("--study", "1.2", "--series", "x/y"), "the UID of a series of digits and dots"),
    ):
        assert run(["pacs", "pull", "a", *arguments, *place]) == 2
        assert said in " ".join(capfd.readouterr().err.split())


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
