"""A run reaches a FHIR server once, under the right patient, with the token of pacs.toml."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from _pytest.capture import CaptureFixture

from medsam_planner.cli.app import run as call
from medsam_planner.network import retries
from tests.medsam_planner.network.fhir.conftest import PDF, PSEUDONYM, MakeRun
from tests.medsam_planner.network.fhir.fhir_double import FhirDouble, fhir_double

MEDPLUM = "@medplum/mock@5.2.13"
PATIENT_RESOURCE = {
    "resourceType": "Patient",
    "id": "17",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "4711"}],
    "name": [{"family": "MÜLLER"}],
    "birthDate": "1961-02-03",
}


@pytest.fixture
def server() -> Iterator[FhirDouble]:
    with fhir_double() as state:
        state.resources["Patient/17"] = dict(PATIENT_RESOURCE)
        yield state


def test_what_is_sent_twice_is_there_once_and_of_the_known_patient(
    make_run: MakeRun, server: FhirDouble, capsys: CaptureFixture[str]
) -> None:
    folder = make_run()
    assert call(["fhir", str(folder), "--push", server.url]) == 0
    before = dict(server.resources)
    assert call(["fhir", str(folder), "--push", server.url]) == 0
    assert server.resources == before and len(server.of_kind("Patient")) == 1
    assert "was there" in capsys.readouterr().out
    (report,) = server.of_kind("DiagnosticReport")
    assert report["subject"] == {"reference": "Patient/17"}
    assert report["result"][0]["reference"].startswith("Observation/")
    assert b64decode(report["presentedForm"][0]["data"]) == PDF


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"birthDate": "1970-01-01"}, "another date of birth"),
        ({"name": [{"family": "Meier"}]}, "another family name"),
        ({"identifier": [{"value": "0815"}]}, "knows no patient"),
    ],
)
def test_nothing_is_filed_under_a_wrong_or_unknown_patient(
    make_run: MakeRun, server: FhirDouble, change: dict[str, object], words: str, capsys: CaptureFixture[str]
) -> None:
    server.resources["Patient/17"] |= change
    before = dict(server.resources)
    assert call(["fhir", str(make_run()), "--push", server.url]) == 2
    assert server.resources == before
    assert words in capsys.readouterr().err


def test_two_patients_of_one_id_are_told_apart_by_its_system(
    make_run: MakeRun, server: FhirDouble, capsys: CaptureFixture[str]
) -> None:
    server.resources["Patient/18"] = {
        **PATIENT_RESOURCE,
        "id": "18",
        "identifier": [{"system": "urn:x:y", "value": "4711"}],
    }
    folder = make_run()
    assert call(["fhir", str(folder), "--push", server.url]) == 2
    assert "--patient-system" in capsys.readouterr().err
    assert call(["fhir", str(folder), "--push", server.url, "--patient-system", "urn:x:y"]) == 0
    assert server.of_kind("DiagnosticReport")[0]["subject"] == {"reference": "Patient/18"}


def test_a_patient_is_created_on_request_alone(make_run: MakeRun, server: FhirDouble) -> None:
    del server.resources["Patient/17"]
    assert call(["fhir", str(make_run()), "--push", server.url, "--create-patient"]) == 0
    (patient,) = server.of_kind("Patient")
    assert server.of_kind("Observation")[0]["subject"] == {"reference": f"Patient/{patient['id']}"}


def test_a_deidentified_run_asks_for_nobody(make_run: MakeRun, server: FhirDouble) -> None:
    assert call(["fhir", str(make_run(PSEUDONYM, names_patient=False)), "--push", server.url]) == 0
    assert len(server.headers) == 1 and server.of_kind("Observation")


def test_the_token_of_the_pacs_file_is_sent_and_never_printed(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    with fhir_double("token-4711") as server:
        server.resources["Patient/17"] = dict(PATIENT_RESOURCE)
        auth = 'auth = { kind = "bearer", token_env = "FHIR_TOKEN" }'
        (tmp_path / "pacs.toml").write_text(f'[fhir.ehr]\nurl = "{server.url}/"\n{auth}\n', encoding="utf-8")
        push = ["fhir", str(make_run()), "--pacs", str(tmp_path / "pacs.toml"), "--push"]
        monkeypatch.setenv("FHIR_TOKEN", "token-0815")
        assert call([*push, "ehr"]) == 2
        told = capsys.readouterr()
        assert "not as things are" in told.err and "token-0815" not in told.out + told.err
        monkeypatch.setenv("FHIR_TOKEN", "token-4711")
        assert call([*push, "ehr"]) == 0
        assert call([*push, "other"]) == 2 and "ehr" in capsys.readouterr().err


def test_a_busy_server_is_asked_again_and_a_refusal_has_its_words(
    make_run: MakeRun, server: FhirDouble, monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    folder = make_run()
    server.statuses = [503, 429]
    assert call(["fhir", str(folder), "--push", server.url]) == 0
    server.statuses = [422]
    assert call(["fhir", str(folder), "--push", server.url]) == 2
    assert "422 Unprocessable Entity: not as things are" in capsys.readouterr().err
    assert call(["fhir", str(folder), "--push", "http://example.org/fhir?x=1"]) == 2
    assert call(["fhir", str(folder)]) == 2


def found(**changes: object) -> dict[str, object]:
    patient = {**PATIENT_RESOURCE, **changes}
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": patient}]}


def done(*entries: object) -> dict[str, object]:
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": list(entries)}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["all is well"], "no FHIR: no Bundle"),
        ([{"resourceType": "Bundle", "type": "history"}], "no Bundle of the type searchset"),
        ([{"resourceType": "Bundle", "type": "searchset", "entry": "x"}], "entries are none"),
        ([{"resourceType": "Bundle", "type": "searchset", "entry": [7]}], "entries are none"),
        ([found(identifier=[{"value": "0815"}])], "another patient ID"),
        ([found(identifier="4711")], "another patient ID"),
        ([found(id="../Practitioner/1")], "without an id that can be referred to"),
        ([found(active=False)], "is not active"),
        ([found(link=[{"type": "replaced-by", "other": {"reference": "Patient/18"}}])], "is not active"),
        ([found(name="MÜLLER"), done()], "answered 0 of 3 resources"),
        ([found(), done(*[{"response": {"status": "201", "location": "Patient/1"}}] * 3)], "answered another resource"),
        ([found(), done(*[{"response": {}}] * 3)], "did not store a ImagingStudy: status none"),
        ([found(), done({"response": "created"})], "entries are none"),
    ],
)
def test_a_server_that_answers_nonsense_with_200_is_not_believed(
    answers: list[object], said: str, make_run: MakeRun, server: FhirDouble, capsys: CaptureFixture[str]
) -> None:
    server.nonsense = answers
    assert call(["fhir", str(make_run()), "--push", server.url]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_nothing_follows_a_redirection(
    make_run: MakeRun,
    server: FhirDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FHIR_TOKEN", "token-4711")
    with fhir_double() as sends_on:
        sends_on.redirect = f"{server.url}/?token=token-0815"
        nodes = f'[nodes.web]\nkind = "dicomweb"\nurl = "{sends_on.url}"\n[fhir.ehr]\nurl = "{sends_on.url}"\n'
        (tmp_path / "pacs.toml").write_text(f'{nodes}auth = {{ kind = "bearer", token_env = "FHIR_TOKEN" }}\n')
        folder, pacs = make_run(), ["--pacs", str(tmp_path / "pacs.toml")]
        for command in (
            ["fhir", str(folder), "--push", "ehr"],
            ["pacs", "push", "web", str(folder)],
            ["pacs", "query", "web", "--patient-id", "4711"],
        ):
            assert call([*command, *pacs]) == 2
            told = capsys.readouterr()
            assert "it sends on to http://127.0.0.1, which is not followed" in " ".join(told.err.split())
            assert "token-" not in told.err + told.out
    assert server.headers == [] and len(sends_on.headers) == 3, "each asked once, and nobody else"


def test_a_bundle_replaces_no_other_file(make_run: MakeRun, tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    folder = make_run()
    before = (folder / "plan.json").read_bytes()
    assert call(["fhir", str(folder), "--out", str(folder / "plan.json")]) == 2
    assert "Expected a new file" in capsys.readouterr().err
    assert (folder / "plan.json").read_bytes() == before
    for _ in range(2):
        assert call(["fhir", str(folder), "--out", str(tmp_path / "bundle.json")]) == 0


@pytest.mark.slow
def test_medplums_router_takes_the_transaction_and_finds_its_profiles_kept(make_run: MakeRun, tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node and npm")
    (tmp_path / "package.json").write_text('{"private": true}')
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", MEDPLUM]
    if subprocess.run(install, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip(f"{MEDPLUM} cannot be fetched from the npm registry")
    program = Path(__file__).with_name("medplum_server.mjs")
    process = subprocess.Popen([node, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        nonsense = requests.post(f"{url}/Observation", json={"resourceType": "Observation"}, timeout=60)
        assert nonsense.status_code == 400, "the profiles are not checked"
        folder = make_run()
        for _ in range(2):
            assert call(["fhir", str(folder), "--push", url, "--create-patient"]) == 0
        for kind in ("Patient", "ImagingStudy", "Observation", "DiagnosticReport"):
            found = requests.get(f"{url}/{kind}", timeout=60).json()["entry"]
            assert len(found) == 1, kind
        assert b64decode(found[0]["resource"]["presentedForm"][0]["data"]) == PDF
    finally:
        process.kill()
        process.wait(30)
