"""What the journal acknowledged is there after any end of the process, and what it did not is gone without a trace."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.errors import NotThereError, OutputError, ReadOnlyError
from medsam_planner.service.core.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def kinds(path: Path) -> list[str]:
    return [record["kind"] for record in Journal(path).records_at_start]


def test_records_come_back_in_order_with_their_numbers(path: Path) -> None:
    journal = Journal(path)
    for kind in ("opened", "prompt", "undo"):
        journal.append(kind, structure="Leber – é")
    found = Journal(path).records_at_start
    assert [(one["n"], one["kind"], one["structure"]) for one in found] == [
        (1, "opened", "Leber – é"),
        (2, "prompt", "Leber – é"),
        (3, "undo", "Leber – é"),
    ]
    assert Journal(path).append("redo")["n"] == 4


def test_a_record_is_flushed_before_it_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    done: list[str] = []
    write, flush = os.write, os.fdatasync
    monkeypatch.setattr(os, "write", lambda *given: (done.append("write"), write(*given))[1])
    monkeypatch.setattr(os, "fdatasync", lambda file: (done.append("flush"), flush(file))[1])
    journal.append("prompt")
    assert done == ["write", "flush"]


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off_and_the_next_record_takes_its_number(path: Path, kept: int) -> None:
    journal = Journal(path)
    journal.append("opened")
    whole = path.read_bytes()
    journal.append("prompt", structure="liver")
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[: min(kept, len(last) - 1)])
    again = Journal(path)
    assert again.damage is None
    assert path.read_bytes() == whole
    assert again.append("undo")["n"] == 2
    assert kinds(path) == ["opened", "undo"]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda lines: [lines[0], lines[1].replace(b"liver", b"river"), lines[2]],
        lambda lines: [lines[0], b"", lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], b"[" * 5000, lines[2]],
        lambda lines: [lines[0], b"3", lines[2]],
    ],
    ids=["changed", "empty", "missing", "deep", "number"],
)
def test_a_bad_line_before_the_last_one_makes_the_journal_read_only_and_nothing_is_cut(
    path: Path, damaged: Any
) -> None:
    journal = Journal(path)
    for kind in ("opened", "prompt", "prompt"):
        journal.append(kind, structure="liver")
    lines = damaged(path.read_bytes().splitlines())
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    before = path.read_bytes()
    again = Journal(path)
    assert [one["kind"] for one in again.records_at_start] == ["opened"]
    with pytest.raises(ReadOnlyError, match=r"Line 2 of the journal .* is damaged"):
        again.append("undo")
    assert path.read_bytes() == before


def test_a_full_disk_leaves_no_part_of_a_record_and_it_can_be_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.append("opened")
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:10]))  # what a nearly full disk does
    with pytest.raises(OutputError, match="Nothing was changed"):
        journal.append("prompt", structure="liver")
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert journal.append("prompt", structure="liver")["n"] == 2
    assert kinds(path) == ["opened", "prompt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_really_full_device_is_told_as_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path = Path("/dev/full")
    with pytest.raises(OutputError, match=os.strerror(errno.ENOSPC)):
        journal.append("prompt")


def test_a_deleted_session_is_not_there_and_is_no_matter_of_space(path: Path) -> None:
    journal = Journal(path)
    path.unlink()
    with pytest.raises(NotThereError, match="has been deleted"):
        journal.append("opened")
    assert not path.exists()


def test_a_disk_that_fails_to_flush_ends_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed flush nobody knows what is on the disk, so nothing may follow."""
    journal = Journal(path)
    journal.append("opened")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OutputError):
        journal.append("prompt")
    monkeypatch.undo()
    with pytest.raises(ReadOnlyError):
        journal.append("prompt")
    assert kinds(path) == ["opened"]


def test_the_journal_is_lines_that_a_person_can_read(path: Path) -> None:
    Journal(path).append("prompt", structure="liver", entry={"kind": "clear"})
    (line,) = path.read_text(encoding="ascii").splitlines()
    assert json.loads(line)["entry"] == {"kind": "clear"}
    assert path.stat().st_mode & 0o077 == 0
