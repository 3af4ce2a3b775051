"""One complete series: its rule, the computation in a process of its own, the sending. Each step is noted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom

from medsam_planner.errors import ConfigError, PeerError, StudyError
from medsam_planner.io.files import file_sha256, sync_folder, write_json
from medsam_planner.io.study_files import READ_ERRORS, header_text, quiet_pydicom
from medsam_planner.network.connecting import connect
from medsam_planner.network.credentials import require_secrets
from medsam_planner.network.listen_settings import FIELDS_OF_A_PATH, Rule
from medsam_planner.network.pacs_file import PacsFile
from medsam_planner.network.push import Outgoing, outgoing, send_missing
from medsam_planner.network.settings import DicomwebNode

__all__ = ["JobState", "StoppedError", "check_rules", "compute", "prompts_path", "rule_for", "send"]

_STATE = "job.json"
_LOG = "log.txt"
_COMMAND = "from medsam_planner.cli import main; main()"
_MOST_DEATHS = 2
"""Computations of one series that may be killed, as by a full memory, before it is given up."""
_DONE = (0, 1)
"""Exit codes with results; 1 is a plan without a feasible path."""
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LAST_LINES = 5


class StoppedError(Exception):
    """The listener was told to end."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What is known of a job, in its ``job.json``."""

    rule: str | None = None
    attempt: int = 0
    """Number of the last computation; its results are in ``results-<attempt>``."""
    deaths: int = 0
    is_computed: bool = False
    sha256_by_result: dict[str, str] = field(default_factory=dict)
    """Files to send, and their digests."""
    sent: tuple[str, ...] = ()
    """Files that the node has confirmed."""
    away_since: float | None = None
    """Seconds since the epoch, while the node is away."""

    @classmethod
    def read(cls, job: Path) -> JobState:
        """The state of a job; that of a new one where nothing is noted."""
        try:
            document = json.loads((job / _STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        return cls(**{**document, "sent": tuple(document["sent"])})

    def note(self, job: Path) -> JobState:
        """Write it, so that it survives a power failure."""
        write_json(job / _STATE, asdict(self))
        sync_folder(job)
        return self


def header_of(job: Path) -> pydicom.Dataset:
    """Header of the first image of a job."""
    first = min((job / "images").iterdir())
    try:
        with quiet_pydicom():
            return pydicom.dcmread(first, stop_before_pixels=True)
    except READ_ERRORS as error:
        raise StudyError(f"Expected DICOM in {first}: {error}.") from error


def rule_for(job: Path, pacs: PacsFile) -> Rule:
    """The first rule that fits.

    Raises
    ------
    ConfigError
        If there is none.
    """
    header = header_of(job)
    for rule in pacs.rules:
        if rule.fits(header):
            return rule
    facts = ("Modality", "BodyPartExamined", "SeriesDescription", "StudyDescription")
    told = ", ".join(f"{keyword} {header_text(header, keyword)!r}" for keyword in facts)
    raise ConfigError(f"No rule of pacs.toml fits {told}.")


def prompts_path(rule: Rule, header: pydicom.Dataset) -> Path:
    """The prompt file of a series.

    Raises
    ------
    ConfigError
        If a value of the header cannot stand in a file's name, or there is no such file.
    """
    text = str(rule.prompts)
    for keyword in FIELDS_OF_A_PATH:
        if f"{{{keyword}}}" in text:
            value = header_text(header, keyword)
            if not value or not set(value) <= _SAFE or value.startswith("."):
                raise ConfigError(
                    f"Rule '{rule.name}': expected a {keyword} of letters, digits and . _ - for the name of the prompt "
                    "file, got another."
                )
            text = text.replace(f"{{{keyword}}}", value)
    path = Path(text)
    if not path.is_file():  # its name may be a patient's
        raise ConfigError(f"Rule '{rule.name}': expected the prompt file {rule.prompts}, which does not exist.")
    return path


def check_rules(pacs: PacsFile) -> None:
    """Find before anything is received what would make a rule fail every time: its files, the login of its node.

    Raises
    ------
    ConfigError
        Also one of the plan file of a rule.
    """
    from medsam_planner.planning.plan_file import read_plan_file
    from prompts import read_prompt_file

    for rule in pacs.rules:
        if not any(f"{{{keyword}}}" in str(rule.prompts) for keyword in FIELDS_OF_A_PATH):
            if not rule.prompts.is_file():
                raise ConfigError(f"Rule '{rule.name}': expected the prompt file {rule.prompts}, which does not exist.")
            read_prompt_file(rule.prompts)
        if rule.plan is not None:
            read_plan_file(rule.plan)
        node = pacs.nodes[rule.send_to]
        if isinstance(node, DicomwebNode):
            require_secrets(node.auth)


def compute(job: Path, rule: Rule, state: JobState, stop: threading.Event) -> JobState:
    """Run the rule's command on the images, as a person would; its results go to a new folder.

    Raises
    ------
    StudyError
        If the command refuses or fails, or dies again and again; the message has its last words.
    StoppedError
        If the listener was told to end; the next start computes anew.
    """
    state = replace(state, rule=rule.name, attempt=state.attempt + 1).note(job)
    results = job / f"results-{state.attempt}"
    for earlier in job.glob("results-*"):  # of a killed process, which may still be writing
        shutil.rmtree(earlier, ignore_errors=True)
    arguments = [str(job / "images"), str(prompts_path(rule, header_of(job)))]
    arguments += ["--out", str(results), *rule.options]
    name = "segment"
    if rule.plan is not None:
        name = "run"
        arguments.insert(2, str(rule.plan))
    with (job / _LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, name, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while process.poll() is None:
                if stop.wait(0.2):
                    raise StoppedError
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode < 0:
        state = replace(state, deaths=state.deaths + 1).note(job)
        if state.deaths < _MOST_DEATHS:
            return state
    if process.returncode not in _DONE:
        words = _last_words(job / _LOG).replace(arguments[1], str(rule.prompts))  # may name the patient
        raise StudyError(f"`{name}` ended with {process.returncode}: {words}")
    files = sorted({path for pattern in rule.send for path in results.glob(pattern) if path.is_file()})
    if not files:
        raise StudyError(f"Rule '{rule.name}': no result is called {', '.join(rule.send)}. See {_LOG}.")
    digests = {path.relative_to(results).as_posix(): file_sha256(path) for path in files}
    return replace(state, is_computed=True, sha256_by_result=digests).note(job)


def send(job: Path, rule: Rule, state: JobState, pacs: PacsFile) -> JobState:
    """Send the results that the node has not confirmed yet; each confirmation is noted at once.

    What was sent right before a crash is noted nowhere, so the node is asked first which instances it has.

    Raises
    ------
    PeerError
        If the node refuses one, or is away.
    StudyError
        If a result has changed since it was computed.
    """
    results = job / f"results-{state.attempt}"
    for name, digest in state.sha256_by_result.items():
        if not (results / name).is_file() or file_sha256(results / name) != digest:
            raise StudyError(f"{results / name} has changed since it was computed; nothing more of it is sent.")
    left = [results / name for name in state.sha256_by_result if name not in state.sent]

    def confirmed(one: Outgoing) -> None:
        nonlocal state
        name = one.path.relative_to(results).as_posix()
        state = replace(state, sent=(*state.sent, name), away_since=None).note(job)

    try:
        if left:
            send_missing(connect(pacs, rule.send_to), outgoing(left), tell=confirmed)
    except PeerError:
        replace(state, away_since=state.away_since or time.time()).note(job)
        raise
    return state


def _last_words(log: Path) -> str:
    lines: list[Any] = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(line.strip() for line in lines[-_LAST_LINES:])[:1000] or "it said nothing"
