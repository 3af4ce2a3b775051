"""Messages that a browser sees."""

from __future__ import annotations

import asyncio
import logging
import re
import string
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.errors import StudyError
from medsam_planner.service import studies
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.sessions import Sessions
from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from tests.ui.test_planning import NUMBERS, aimed, with_vessel
from ui import plan_handlers, study_handlers
from ui.events import on_workbench

SETTINGS = Settings(out=Path("/srv/work/runs"), study=Path("/archive/ward 3/P1.zip"), roots=(Path("/data/my studies"),))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/data/my studies/P1/ct holds nothing.", "my studies/P1/ct holds nothing."),
        ("Nothing is at /archive/ward 3/P1.zip. Check it.", "Nothing is at P1.zip. Check it."),
        ("The same files lie in /srv/work/runs/ct-a1b2/run.", "The same files lie in runs/ct-a1b2/run."),
        ("[Errno 13] Permission denied: '/opt/secret/place/scan.nii'", "[Errno 13] Permission denied: 'scan.nii'"),
        ("C:\\Users\\me\\scan.nii cannot be read", "scan.nii cannot be read"),
        ("got ~/studies/scan.nii (damaged)", "got scan.nii (damaged)"),
        ("/tmp/medsam-planner-x/000001 is damaged", "000001 is damaged"),
        ("Expected CT/MR, 3.0 mm/px, n/a.", "Expected CT/MR, 3.0 mm/px, n/a."),
        ('<a href="x">one</a> <b>1/2</b><br/>', '<a href="x">one</a> <b>1/2</b><br/>'),
        ("<li>/opt/secret/p.json: bad</li><p>/x/y</p>", "<li>p.json: bad</li><p>y</p>"),
        ("Permission denied: &#x27;/opt/secret/p.json&#x27;", "Permission denied: &#x27;p.json&#x27;"),
        ("file:///opt/secret/p.json", "file:p.json"),
        ("See https://example.org/a/b, ./a/b, ../a/b and my-study/a-b/c.", None),
        ('<a href="files/abc/report.html" rel="noopener">Open</a>', None),
        ("Cannot read it./opt/secret/p.json", "Cannot read it.p.json"),
        ("got/tmp/medsam-planner-uploads-a1/b2/c3/p.json: bad", "p.json: bad"),
        (">/tmp/medsam-planner-uploads-a1/b2/c3/my p.json: bad", ">my p.json: bad"),
    ],
)
def test_a_message_names_files_and_not_where_the_server_keeps_them(message: str, shown: str) -> None:
    assert without_folders(message, SETTINGS) == (message if shown is None else shown)


@pytest.mark.parametrize("before", sorted(set(string.punctuation) - set("_/\\")))
def test_no_mark_before_a_path_lets_it_through(before: str) -> None:
    for path in ("/opt/secret/p.json", "/data/my studies/p.json", "/tmp/medsam-planner-uploads-a1/b2/c3/p.json"):
        shown = without_folders(f"x{before}{path}", SETTINGS)
        assert shown.endswith("p.json")
        assert not re.search(r"opt|secret|data|tmp|uploads", shown)


def notice_of(sessions: Sessions, act: Any) -> str:
    return on_workbench(sessions, act)(sessions.begin("page").token)["notice"]


UNREADABLE = [
    b"",
    b"{}",
    b"[1",
    b"\xff\xfe{}",
    b"x",
    b"[" * 100_000,
    b'{"kind": "medsam-planner calibration"}',
    b'{"kind": "medsam-planner calibration", "x": "\\ud800"}',
]


def upload(workbench: Workbench, kind: UploadKind, content: bytes) -> Path:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    asyncio.run(workbench.uploads.receive(kind, "p.json", pieces(), declared_bytes=len(content)))
    path = workbench.uploads.find(kind)
    assert path is not None
    return path


@pytest.mark.parametrize("kind", [UploadKind.PROMPTS, UploadKind.CALIBRATION])
def test_an_upload_that_cannot_be_read_does_not_tell_where_it_lies(
    settings: Settings, study_path: Path, kind: UploadKind
) -> None:
    sessions = Sessions(settings)
    workbench = sessions.begin("page")
    studies.open_study(workbench, study_path)
    aimed(with_vessel(workbench))
    for content in UNREADABLE:
        path = upload(workbench, kind, content)
        if kind is UploadKind.PROMPTS:
            shown = on_workbench(sessions, study_handlers.resume_uploaded)(workbench.token)
        else:
            find = partial(plan_handlers.find_paths, numbers=NUMBERS, calibration=path)
            shown = on_workbench(sessions, find)(workbench.token)
        assert "mv-error" in shown[1] and "p.json" in shown[1], content
        assert path.parts[1] not in str(shown) and path.parts[-2] not in str(shown), content


def test_a_refused_path_does_not_tell_where_the_named_folders_lie(settings: Settings, study_path: Path) -> None:
    told = notice_of(Sessions(settings), lambda bench: study_handlers.open_study(bench, "/etc/passwd"))
    assert "lies elsewhere" in told
    assert study_path.parent.name in told
    assert str(study_path.parent.parent) not in told


def test_an_unexpected_error_is_said_with_a_number_and_logged_whole(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def act(workbench: Workbench) -> Any:
        raise ValueError("/srv/secret is broken")

    with caplog.at_level(logging.ERROR):
        told = notice_of(Sessions(settings), act)
    assert "mv-error" in told and "secret" not in told and "broken" not in told
    number = told.split("(number ")[1].split(")")[0]
    assert number in caplog.text and "/srv/secret is broken" in caplog.text


@pytest.mark.parametrize("text", ["abdomen.nii.gz", "./abdomen.nii.gz"])
def test_a_path_is_looked_for_in_the_named_folders(settings: Settings, study_path: Path, text: str) -> None:
    assert settings.allowed(text) == study_path


def test_the_study_of_the_command_line_is_found_by_name_and_nothing_beside_it(study_path: Path, tmp_path: Path) -> None:
    alone = Settings(out=tmp_path, study=study_path)
    assert alone.allowed(study_path.name) == study_path
    (study_path.parent / "neighbour.nii").write_bytes(b"")
    with pytest.raises(StudyError, match="lies elsewhere"):
        alone.allowed(str(study_path.parent / "neighbour.nii"))
    with pytest.raises(StudyError, match="no folder was named"):
        replace(alone, study=None).allowed(str(study_path))


@pytest.mark.parametrize(
    "text",
    ["a\0b", "x" * 5000, "~nobody-at-all/x", "/proc/self/root/etc/passwd", "../../etc/passwd", "\\\\host\\share"],
)
def test_no_odd_text_ends_in_a_traceback(settings: Settings, text: str) -> None:
    with pytest.raises(StudyError):
        settings.allowed(text)
