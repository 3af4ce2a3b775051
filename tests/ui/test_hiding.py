"""Messages that a browser sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.service import studies
from medsam_planner.service.core.service import Service
from medsam_planner.service.pages import Pages
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from tests.ui.test_planning import NUMBERS, aimed, with_vessel
from ui import plan_handlers, study_handlers
from ui.events import on_workbench


def notice_of(pages: Pages, act: Any) -> str:
    return on_workbench(pages, act)(pages.begin("page").token)["notice"]


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
    service: Service, study_path: Path, kind: UploadKind
) -> None:
    pages = Pages(service)
    workbench = pages.begin("page")
    studies.open_study(workbench, str(study_path))
    aimed(with_vessel(workbench))
    for content in UNREADABLE:
        path = upload(workbench, kind, content)
        if kind is UploadKind.PROMPTS:
            shown = on_workbench(pages, study_handlers.resume_uploaded)(workbench.token)
        else:
            find = partial(plan_handlers.find_paths, numbers=NUMBERS, calibration=path)
            shown = on_workbench(pages, find)(workbench.token)
        assert "mv-error" in shown["notice"] and "p.json" in shown["notice"], content
        assert path.parts[1] not in str(shown) and path.parts[-2] not in str(shown), content


def test_a_refused_path_does_not_tell_where_the_named_folders_lie(service: Service, study_path: Path) -> None:
    told = notice_of(Pages(service), lambda bench: study_handlers.open_study(bench, "/etc/passwd"))
    assert "is outside" in told
    assert study_path.parent.name in told
    assert str(study_path.parent.parent) not in told


def test_an_unexpected_error_is_said_with_a_number_and_logged_whole(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def act(workbench: Workbench) -> Any:
        raise ValueError("/srv/secret is broken")

    with caplog.at_level(logging.ERROR):
        told = notice_of(Pages(service), act)
    assert "mv-error" in told and "secret" not in told and "broken" not in told
    number = told.split("Unexpected error ")[1].split(".")[0]
    assert number in caplog.text and "/srv/secret is broken" in caplog.text
