"""What is deleted after the stated time, what never is, and what happens where it cannot be told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.errors import NotThereError, OutputError
from medsam_planner.service.core import audit as audit_module
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.audit import Audit
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.retention import Keep, Retention, expire
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.core.work import Work
from medsam_planner.service.settings import Settings
from prompts import PromptLog
from tests.medsam_planner.service.rest import lesion_box

DAY_S = 86400.0


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    with closing(Service(settings)) as service:
        yield service


def uploaded(service: Service, study_path: Path) -> StoredStudy:
    identifier, folder = service.upload_folder()
    (folder / study_path.name).write_bytes(study_path.read_bytes())
    return service.open_upload(identifier, folder / study_path.name)


def begun(service: Service, study: StoredStudy) -> Work:
    work, lease = service.open_session(study.identifier)
    service.leases.release(work.identifier, lease)
    return work


def lesion_entry() -> dict[str, Any]:
    from medsam_planner.service.core.prompt_steps import PromptSteps

    log = PromptLog("lesion")
    log.add(lesion_box())
    return dict(PromptSteps.of_log(log).entries[0])


def segmented(service: Service, work: Work) -> str:
    job = service.segment(work, "lesion", SegmentOptions(samples=0))
    until = time.monotonic() + 60
    while not service.jobs.find(job).state.is_final and time.monotonic() < until:
        time.sleep(0.05)
    assert service.jobs.find(job).state.value == "done"
    return job


def told(service: Service) -> list[dict[str, str]]:
    return [json.loads(line) for line in service.audit.path.read_text().splitlines()]


def test_a_study_goes_once_no_session_was_on_it_for_so_long_and_files_elsewhere_stay(
    service: Service, study_path: Path
) -> None:
    unused, by_path, used = (
        uploaded(service, study_path),
        service.open_path(study_path.name),
        uploaded(service, study_path),
    )
    begun(service, used)
    expire(service, Keep(days=30), now=time.time() + 29 * DAY_S)
    assert len(service.studies.all()) == 3
    expire(service, Keep(days=30), now=time.time() + 31 * DAY_S)
    assert service.studies.all() == (used,)
    for gone in (unused, by_path):
        assert not service.studies.folder_of(gone.identifier).exists()
        with pytest.raises(NotThereError):
            service.open_session(gone.identifier)
    assert study_path.exists()
    deleted = [(one["event"], one["actor"], one["study"]) for one in told(service)[-2:]]
    assert deleted == [("deleted", "retention", one.identifier) for one in (unused, by_path)]


def test_a_session_that_begins_while_its_study_is_deleted_is_refused(service: Service, study_path: Path) -> None:
    study = uploaded(service, study_path)
    find = service.studies.find
    service.studies.find = lambda identifier: (find(identifier), service.forget_study(study))[0]  # type: ignore[method-assign]
    with pytest.raises((NotThereError, OutputError)):
        service.open_session(study.identifier)
    assert service.sessions() == () and list((service.data / "sessions").iterdir()) == []
    assert service.leases.held_count == 0


def test_sessions_are_kept_for_ever_unless_the_operator_says_how_long(service: Service, study_path: Path) -> None:
    work = begun(service, service.open_path(study_path.name))
    expire(service, Keep(), now=time.time() + 10_000 * DAY_S)
    assert service.sessions() == (work,)
    expire(service, Keep(works_days=90), now=time.time() + 91 * DAY_S)
    assert service.sessions() == () and not work.folder.exists()
    assert study_path.exists()


def test_a_session_that_somebody_holds_is_not_deleted(service: Service, study_path: Path) -> None:
    work, _ = service.open_session(service.open_path(study_path.name).identifier)
    expire(service, Keep(works_days=1), now=time.time() + 100 * DAY_S)
    assert service.sessions() == (work,)


def test_files_that_can_be_made_again_go_and_the_result_stays(service: Service, study_path: Path) -> None:
    work = begun(service, service.open_path(study_path.name))
    work.add("lesion", lesion_entry())
    first, last = segmented(service, work), segmented(service, work)
    path, stored = service.result_file(work, "lesion", ResultFile.MASK)
    mask = path.read_bytes()
    expire(service, Keep(days=1), now=time.time() + 2 * DAY_S)
    assert not path.exists() and not (work.folder / "results" / first).exists()
    assert stored.job == last
    assert service.result_file(work, "lesion", ResultFile.MASK)[0].read_bytes()[:4] == mask[:4]


def test_links_are_removed_and_not_followed(service: Service, study_path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    study = uploaded(service, study_path)
    (service.studies.folder_of(study.identifier) / "link").symlink_to(outside)
    work = begun(service, service.open_path(study_path.name))
    (work.folder / "results" / "link").symlink_to(outside)
    os.utime(outside, (0, 0))
    expire(service, Keep(days=1, works_days=1), now=time.time() + 9 * DAY_S)
    assert service.studies.all() == ()
    assert (outside / "precious").exists()


def test_it_begins_with_the_server(service: Service, study_path: Path) -> None:
    study = uploaded(service, study_path)
    with closing(Retention(service, Keep(days=0))):
        until = time.monotonic() + 30
        while service.studies.all() and time.monotonic() < until:
            time.sleep(0.05)
    assert not service.studies.folder_of(study.identifier).exists()


# ---- the audit log --------------------------------------------------------------------------------------------------
def test_nothing_is_done_that_cannot_be_told(
    service: Service, study_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Actor("ann", Right.ADMINISTER, has_account=True)
    desk = OnBehalf(service, actor)
    study = desk.open_path(study_path.name)
    work, lease = desk.open_session(study.identifier)
    desk.add(work, "lesion", lesion_entry())
    journal, log = (work.folder / "journal.jsonl").read_bytes(), service.audit.path.read_bytes()

    def full(handle: int, line: bytes) -> int:
        return original(handle, line[:7])  # a disk that is full takes a part of the line

    original = os.write
    monkeypatch.setattr(audit_module.os, "write", full)
    for attempt in (
        lambda: desk.add(work, "lesion", lesion_entry()),
        lambda: desk.record(work, "undo", structure="lesion"),
        lambda: desk.segment(work, "lesion", SegmentOptions(samples=0)),
        lambda: desk.open_path(study_path.name),
        lambda: desk.open_session(study.identifier),
        lambda: desk.grant(study.identifier, {"bob": Right.VIEW}),
        lambda: desk.delete_study(study.identifier),
        lambda: desk.delete_session(work.identifier),
    ):
        with pytest.raises(OutputError, match="audit log cannot be written"):
            attempt()
    monkeypatch.undo()
    assert (work.folder / "journal.jsonl").read_bytes() == journal
    assert service.audit.path.read_bytes() == log
    assert service.sessions() == (work,) and service.rights.grants(study) == {}
    desk.add(desk.acting(work.identifier, lease), "lesion", lesion_entry())


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    Audit(path).tell("login", "ann")
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')
    Audit(path).tell("logout", "ann")
    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["event"], json.loads(last)["event"]) == ("login", "logout")
    assert torn == '{"at": "2026-'


def test_reading_the_same_again_is_told_once_a_day(service: Service, study_path: Path) -> None:
    desk = OnBehalf(service, Actor("ann"))
    work, _ = desk.open_session(desk.open_path(study_path.name).identifier)
    for _ in range(5):
        desk.session(work.identifier)
    opened = [one for one in told(service) if one["event"] == "opened" and one.get("session") == work.identifier]
    assert len(opened) == 2  # begun, and read


def test_choosing_a_plan_is_a_decision_and_looking_at_something_is_not_told(service: Service, study_path: Path) -> None:
    desk = OnBehalf(service, Actor("ann"))
    work, _ = desk.open_session(desk.open_path(study_path.name).identifier)
    before = len(told(service))
    for page in ({"active": "lesion"}, {"chosen": ["a", 1]}, {"structures": {"lesion": "avoid"}}, {"draft": {}}):
        desk.record(work, "page", page=page)
    assert [one["event"] for one in told(service)[before:]] == ["decided", "changed", "changed"]
    assert {one["actor"] for one in told(service)[before:]} == {"ann"}


def test_two_programs_write_into_one_log(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    logs = [Audit(tmp_path / "audit.jsonl") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for log in logs:
            for n in range(25):
                pool.submit(log.tell, "login", f"user{n}")
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 100
