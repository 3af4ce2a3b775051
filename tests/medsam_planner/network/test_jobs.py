"""Jobs of the listener: the rule that fits, a PACS that is away, a computation that dies."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pydicom
import pytest
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError, OutputError, PromptError
from medsam_planner.io.files import file_sha256
from medsam_planner.network import job as jobs
from medsam_planner.network import retries
from medsam_planner.network.inbox import Inbox
from medsam_planner.network.job import JobState, check_rules, header_of, prompts_path, rule_for
from medsam_planner.network.listening import _Worker, listen
from medsam_planner.network.pacs_file import PacsFile

RULE = {"name": "any", "prompts": "prompts.json", "send_to": "away"}
NODE = {"kind": "dicomweb", "url": "http://127.0.0.1:9/dicom-web"}


def pacs_with(*rules: dict[str, object], **listen: object) -> PacsFile:
    peers = [{"ae_title": "CT1", "address": "127.0.0.1"}]
    settings = {"peers": peers, "keep_free_mb": 0.0, **listen}
    document = {"nodes": {"away": NODE}, "listen": settings, "rules": [{**RULE, **one} for one in rules]}
    return PacsFile.model_validate(document)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "data")


@pytest.fixture
def job(inbox: Inbox, ct: Path) -> Path:
    """A complete series of one slice."""
    content = min(ct.iterdir()).read_bytes()
    header = pydicom.dcmread(min(ct.iterdir()))
    inbox.keep(CTImageStorage, str(header.SOPInstanceUID), content)
    (taken,) = inbox.take_complete(0.0)
    return taken


def worker(pacs: PacsFile, inbox: Inbox, told: list[str]) -> _Worker:
    assert pacs.listen is not None
    return _Worker(pacs, pacs.listen, inbox, threading.Event(), told.append)


def test_the_first_rule_that_fits_is_taken(job: Path) -> None:
    pacs = pacs_with(
        {"name": "mr", "modality": "MR"},
        {"name": "head", "series": "head"},
        {"name": "leg", "body_part": "LEG"},
        {"name": "test", "modality": "ct", "series": "of a TEST$", "study": "^Study"},
        {"name": "rest"},
    )
    assert rule_for(job, pacs).name == "test"


def test_a_prompt_file_that_is_none_is_refused_before_anything_is_received(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text("[]")
    with pytest.raises(PromptError, match=r"prompts\.json"):
        check_rules(pacs_with({"prompts": str(tmp_path / "prompts.json")}))


def test_a_name_that_leads_out_of_the_folder_names_no_prompts(job: Path, tmp_path: Path) -> None:
    header = header_of(job)
    rule = pacs_with({"prompts": str(tmp_path / "{PatientID}.json")}).rules[0]
    for patient_id in ("../../etc/passwd", "a/b", "", ".hidden", "a b"):
        header.PatientID = patient_id
        with pytest.raises(ConfigError, match="expected a PatientID of letters, digits") as caught:
            prompts_path(rule, header)
        assert not patient_id or patient_id not in str(caught.value)
    header.PatientID = "4711"
    with pytest.raises(ConfigError, match="which does not exist") as caught:
        prompts_path(rule, header)
    assert "{PatientID}" in str(caught.value) and "4711" not in str(caught.value), "it is told and may be kept in a log"
    (tmp_path / "4711.json").touch()
    assert prompts_path(rule, header) == tmp_path / "4711.json"


@pytest.mark.parametrize("hours", [24.0, 0.0])
def test_results_wait_for_a_pacs_that_is_away_until_they_are_given_up(
    hours: float, job: Path, inbox: Inbox, ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    (job / "results-1").mkdir()
    result = job / "results-1" / "seg.dcm"
    result.write_bytes(min(ct.iterdir()).read_bytes())
    JobState(rule="any", attempt=1, is_computed=True, sha256_by_result={"seg.dcm": file_sha256(result)}).note(job)
    told: list[str] = []
    worker(pacs_with({}, give_up_after_h=hours), inbox, told).work()
    if hours:
        assert JobState.read(job).away_since is not None and JobState.read(job).sent == ()
        assert "away does not answer" in told[-1] and "Tried again in 30 s" in told[-1]
    else:
        assert "Given up after 0 hours" in (inbox.dead / job.name / "reason.txt").read_text()
        assert (inbox.dead / job.name / "results-1" / "seg.dcm").is_file()


def test_a_computation_that_dies_twice_becomes_a_dead_letter(
    job: Path, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.json").touch()
    monkeypatch.setattr(jobs, "_COMMAND", "import os; print('memory is full', flush=True); os.kill(os.getpid(), 9)")
    told: list[str] = []
    worker(pacs_with({"prompts": str(tmp_path / "prompts.json")}), inbox, told).work()
    assert "`segment` ended with -9: memory is full memory is full" in told[-1]
    assert (inbox.dead / job.name / "log.txt").read_text() == "memory is full\n" * 2


def test_a_result_that_was_changed_is_not_sent(job: Path, inbox: Inbox) -> None:
    (job / "results-1").mkdir()
    (job / "results-1" / "seg.dcm").write_bytes(b"other")
    JobState(rule="any", attempt=1, is_computed=True, sha256_by_result={"seg.dcm": "0" * 64}).note(job)
    told: list[str] = []
    worker(pacs_with({}), inbox, told).work()
    assert "has changed since it was computed" in told[-1]


def test_a_dead_letter_that_is_moved_back_is_tried_again(job: Path, inbox: Inbox) -> None:
    told: list[str] = []
    worker(pacs_with({"modality": "MR"}), inbox, told).work()
    assert "No rule of pacs.toml fits" in told[-1]
    (inbox.dead / job.name).rename(job)
    worker(pacs_with({}), inbox, told).work()
    assert "expected the prompt file" in told[-1], "now a rule fits"


def test_what_a_computation_says_of_its_prompts_names_no_patient(
    job: Path, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{header_of(job).PatientID}.json").touch()
    monkeypatch.setattr(jobs, "_COMMAND", "import sys; print(sys.argv[3], 'is no prompt file'); sys.exit(2)")
    told: list[str] = []
    worker(pacs_with({"prompts": str(tmp_path / "{PatientID}.json")}), inbox, told).work()
    assert "{PatientID}.json is no prompt file" in told[-1] and header_of_dead(inbox).PatientID not in told[-1]


def header_of_dead(inbox: Inbox) -> pydicom.Dataset:
    (job,) = inbox.dead.iterdir()
    return header_of(job)


def test_a_number_of_a_series_is_not_given_again_when_an_earlier_job_was_deleted(
    job: Path, inbox: Inbox, ct: Path
) -> None:
    inbox.move(job, inbox.done)
    second, third = (pydicom.dcmread(path) for path in sorted(ct.iterdir())[1:3])
    for one in (second, third):
        inbox.keep(CTImageStorage, str(one.SOPInstanceUID), Path(one.filename).read_bytes())
        (taken,) = inbox.take_complete(0.0)
        if one is second:
            inbox.move(taken, inbox.dead)
            shutil.rmtree(inbox.done / job.name)
    assert taken.name.endswith(".3")
    assert inbox.earlier(taken), "instances came before it"


def test_a_job_that_cannot_be_put_away_is_tried_again_and_ends_nothing(
    job: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Inbox, job: Path, place: Path) -> Path:
        raise OSError(28, "No space left on device")

    told: list[str] = []
    monkeypatch.setattr(Inbox, "move", full)
    worker(pacs_with({"modality": "MR"}), inbox, told).work()
    assert "it cannot be put away: No space left on device. Tried again in 30 s." in told[-1]
    assert job.is_dir()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"prompts": "/no/such.json"}, "expected the prompt file /no/such.json"),
        ({"prompts": "/no/{PatientID}.json", "plan": "/no/such.toml"}, "/no/such.toml: expected a plan file"),
        ({"prompts": "/no/{PatientID}.json", "send_to": "closed"}, "Expected a secret of one line in the environment"),
    ],
)
def test_a_rule_that_would_always_fail_is_refused_before_anything_is_received(
    rule: dict[str, object], said: str, tmp_path: Path
) -> None:
    closed = {**NODE, "auth": {"kind": "bearer", "token_env": "NO_SUCH_TOKEN_HERE"}}
    document = {
        "nodes": {"away": NODE, "closed": closed},
        "listen": {"peers": [{"ae_title": "CT1", "address": "127.0.0.1"}]},
        "rules": [{**RULE, **rule}],
    }
    with pytest.raises(ConfigError, match=said):
        listen(PacsFile.model_validate(document), tmp_path / "data", threading.Event(), lambda told: None)
    assert not (tmp_path / "data").exists()


def test_options_that_the_command_of_a_rule_does_not_have_are_refused(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "pacs.toml").write_text(
        f"[nodes.away]\nkind = 'dicomweb'\nurl = '{NODE['url']}'\n"
        "[[listen.peers]]\nae_title = 'CT1'\naddress = '127.0.0.1'\n"
        "[[rules]]\nname = 'any'\nprompts = 'prompts/{PatientID}.json'\nsend_to = 'away'\n"
        "options = ['--samples=8', '--nonsense']\n"
    )
    assert run(["listen", "--pacs", str(tmp_path / "pacs.toml"), "--data", str(tmp_path / "data")]) == 2
    assert (
        "Rule 'any': expected options of `medsam-planner segment`, got --nonsense."
        in capsys.readouterr().err.replace("\n", " ")
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("rule", [{"send": ["../*.dcm"]}, {"send": ["/etc/*"]}, {"options": ["--out=/tmp/x"]}])
def test_a_rule_does_not_reach_out_of_its_folder(rule: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"expected patterns of files among the results|expected options without --out"
    ):
        pacs_with(rule)


def test_two_listeners_do_not_share_a_folder(inbox: Inbox) -> None:
    with pytest.raises(OutputError, match="Another listener uses"):
        Inbox(inbox.jobs.parent)
    inbox.close()
    Inbox(inbox.jobs.parent).close()


def test_a_series_waits_for_space_and_is_no_dead_letter(
    job: Path, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.json").touch()
    pacs = pacs_with({"prompts": str(tmp_path / "prompts.json")}, keep_free_mb=1e9)
    told: list[str] = []
    worker(pacs, inbox, told).work()
    assert "MB are left. Tried again in 30 s." in told[-1] and JobState.read(job).attempt == 0
    left = iter([2e15, 1.0])  # it fills while the results are computed
    usage = shutil.disk_usage(job)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=next(left)))
    monkeypatch.setattr(jobs, "_COMMAND", "import sys; print('No space left on device'); sys.exit(2)")
    worker(pacs, inbox, told).work()
    assert "MB are left. Tried again in 30 s." in told[-1] and job.is_dir() and JobState.read(job).attempt == 1
