"""The order of readings, and records that are kept whatever happens."""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medsam_planner.errors import ConfigError, ForbiddenError
from medsam_planner.reading.design import reading_order
from medsam_planner.reading.export import imrmc_text, reading_rows
from medsam_planner.reading.records import Answer, ReadingRecords
from medsam_planner.reading.study_file import ReadingTable, read_study_file

from .conftest import WriteStudy

FINE = Answer(rating=4, is_accepted=True, confidence=None, comment="", active_s=3.0)


def read_all(records: ReadingRecords, reader: str, answer: Answer = FINE) -> None:
    while (slot := records.progress(reader).current) is not None:
        records.show(reader, slot.number)
        records.answer(reader, slot.number, answer)


def test_each_reader_reads_each_case_once_in_each_mode_and_never_twice_on_an_occasion(table: ReadingTable) -> None:
    for reader in table.readers:
        slots = reading_order(table, reader)
        assert Counter((slot.case.name, slot.mode) for slot in slots) == Counter(
            (case.name, mode) for case in table.cases for mode in table.modes
        )
        for occasion in range(3):
            names = [slot.case.name for slot in slots if slot.occasion == occasion]
            assert sorted(names) == sorted(case.name for case in table.cases)


def test_the_modes_of_a_case_come_in_another_order_for_the_next_reader(table: ReadingTable) -> None:
    first = {
        reader: {slot.case.name: slot.mode for slot in reading_order(table, reader) if slot.occasion == 0}
        for reader in table.readers
    }
    assert all(first["paul"][name] != first["vera"][name] for name in first["paul"])
    assert reading_order(table, "paul") == reading_order(table, "paul")
    other = table.model_copy(update={"seed": 4})
    assert [slot.case.name for slot in reading_order(other, "paul")] != [
        slot.case.name for slot in reading_order(table, "paul")
    ]


def test_a_reading_outlives_the_process_and_is_given_once(table: ReadingTable, tmp_path: Path) -> None:
    records = ReadingRecords(tmp_path / "r.sqlite", table)
    records.show("paul", 1)
    records.change("paul", 1, [{"kind": "mark", "to_lps_mm": [0, 0, 0]}])
    again = ReadingRecords(tmp_path / "r.sqlite", table)
    assert again.changes("paul", 1) == [{"kind": "mark", "to_lps_mm": [0, 0, 0]}]
    again.show("paul", 1)
    again.answer("paul", 1, FINE)
    (reading,) = ReadingRecords(tmp_path / "r.sqlite", table).readings()
    assert reading.interruptions == 1 and len(reading.changes) == 1 and reading.answer == FINE
    with pytest.raises(ForbiddenError, match="not your next one"):
        again.answer("paul", 1, FINE)
    with sqlite3.connect(tmp_path / "r.sqlite") as file, pytest.raises(sqlite3.IntegrityError, match="events are kept"):
        file.execute("UPDATE events SET reader = 'vera'")


def test_nobody_reads_ahead_answers_what_was_not_shown_or_is_no_reader(table: ReadingTable, tmp_path: Path) -> None:
    records = ReadingRecords(tmp_path / "r.sqlite", table)
    with pytest.raises(ForbiddenError, match="not your next one"):
        records.show("paul", 2)
    with pytest.raises(ConfigError, match="not been shown"):
        records.answer("paul", 1, FINE)
    with pytest.raises(ForbiddenError, match="no reader of this study"):
        records.progress("mallory")
    records.show("paul", 1)
    for wrong in (
        Answer(5, True, None, "", 1.0),
        Answer(0, True, None, "", 1.0),
        Answer(3, True, 50, "", 1.0),
    ):
        with pytest.raises(ConfigError):
            records.answer("paul", 1, wrong)


def test_the_second_occasion_opens_after_the_wash_out(write_study: WriteStudy, tmp_path: Path) -> None:
    table = read_study_file(write_study(washout_days=28)).reading
    assert table is not None
    records = ReadingRecords(tmp_path / "r.sqlite", table)
    read_all(records, "paul")
    progress = records.progress("paul")
    assert progress.done == 4 and progress.current is None and progress.opens_at is not None
    later = records.progress("paul", now=datetime.now(UTC) + timedelta(days=29))
    assert later.current is not None and later.current.occasion == 1
    assert records.progress("vera").current is not None


def test_another_design_is_refused_and_so_is_a_case_whose_file_was_exchanged(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    file = write_study()
    table = read_study_file(file).reading
    assert table is not None
    ReadingRecords(tmp_path / "r.sqlite", table)
    with pytest.raises(ConfigError, match="readings of another design"):
        ReadingRecords(tmp_path / "r.sqlite", table.model_copy(update={"seed": 99}))
    (tmp_path / "p2" / "mask.nii.gz").write_bytes((tmp_path / "p2" / "doubt.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="readings of another design"):
        ReadingRecords(tmp_path / "r.sqlite", table)


def test_readings_are_exported_as_rows_and_for_imrmc(table: ReadingTable, tmp_path: Path) -> None:
    records = ReadingRecords(tmp_path / "r.sqlite", table)
    records.show("paul", 1)
    records.change("paul", 1, [{"kind": "entry", "from_lps_mm": [0, 0, 0], "to_lps_mm": [3, 4, 0]}])
    records.answer("paul", 1, FINE)
    read_all(records, "paul")
    read_all(records, "vera")
    rows = reading_rows(records.readings())
    assert len(rows) == 2 * 4 * 3 and rows[0]["entry_moved_mm"] == 5 and rows[1]["entry_moved_mm"] is None
    text = imrmc_text(table, records.readings()).splitlines()
    assert text[1:6] == ["NR: 2", "N0: 2", "N1: 2", "NM: 3", "BEGIN DATA:"]
    assert text[6:10] == ["-1,p0,0,1", "-1,p1,0,0", "-1,p2,0,1", "-1,p3,0,0"]
    assert len(text) == 10 + 24 and all(line.endswith(",4") for line in text[10:])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"readers": ["paul", "paul"]}, "paul stands twice among the readers"),
        ({"modes": ["model", "model"]}, "model stands twice among the modes"),
        ({"readers": []}, "readers"),
        ({"acceptable": 9}, "the scale has 4 answers"),
        ({"readers": ["no/name"]}, "readers"),
    ],
)
def test_a_study_that_cannot_be_read_is_refused(changed: dict[str, object], said: str, write_study: WriteStudy) -> None:
    with pytest.raises(ConfigError, match=said):
        read_study_file(write_study(**changed))


def test_a_case_whose_file_is_absent_is_named(write_study: WriteStudy, tmp_path: Path) -> None:
    file = write_study()
    (tmp_path / "p1" / "mask.nii.gz").unlink()
    with pytest.raises(ConfigError, match=r"Case p1: expected .*mask.nii.gz to be there"):
        read_study_file(file)


def test_without_truth_imrmc_is_refused_and_says_what_to_state(table: ReadingTable) -> None:
    cases = (table.cases[0].model_copy(update={"positive": None}), *table.cases[1:])
    with pytest.raises(ConfigError, match=r"p0 have none\. State positive"):
        imrmc_text(table.model_copy(update={"cases": cases}), [])
