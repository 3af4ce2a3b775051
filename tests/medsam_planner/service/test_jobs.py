"""Jobs run one after the other, say how far they are, and stop when they are told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from medsam_planner.errors import AtCapacityError, NotThereError, OutputError, PromptError
from medsam_planner.progress import Progress, track
from medsam_planner.service.core.job import Job, JobState, Task, Urgency
from medsam_planner.service.core.jobs import Jobs


class Ends:
    """What a session would record."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.error: Exception | None = None

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        if self.error is not None:
            raise self.error


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def jobs(ends: Ends) -> Iterator[Jobs]:
    jobs = Jobs(on_progress=lambda _: None, on_end=ends, on_fault=lambda error: f"fault: {type(error).__name__}")
    yield jobs
    jobs.close()


def settled(jobs: Jobs, identifier: str) -> Job:
    until = time.monotonic() + 20
    while not jobs.find(identifier).state.is_final and time.monotonic() < until:
        time.sleep(0.005)
    return jobs.find(identifier)


def steps(progress: Progress) -> Mapping[str, Any]:
    for _ in track(range(10_000), "steps", progress):
        time.sleep(0.002)
    return {}


def test_a_job_runs_and_its_result_is_recorded_before_it_is_shown(jobs: Jobs, ends: Ends) -> None:
    jobs.submit(Job("1", "a", "segment"), lambda _: {"volume_ml": 3.0})
    job = settled(jobs, "1")
    assert (job.state, job.result) == (JobState.DONE, {"volume_ml": 3.0})
    assert ends.jobs == [job]


def test_jobs_run_in_the_order_they_were_asked_for(jobs: Jobs) -> None:
    order: list[str] = []
    for name in "abcde":
        jobs.submit(Job(name, "s", "segment"), lambda _, name=name: order.append(name) or {})  # type: ignore[misc]
    settled(jobs, "e")
    assert order == list("abcde")


def test_a_running_job_stops_within_a_second_and_a_waiting_one_at_once(jobs: Jobs) -> None:
    jobs.submit(Job("1", "a", "segment"), steps)
    jobs.submit(Job("2", "a", "segment"), steps)
    while jobs.find("1").done < 3:
        time.sleep(0.005)
    assert jobs.cancel("2").state is JobState.CANCELLED
    before_s = time.monotonic()
    jobs.cancel("1")
    assert settled(jobs, "1").state is JobState.CANCELLED
    assert time.monotonic() - before_s < 1
    jobs.submit(Job("3", "a", "segment"), lambda _: {})
    assert settled(jobs, "3").state is JobState.DONE
    assert jobs.find("2").state is JobState.CANCELLED


def test_a_refusal_and_a_fault_fail_the_job_with_a_code_and_the_queue_goes_on(jobs: Jobs) -> None:
    def refused(_: Progress) -> Mapping[str, Any]:
        raise PromptError("Expected a box.")

    def faulty(_: Progress) -> Mapping[str, Any]:
        raise ZeroDivisionError

    jobs.submit(Job("1", "a", "segment"), refused)
    jobs.submit(Job("2", "a", "segment"), faulty)
    jobs.submit(Job("3", "a", "segment"), lambda _: {})
    assert settled(jobs, "1").problem == {"code": "prompt", "detail": "Expected a box."}
    assert settled(jobs, "2").problem == {"code": "fault", "detail": "fault: ZeroDivisionError"}
    assert settled(jobs, "3").state is JobState.DONE


def test_a_result_that_cannot_be_recorded_is_no_result(jobs: Jobs, ends: Ends) -> None:
    ends.error = OutputError("no room")
    jobs.submit(Job("1", "a", "segment"), lambda _: {"volume_ml": 3.0})
    job = settled(jobs, "1")
    assert (job.state, job.result, job.problem) == (JobState.FAILED, None, {"code": "output", "detail": "no room"})


def test_the_queue_goes_on_after_a_session_with_a_waiting_job_was_deleted(jobs: Jobs) -> None:
    go_on = threading.Event()
    jobs.submit(Job("1", "a", "segment"), lambda _: {"waited": go_on.wait(20)})
    jobs.submit(Job("2", "b", "segment"), steps)
    jobs.end_all_of("b")
    jobs.submit(Job("3", "c", "segment"), lambda _: {"volume_ml": 3.0})
    go_on.set()
    assert settled(jobs, "3").state is JobState.DONE
    with pytest.raises(NotThereError):
        jobs.find("2")


def test_one_session_cannot_fill_the_queue(jobs: Jobs) -> None:
    held = threading.Event()
    jobs.submit(Job("0", "a", "segment"), lambda _: {"waited": held.wait(20)})
    for number in range(1, 16):
        jobs.require_room("a")
        jobs.submit(Job(str(number), "a", "segment"), lambda _: {})
    with pytest.raises(AtCapacityError):
        jobs.require_room("a")
    jobs.require_room("b")
    held.set()


def test_an_unknown_job_is_not_there(jobs: Jobs) -> None:
    with pytest.raises(NotThereError):
        jobs.find("x")


def test_a_job_that_nobody_asked_for_gives_way_and_is_done_afterwards(jobs: Jobs) -> None:
    order: list[str] = []
    may_end, has_begun = threading.Event(), threading.Event()

    def follows(progress: Progress) -> dict[str, Any]:
        order.append("mask")
        has_begun.set()
        for _ in track(range(4000), "propagating", progress):
            if may_end.wait(0.005):
                break
        return {"volume_ml": 1.0}

    def asked(name: str) -> Task:
        return lambda _: order.append(name) or {}  # type: ignore[func-returns-value]

    jobs.submit(Job("passes", "a", "segment", urgency=Urgency.PASSES), asked("passes"), lane="model")
    settled(jobs, "passes")
    jobs.submit(Job("mask", "a", "segment", urgency=Urgency.MASK), follows, lane="model")
    assert has_begun.wait(20)
    jobs.submit(Job("later passes", "a", "segment", urgency=Urgency.PASSES), asked("later passes"), lane="model")
    jobs.submit(Job("asked", "b", "segment"), asked("asked"), lane="model")
    assert settled(jobs, "asked").state is JobState.DONE
    may_end.set()
    assert settled(jobs, "mask").state is JobState.DONE
    assert settled(jobs, "later passes").state is JobState.DONE
    assert order == ["passes", "mask", "asked", "mask", "later passes"]


def test_a_job_that_gave_way_can_be_stopped_while_it_waits(jobs: Jobs) -> None:
    has_begun, held = threading.Event(), threading.Event()

    def follows(progress: Progress) -> dict[str, Any]:
        has_begun.set()
        for _ in track(range(4000), "propagating", progress):
            time.sleep(0.005)
        return {}

    jobs.submit(Job("mask", "a", "segment", urgency=Urgency.MASK), follows)
    assert has_begun.wait(20)
    jobs.submit(Job("asked", "b", "segment"), lambda _: {"waited": held.wait(20)})
    until = time.monotonic() + 20
    while jobs.find("mask").state is not JobState.QUEUED and time.monotonic() < until:
        time.sleep(0.01)
    assert jobs.cancel("mask").state is JobState.CANCELLED
    held.set()
    assert settled(jobs, "asked").state is JobState.DONE
    assert jobs.find("mask").state is JobState.CANCELLED
