"""Messages without the server's folders."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from medsam_planner.service.redaction import without_folders
from medsam_planner.service.settings import Settings

SETTINGS = Settings(out=Path("/srv/work/runs"), study=Path("/archive/ward 3/P1.zip"), roots=(Path("/data/my studies"),))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/data/my studies/P1/ct holds nothing.", "my studies/P1/ct holds nothing."),
        ("/archive/ward 3/P1.zip does not exist. Check it.", "P1.zip does not exist. Check it."),
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
        (
            "/srv/work/runs/studies/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a/source/link.zip is no series",
            "link.zip is no series",
        ),
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
