"""``listen``: receive, wait until a series is complete, do what its rule says, send the results."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from medsam_planner.errors import (
    ConfigError,
    MedsamPlannerError,
    OutputError,
    PeerAwayError,
    StudyError,
    require_extra,
)
from medsam_planner.io.fault_log import in_one_line, log_fault
from medsam_planner.io.files import write_whole
from medsam_planner.network.inbox import Inbox
from medsam_planner.network.job import JobState, StoppedError, check_rules, compute, rule_for, send
from medsam_planner.network.listen_settings import Listen, Rule
from medsam_planner.network.pacs_file import PacsFile

__all__ = ["listen"]

_TICK_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30.0, 600.0
REASON = "reason.txt"


def listen(pacs: PacsFile, data: Path, stop: threading.Event, tell: Callable[[str], None]) -> None:
    """Receive and work until told to stop.

    Parameters
    ----------
    pacs : PacsFile
    data : Path
        Folder of everything that was received; see :mod:`.inbox`.
    stop : threading.Event
    tell : callable
        Is told in words what happens; without names of patients.

    Raises
    ------
    ConfigError
        If the pacs file has no ``[listen]``, a rule cannot be carried out, or the port cannot be opened.
    OutputError
        If the folder cannot be written, or another listener uses it.
    """
    require_extra("pacs", "`medsam-planner listen`")
    from medsam_planner.network.commitment import Commitments
    from medsam_planner.network.receiver import Receiver

    if pacs.listen is None:
        raise ConfigError("Expected a table [listen] with the peers that may send in the pacs file, got none.")
    check_rules(pacs)
    inbox = Inbox(data, keep_free_bytes=pacs.listen.keep_free_mb * 1e6)
    try:
        commitments = Commitments(inbox.commitments, pacs.local, pacs.listen, inbox, tell)
        receiver = Receiver(pacs.local, pacs.listen, inbox, commitments, tell)
        try:
            place = f"{pacs.local.host}:{pacs.local.port}"
            tell(f"{pacs.local.ae_title} receives at {place}, into {data}. Ctrl-C ends it. Research use only.")
            worker = _Worker(pacs, pacs.listen, inbox, stop, tell)
            while not stop.wait(_TICK_S):
                worker.work()
        except StoppedError:
            pass
        finally:
            receiver.close()
            commitments.close()
    finally:
        inbox.close()


class _Worker:
    """Does one job after the other."""

    def __init__(
        self, pacs: PacsFile, settings: Listen, inbox: Inbox, stop: threading.Event, tell: Callable[[str], None]
    ) -> None:
        self._pacs = pacs
        self._settings = settings
        self._inbox = inbox
        self._stop = stop
        self._tell = tell
        self._waits: dict[str, tuple[float, float]] = {}
        """By job: when it is tried again, and how long the next wait is."""

    def work(self) -> None:
        """Take complete series, and do every job that need not wait."""
        try:
            for job in self._inbox.take_complete(self._settings.quiet_s):
                self._tell(f"Complete: {job.name}, {sum(1 for _ in (job / 'images').iterdir())} instances.")
        except OSError as error:  # a full disk: what has arrived waits
            self._tell(f"No series can be taken: {error.strerror or error}.")
        for job in sorted(self._inbox.jobs.iterdir()):
            again, _ = self._waits.get(job.name, (0.0, 0.0))
            if (job / "images").is_dir() and time.monotonic() >= again:
                try:
                    self._do(job)
                except OSError as error:  # it cannot be moved: one job must not end the listener
                    self._later(job, f"it cannot be put away: {error.strerror or error}.")
            if self._stop.is_set():
                raise StoppedError

    def _do(self, job: Path) -> None:
        try:
            if earlier := self._inbox.earlier(job):
                self._bury(job, f"These instances came after the series was taken for complete ({earlier[0].name}).")
                return
            state = JobState.read(job)
            rule = self._rule(job, state)
            while not state.is_computed:
                self._require_space()
                self._tell(f"{job.name}: rule '{rule.name}' ...")
                try:
                    state = compute(job, rule, state, self._stop)
                except StudyError:
                    self._require_space()  # a computation that ended for want of it is repeated, and no dead letter
                    raise
            state = send(job, rule, state, self._pacs)
            self._inbox.move(job, self._inbox.done)
            self._tell(f"{job.name}: {len(state.sent)} results sent to {rule.send_to}.")
        except (PeerAwayError, OutputError) as error:
            self._wait(job, error)
        except MedsamPlannerError as error:
            self._bury(job, str(error))
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must end one job and not the listener
            log = log_fault(error)
            self._bury(job, f"Unexpected error: {in_one_line(error)}. This is a bug; see the log: {log}")

    def _require_space(self) -> None:
        free_mb = shutil.disk_usage(self._inbox.jobs).free / 1e6
        if free_mb < self._settings.keep_free_mb:
            raise OutputError(
                f"Expected {self._settings.keep_free_mb:g} MB (keep_free_mb) for results, {free_mb:.0f} MB are left."
            )

    def _rule(self, job: Path, state: JobState) -> Rule:
        if state.rule is None:
            return rule_for(job, self._pacs)
        for rule in self._pacs.rules:
            if rule.name == state.rule:
                return rule
        raise ConfigError(f"The rule '{state.rule}', by which this was begun, is no longer in pacs.toml.")

    def _wait(self, job: Path, error: MedsamPlannerError) -> None:
        """Try again later what may succeed later."""
        since = JobState.read(job).away_since
        if since is not None and time.time() - since > self._settings.give_up_after_h * 3600:
            self._bury(job, f"{error} Given up after {self._settings.give_up_after_h:g} hours.")
            return
        self._later(job, str(error))

    def _later(self, job: Path, why: str) -> None:
        _, wait_s = self._waits.get(job.name, (0.0, _FIRST_WAIT_S))
        self._waits[job.name] = (time.monotonic() + wait_s, min(2 * wait_s, _LONGEST_WAIT_S))
        self._tell(f"{job.name}: {why} Tried again in {wait_s:g} s.")

    def _bury(self, job: Path, reason: str) -> None:
        with contextlib.suppress(OutputError):  # without space the reason is told all the same
            write_whole(job / REASON, f"{reason}\n")
        place = self._inbox.move(job, self._inbox.dead)
        self._tell(f"Dead letter: {place}: {reason}")
