"""The page of a reader study over HTTP: a reader reads, and nobody sees more than the mode and the login allow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from medsam_planner.reading.export import reading_rows
from medsam_planner.reading.records import ReadingRecords
from medsam_planner.reading.study_file import ReadingTable
from medsam_planner.service.access import Access
from medsam_planner.service.core.service import Service
from medsam_planner.service.http.app import make_app
from medsam_planner.service.reading_routes import add_reading_page
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import PASSWORDS, people_of
from tests.ui.serving import served

GIVEN = {"rating": 3, "is_accepted": True, "confidence": None, "comment": "fine", "active_s": 2.5}


@pytest.fixture
def records(table: ReadingTable, tmp_path: Path) -> ReadingRecords:
    return ReadingRecords(tmp_path / "readings.sqlite", table)


@pytest.fixture
def address(records: ReadingRecords, tmp_path: Path) -> Iterator[str]:
    settings = Settings(out=tmp_path / "data")
    access = Access(people=people_of(settings.out))
    with closing(Service(settings)) as service:
        app = make_app(service, access=access, page=partial(add_reading_page, records=records))
        with served(app) as place:
            yield place


@contextmanager
def logged_in(address: str, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as browser:
        assert browser.get("/").status_code == 401
        assert browser.post("/login", data={"name": name, "password": PASSWORDS[name]}).status_code == 303
        yield browser


def test_a_reader_reads_all_cases_and_sees_what_the_mode_shows(address: str, records: ReadingRecords) -> None:
    with logged_in(address, "paul") as browser:
        assert "script nonce=" in browser.get("/").text
        for _ in range(12):
            state = browser.get("/reading/state").json()
            number = state["number"]
            slot = records.progress("paul").current
            assert slot is not None and slot.number == number
            told = browser.post(f"/reading/{number}/shown", json={})
            assert told.status_code == 200
            query = {"plane": "axial", "index": 5, "low": -100, "high": 200}
            shown = browser.get(f"/reading/{number}/slice", params=query).json()
            assert shown["grey"].startswith("data:image/png")
            assert bool(shown["outlines"]) == bool(told.json()["structures"]) == (slot.mode != "unaided")
            assert (shown["uncertainty"] is not None) == (slot.mode == "uncertainty")
            for text in (told.text, json.dumps(state)):  # blinded
                assert slot.case.name not in text and "positive" not in text and "vera" not in text
            mark = {"kind": "mark", "plane": "axial", "index": 5, "column": 2.0, "row": 3.0}
            has_plan = slot.case.plan is not None and slot.mode != "unaided"
            assert (told.json()["line"] is not None) == has_plan
            moved = [{**mark, "kind": "entry", "index": 4, "column": 2.0, "row": 13.0}] if has_plan else []
            changed = browser.post(f"/reading/{number}/changes", json={"changes": [mark, *moved]})
            assert changed.status_code == 200
            if has_plan:
                assert changed.json()["line"]["axial"][0] == [2.0, 13.0, 4.0]
            assert browser.post(f"/reading/{number}/answer", json=GIVEN).status_code == 200
        assert browser.get("/reading/state").json()["number"] is None
    found = records.readings()
    assert len(found) == 12 and all(one.seconds >= 0 for one in found)
    assert all(one.changes[0]["to_lps_mm"] == [2.0, 3.0, 10.0] for one in found)
    moves = [row["entry_moved_mm"] for row in reading_rows(found) if row["entry_moved_mm"] is not None]
    assert moves == [3.0, 3.0]


def test_what_is_not_the_readers_or_does_not_follow_the_schema_is_refused(
    address: str, records: ReadingRecords
) -> None:
    with httpx.Client(base_url=address) as stranger:
        assert stranger.get("/reading/state").status_code == 401
        assert stranger.post("/reading/1/answer", json=GIVEN).status_code == 401
    with logged_in(address, "mallory") as other:
        answer = other.get("/reading/state")
        assert answer.status_code == 403 and "no reader of this study" in answer.json()["detail"]
    with logged_in(address, "vera") as browser:
        assert browser.post("/reading/2/shown", json={}).status_code == 403
        assert browser.post("/reading/1/answer", json=GIVEN).status_code == 422  # not shown yet
        assert browser.post("/reading/1/shown", json={}).status_code == 200
        for wrong in ({"rating": 11}, {"rating": "x"}, {"active_s": -1}, {"comment": "x" * 3000}, {"more": 1}):
            assert browser.post("/reading/1/answer", json=GIVEN | wrong).status_code == 422
        huge = {"changes": [{"kind": "mark", "plane": "axial", "index": 10**9, "column": 0, "row": 0}]}
        assert browser.post("/reading/1/changes", json=huge).status_code == 422
        line = {"changes": [{"kind": "entry", "plane": "axial", "index": 1, "column": 0, "row": 0}]}
        assert "shows no plan" in browser.post("/reading/1/changes", json=line).json()["detail"]
        assert browser.post("/reading/1/changes", content=b"x" * 100_000).status_code == 422
        bad = {"plane": "axial", "index": 1, "low": 5, "high": 5}
        assert browser.get("/reading/1/slice", params=bad).status_code == 422
        foreign = {"Origin": "http://evil.example"}
        assert browser.post("/reading/1/answer", json=GIVEN, headers=foreign).status_code == 403
    assert records.readings() == []
