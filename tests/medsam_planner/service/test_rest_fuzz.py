"""Requests made from the OpenAPI file, right and wrong: none ends in an error of the server, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as run_settings
from schemathesis import Case

from medsam_planner.client import Client
from medsam_planner.service.core.service import Service
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import TOKEN, lesion_box, people_of, serving

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Target:
    """A server with a session to fuzz, and one that is left alone."""

    address: str
    data: Path
    known: dict[str, str]
    lease: str
    journal_left_alone: Path


@contextmanager
def fuzzed(settings: Settings, study_path: Path) -> Iterator[Target]:
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        with Client(address, token=TOKEN) as client:
            study = client.open_study(study_path.name)
            alone = client.open_session(study)
            alone.add("lesion", lesion_box())
            session = client.open_session(study)
            session.add("lesion", lesion_box())
            job = session.begin_segment("lesion", samples=0)
            session.wait(job)
        claim = f"{address}/api/v1/sessions/{session.identifier}/lease"
        lease = httpx.post(claim, json={"take_over": True}, headers=HEADERS).json()["lease"]
        known = {"study": study.id, "session": session.identifier, "job": job, "plan": job}
        known |= {"structure": "lesion", "file": "mask.nii.gz", "plane": "axial", "index": "3", "n": "1"}
        journal = settings.out / "sessions" / alone.identifier / "journal.jsonl"
        yield Target(address, settings.out, known, lease, journal)


def fuzz(target: Target, examples: int) -> set[tuple[str, str, int]]:
    """Send so many requests of every operation; gives method, path and status of what was answered."""
    document = httpx.get(f"{target.address}/api/v1/openapi.json", headers=HEADERS).json()
    schema = schemathesis.openapi.from_dict(document)
    answered: set[tuple[str, str, int]] = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @seed(13)
        @run_settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case: Case) -> None:
            may_end = case.method == "DELETE" and case.path.rsplit("/", 1)[-1] in (
                "{study}",
                "{session}",
                "lease",
                "login",
            )
            if case.path_parameters and not may_end and len(answered) % 3:
                case.path_parameters = case.path_parameters | {
                    name: target.known[name] for name in case.path_parameters if name in target.known
                }
            headers: dict[str, Any] = {**HEADERS, "Lease": target.lease}
            answer = case.call(base_url=target.address, headers=headers, timeout=60)
            assert answer.status_code < 500, (case.method, case.path, answer.status_code, answer.text)
            if answer.status_code >= 400:
                problem = answer.json()
                assert problem["status"] == answer.status_code and problem["code"] and problem["detail"] is not None
            answered.add((case.method, case.path, answer.status_code))

        send()
    return answered


def check(settings: Settings, study_path: Path, examples: int) -> None:
    with fuzzed(settings, study_path) as target:
        before = target.journal_left_alone.read_bytes()
        answered = fuzz(target, examples)
        session = target.known["session"]
        said = httpx.get(f"{target.address}/api/v1/sessions/{session}", headers=HEADERS).json()
    assert len({(method, path) for method, path, _ in answered}) > 25
    assert len({(method, path) for method, path, status in answered if status < 300}) > 10
    assert target.journal_left_alone.read_bytes() == before
    with closing(Service(settings)) as service:  # as after a restart
        kept = service.session(session).state
        assert (kept.n, list(kept.steps)) == (said["n"], [one["name"] for one in said["structures"]])
        assert service.unreadable == ()
    for line in (target.data / "audit.jsonl").read_text().splitlines():
        json.loads(line)


def test_no_request_of_the_schema_ends_in_an_error_of_the_server(settings: Settings, study_path: Path) -> None:
    check(settings, study_path, examples=4)


@pytest.mark.slow
def test_no_request_of_the_schema_ends_in_an_error_of_the_server_in_the_long_run(
    settings: Settings, study_path: Path
) -> None:
    check(settings, study_path, examples=150)
