"""What is deleted after the stated time, what never is, and what happens where it cannot be told."""

from __future__ import annotations

import errno
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
from medsam_planner.service.core.retention import Keep, Retention
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


def expire(service: Service, keep: Keep, *, now: float) -> None:
    """The first look of a server that begins at that time."""
    Retention(service, keep, now=now).round()


def uploaded(service: Service, study_path: Path) -> StoredStudy:
    with service.upload_folder() as (identifier, folder):
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
    with closing(Retention(service, Keep(days=0)).start()):
        until = time.monotonic() + 30
        while service.studies.all() and time.monotonic() < until:
            time.sleep(0.05)
    assert not service.studies.folder_of(study.identifier).exists()


class Running:
    """A server whose time is set by hand; the times of its files are what a wall clock said, right or wrong."""

    def __init__(self, service: Service, keep: Keep) -> None:
        self.passed_s = 0.0
        self.retention = Retention(service, keep, clock=lambda: 1e5 + self.passed_s)
        self.retention.round()

    def look_after(self, days: float) -> None:
        self.passed_s += days * DAY_S
        self.retention.round()


def written_at(off_days: float, *paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() + off_days * DAY_S,) * 2)


@pytest.mark.parametrize("jump_days", [-10_000, -40, 40, 10_000])
def test_no_jump_of_the_clock_deletes_what_was_used_while_the_server_runs(
    service: Service, study_path: Path, jump_days: float
) -> None:
    old, used = uploaded(service, study_path), begun(service, uploaded(service, study_path))
    running = Running(service, Keep(days=30, works_days=30))
    running.look_after(29)
    new, work = uploaded(service, study_path), begun(service, uploaded(service, study_path))
    work.add("lesion", lesion_entry())
    used.add("lesion", lesion_entry())
    written_at(jump_days, *(one.folder / "journal.jsonl" for one in (work, used)))
    written_at(jump_days, *(service.studies.folder_of(one.identifier) / "study.json" for one in (new, work.study)))
    running.look_after(0.5)
    assert {one.identifier for one in service.sessions()} == {work.identifier, used.identifier}
    assert old in service.studies.all()
    running.look_after(2)
    assert old not in service.studies.all() and new in service.studies.all()  # 31.5 and 2 days after they were opened
    running.look_after(27)
    assert {one.identifier for one in service.sessions()} == {work.identifier, used.identifier}
    running.look_after(2)
    assert service.sessions() == ()
    assert new not in service.studies.all()


def test_no_jump_of_the_clock_deletes_a_new_result_and_an_old_one_goes_with_its_files(
    service: Service, study_path: Path
) -> None:
    work = begun(service, service.open_path(study_path.name))
    work.add("lesion", lesion_entry())
    first = work.folder / "results" / segmented(service, work)
    path, _ = service.result_file(work, "lesion", ResultFile.MASK)
    running = Running(service, Keep(days=30))
    running.look_after(20)
    last = work.folder / "results" / segmented(service, work)
    made, _ = service.result_file(work, "lesion", ResultFile.MASK)
    written_at(-40, last, *last.iterdir())
    running.look_after(9)
    assert path.exists() and made.exists()
    running.look_after(2)
    assert not first.exists() and made.exists()
    running.look_after(29)
    assert last.exists() and not made.exists() and (last / "result.npz").exists()


class FullDisk:
    """No line can be written while a path is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full_while: Path) -> None:
        self._write, self._path = os.write, full_while
        monkeypatch.setattr(audit_module.os, "write", self.write)

    def write(self, handle: int, line: bytes) -> int:
        return self._write(handle, line[:7] if self._path.exists() else line)


def test_a_full_disk_keeps_the_sessions_and_takes_no_place_from_the_clients(
    service: Service, study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(service, service.open_path(study_path.name))
    FullDisk(monkeypatch, tmp_path)
    expire(service, Keep(works_days=1), now=time.time() + 9 * DAY_S)
    assert service.sessions() == (work,) and service.leases.held_count == 0
    monkeypatch.undo()
    service.leases.claim(work.identifier)


def test_on_a_full_disk_what_is_no_work_is_deleted_and_told_once_there_is_room(
    service: Service, study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = uploaded(service, study_path), uploaded(service, study_path)
    others = tmp_path / "files-of-others"
    others.touch()
    FullDisk(monkeypatch, others)
    retention = Retention(service, Keep(days=1), now=time.time() + 9 * DAY_S)
    before = len(told(service))
    retention.round()
    assert service.studies.all() == () and len(told(service)) == before
    for study in (first, second):
        assert not service.studies.folder_of(study.identifier).exists()
    others.unlink()
    for _ in range(2):
        retention.round()
        deleted = [(one["event"], one["actor"], one["study"]) for one in told(service)[before:]]
        assert deleted == [("deleted", "retention", one.identifier) for one in (first, second)]


def test_a_deletion_that_makes_room_is_told_in_that_room(
    service: Service, study_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = uploaded(service, study_path)
    FullDisk(monkeypatch, service.studies.folder_of(study.identifier))
    expire(service, Keep(days=1), now=time.time() + 9 * DAY_S)
    assert service.studies.all() == ()
    assert (told(service)[-1]["event"], told(service)[-1]["study"]) == ("deleted", study.identifier)


def test_nothing_is_deleted_untold_where_the_log_fails_for_another_reason(
    service: Service, study_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = uploaded(service, study_path)

    def broken(handle: int, line: bytes) -> int:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(audit_module.os, "write", broken)
    expire(service, Keep(days=1), now=time.time() + 9 * DAY_S)
    assert service.studies.all() == (study,)


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
