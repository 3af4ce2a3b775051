"""Uploaded files: where they lie, how large they may be, when they go."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from medsam_planner.errors import StudyError
from medsam_planner.service import uploads
from medsam_planner.service.core.service import Service
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import PageUploads, UploadKind, UploadRefusedError, expire_uploads, safe_name

STUDY, PROMPTS = UploadKind.STUDY, UploadKind.PROMPTS


async def pieces_of(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def send(
    page: PageUploads, *parts: bytes, kind: UploadKind = STUDY, name: str = "scan.nii", declared: int | None = -1
) -> str:
    size = sum(map(len, parts)) if declared == -1 else declared
    return asyncio.run(page.receive(kind, name, pieces_of(parts), declared_bytes=size))


def kept(page: PageUploads, kind: UploadKind = STUDY) -> Path:
    path = page.find(kind)
    assert path is not None
    return path


def files_of(page: PageUploads) -> list[Path]:
    return [] if page._folder is None else [path for path in page._folder.rglob("*") if path.is_file()]


def test_an_upload_lies_whole_in_a_folder_that_only_the_servers_user_may_enter() -> None:
    page = PageUploads()
    assert send(page, b"one ", b"two") == "scan.nii"
    path = kept(page)
    assert path.read_bytes() == b"one two"
    for folder in path.parents[:3]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert page.study("uploaded/scan.nii") == path
    assert page.study("/data/scan.nii") is None


def test_a_page_keeps_one_file_of_each_kind_however_many_come() -> None:
    page = PageUploads()
    for number in range(20):
        send(page, bytes(100), name=f"{number}.nii")
        send(page, b"{}", kind=PROMPTS, name="prompts.json")
    assert sorted(path.name for path in files_of(page)) == ["19.nii", "prompts.json"]
    with pytest.raises(UploadRefusedError, match="was deleted"):
        page.study("uploaded/18.nii")


@pytest.mark.parametrize(
    ("parts", "declared", "status"),
    [
        ([b"abc"], None, 411),
        ([b"abc"], (4 << 30) + 1, 413),
        ([b"abc", b"def"], 5, 413),
        ([b"abc"], 5, 400),
    ],
    ids=["no length", "too large", "longer than said", "shorter than said"],
)
def test_what_does_not_keep_to_its_length_is_not_kept(parts: list[bytes], declared: int | None, status: int) -> None:
    page = PageUploads()
    with pytest.raises(UploadRefusedError) as refused:
        send(page, *parts, declared=declared)
    assert refused.value.status == status
    assert files_of(page) == []
    assert page.find(STUDY) is None


def test_a_disk_that_is_nearly_full_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1 << 30)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: full)
    page = PageUploads()
    with pytest.raises(UploadRefusedError, match="nearly full") as refused:
        send(page, b"abc")
    assert refused.value.status == 507
    assert files_of(page) == []


def test_a_stalled_upload_is_given_up_and_a_second_one_does_not_run_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.2)
    page = PageUploads()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)

    async def both() -> list[BaseException | str]:
        first = asyncio.create_task(page.receive(STUDY, "a", stalling(), declared_bytes=10))
        await asyncio.sleep(0.05)
        second = page.receive(STUDY, "b", pieces_of([b"b"]), declared_bytes=1)
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, UploadRefusedError) and first.status == 408
    assert isinstance(second, UploadRefusedError) and second.status == 409
    assert files_of(page) == []
    send(page, b"again")


def test_uploads_go_with_their_page(service: Service) -> None:
    pages = Pages(service)
    closed, let_go = pages.begin("first").uploads, PageUploads()
    for page in (closed, let_go):
        send(page, b"abc")
    path = kept(closed)
    pages.leave("first")
    pages.expire()
    assert path.exists()
    pages.expire(now=time.time() + uploads.EXPIRY_S - 60)
    assert path.exists()  # it may come back
    pages.close()
    assert not path.parents[1].exists()
    with pytest.raises(UploadRefusedError, match="Reload the page"):
        send(closed, b"abc")
    path = kept(let_go)
    del page, let_go
    gc.collect()
    assert not path.parents[1].exists()


def test_the_page_that_gives_way_takes_its_uploads_along(service: Service) -> None:
    pages = Pages(service)
    page = pages.begin("first").uploads
    send(page, b"abc")
    path = kept(page)
    for number in range(256):
        pages.begin(f"page {number}")
    assert not path.exists()


def test_uploads_expire() -> None:
    page = PageUploads()
    send(page, b"abc")
    expire_uploads(now=time.time() + uploads.EXPIRY_S - 60)
    path = kept(page)
    expire_uploads(now=time.time() + uploads.EXPIRY_S + 60)
    assert not path.exists()
    assert page.find(STUDY) is None


def test_uploads_are_gone_when_the_server_ends_and_after_a_crash_when_the_next_one_starts(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, sys; from tests.medsam_planner.service.test_uploads import *;"
        "page = PageUploads(); send(page, b'abc');"
        "print(kept(page), flush=True); os._exit(9) if sys.argv[1] == 'crash' else None"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}

    def start(how: str) -> Path:
        done = subprocess.run([sys.executable, "-c", code, how], env=environment, capture_output=True, text=True)
        return Path(done.stdout.strip())

    crashed = start("crash")
    assert crashed.exists()
    settings = Settings(out=tmp_path / "runs", roots=(tmp_path,))
    with pytest.raises(StudyError, match="is outside"):
        settings.allowed(str(crashed))
    ended = start("end")
    assert not ended.exists()
    assert not crashed.exists()


@pytest.mark.parametrize("way", ["plain", "relative", "link"])
def test_another_pages_upload_is_not_opened_by_its_path_even_below_a_named_folder(tmp_path: Path, way: str) -> None:
    page = PageUploads()
    send(page, b"abc")
    path = kept(page)
    root = path.parents[3]
    text = {"plain": str(path), "relative": str(path.relative_to(root)), "link": str(tmp_path / "link")}[way]
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StudyError, match="is outside"):
        Settings(out=tmp_path / "runs", roots=(root, tmp_path)).allowed(text)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\studies\\scan.nii", "scan.nii"),
        ("..", "upload"),
        ("", "upload"),
        (".bashrc", "bashrc"),
        ("a\x00b\n\x1b[31m.nii", "ab[31m.nii"),
        ("Schädel 3.nii", "Schädel 3.nii"),
        ("é" * 200 + ".nii", "é" * 58 + ".nii"),
    ],
)
def test_the_browser_does_not_choose_where_a_file_goes(said: str, name: str) -> None:
    assert safe_name(said) == name
