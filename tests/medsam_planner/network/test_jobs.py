"""Jobs of the listener: the rule that fits, a PACS that is away, a computation that dies."""

from __future__ import annotations

import threading
from pathlib import Path

import pydicom
import pytest
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from medsam_planner.errors import ConfigError
from medsam_planner.io.files import file_sha256
from medsam_planner.network import job as jobs
from medsam_planner.network import retries
from medsam_planner.network.inbox import Inbox
from medsam_planner.network.job import JobState, header_of, prompts_path, rule_for
from medsam_planner.network.listening import _Worker
from medsam_planner.network.pacs_file import PacsFile

RULE = {"name": "any", "prompts": "prompts.json", "send_to": "away"}
NODE = {"kind": "dicomweb", "url": "http://127.0.0.1:9/dicom-web"}


def pacs_with(*rules: dict[str, object], **listen: object) -> PacsFile:
    peers = [{"ae_title": "CT1", "address": "127.0.0.1"}]
    settings = {"peers": peers, **listen}
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


def test_a_name_that_leads_out_of_the_folder_names_no_prompts(job: Path, tmp_path: Path) -> None:
    header = header_of(job)
    rule = pacs_with({"prompts": str(tmp_path / "{PatientID}.json")}).rules[0]
    for patient_id in ("../../etc/passwd", "a/b", "", ".hidden", "a b"):
        header.PatientID = patient_id
        with pytest.raises(ConfigError, match="expected a PatientID of letters, digits") as caught:
            prompts_path(rule, header)
        assert not patient_id or patient_id not in str(caught.value)
    header.PatientID = "4711"
    with pytest.raises(ConfigError, match="which does not exist"):
        prompts_path(rule, header)
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
