"""A series from a real Orthanc is opened on the page, and results go back after they were shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from medsam_planner.errors import ConfigError, ForbiddenError, NotThereError, StaleError, StudyError
from medsam_planner.network.connecting import connect
from medsam_planner.network.pacs_file import read_pacs_file
from medsam_planner.network.push import outgoing, push
from medsam_planner.service import pacs, studies
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.core.service import Service
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from prompts import Box
from tests.medsam_planner.network.balls import AFFINE, write_ball
from tests.medsam_planner.network.conftest import PACS_TOML, Orthanc
from tests.ui.browser import Bench, Server
from ui import segment_handlers

BOX = Box(tuple(AFFINE[:3] @ (4, 10, 10, 1)), tuple(AFFINE[:3] @ (4, 21, 21, 1)))
PATIENT = {"PatientID": "4711", "PatientName": "Mueller^Anne", "StudyDate": "20260131", "AccessionNumber": "A-1"}


@pytest.fixture
def filled(orthanc: Orthanc, tmp_path: Path) -> Orthanc:
    """Orthanc with the CT of a ball."""
    study, _ = write_ball(tmp_path)
    for path in study.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in PATIENT.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    push(connect(orthanc.pacs, "web"), outgoing([study]))
    return orthanc


@pytest.fixture
def with_pacs(settings: Settings, filled: Orthanc) -> Iterator[Service]:
    with closing(Service(replace(settings, pacs=filled.pacs))) as service:
        yield service


def opened(workbench: Workbench, node: str = "web") -> None:
    (study,) = pacs.find_studies(workbench, node, {"PatientID": "4711", "StudyDate": "2026-01-31"})
    (series,) = pacs.find_series(workbench, study)
    studies.open_study(workbench, pacs.fetch(workbench, series))


def segmented(workbench: Workbench) -> None:
    workbench.change_steps("prompt", entry_of(BOX))
    shown = segment_handlers.run_to_3d(workbench, 0, saliency=False, triplanar=False)
    assert "mv-error" not in shown.notice, shown.notice


def test_results_of_a_series_from_the_pacs_are_sent_as_they_were_shown(with_pacs: Service, filled: Orthanc) -> None:
    workbench = Workbench(with_pacs)
    opened(workbench, "move")
    segmented(workbench)
    ready = pacs.consign(workbench, "web")
    assert dict(ready.patient)["Patient ID"] == "4711" and "seg.dcm" in {one.path.name for one in ready.files}
    before = filled.count()
    receipt = pacs.send(workbench, ready)
    assert (receipt.sent, receipt.checked) == (len(ready.files), len(ready.files))
    assert filled.count() == before + len(ready.files)
    assert pacs.send(workbench, ready).sent == 0, "sent twice"
    again = pacs.consign(workbench, "web")  # written anew, under new UIDs
    with pytest.raises(StaleError, match="Nothing was sent"):
        pacs.send(workbench, ready)
    assert again.files and filled.count() == before + len(ready.files)
    lines = [json.loads(line) for line in with_pacs.audit.path.read_text().splitlines()]
    asked = [one["what"] for one in lines if one["event"] == "asked a PACS"]
    assert asked == ["studies of move", "series of move", "a series of move"]
    assert [one["what"] for one in lines if one["event"] == "exported"] == [
        f"{len(ready.files)} objects to the PACS node web"
    ] * 2
    assert "4711" not in with_pacs.audit.path.read_text() and "Mueller" not in with_pacs.audit.path.read_text()


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({}, "something to search for"),
        ({"PatientID": "  "}, "something to search for"),
        ({"PatientID": "4711\\0815"}, "backslash"),
        ({"PatientName": "x" * 65}, "64 printable characters"),
        ({"StudyDate": "yesterday"}, "a date as"),
    ],
)
def test_a_search_for_nothing_or_for_no_value_is_refused(
    settings: Settings, tmp_path: Path, match: dict[str, str], words: str
) -> None:
    (tmp_path / "pacs.toml").write_text(PACS_TOML, encoding="utf-8")
    with closing(Service(replace(settings, pacs=read_pacs_file(tmp_path / "pacs.toml")))) as service:
        with pytest.raises(ConfigError, match=words):
            pacs.find_studies(Workbench(service), "web", match)
        with pytest.raises(ConfigError, match="Expected a node"):
            pacs.find_studies(Workbench(service), "other", {"PatientID": "1"})
        viewer = Workbench(service, Actor("eve", Right.VIEW, has_account=True))
        with pytest.raises(ForbiddenError):
            pacs.find_studies(viewer, "web", {"PatientID": "1"})


def test_without_a_pacs_file_there_is_none(service: Service, make_workbench: Callable[[], Workbench]) -> None:
    with pytest.raises(NotThereError, match="--pacs"):
        pacs.find_studies(Workbench(service), "web", {"PatientID": "1"})
    workbench = make_workbench()
    with pytest.raises(NotThereError):
        pacs.consign(workbench, "web")


def test_a_series_that_is_gone_leaves_nothing_behind(with_pacs: Service, filled: Orthanc) -> None:
    workbench = Workbench(with_pacs)
    (study,) = pacs.find_studies(workbench, "get", {"PatientName": "Mueller*"})
    (series,) = pacs.find_series(workbench, study)
    filled.clear()
    with pytest.raises(Exception, match="none of"):
        pacs.fetch(workbench, series)
    with pytest.raises(StudyError):
        workbench.require_work()


@pytest.mark.browser
def test_on_the_page_a_study_is_found_opened_and_its_results_sent(
    filled: Orthanc,
    serve: Callable[..., Server],
    open_bench: Callable[[Server], Bench],
    tmp_path: Path,
) -> None:
    bench = open_bench(serve(pacs=filled.pacs))
    page = bench.page
    page.locator("#pacs-id textarea, #pacs-id input").first.fill("4711")
    page.click("#pacs-search")
    page.locator("#pacs-studies label", has_text="Mueller Anne").click()
    page.locator("#pacs-series label").first.wait_for()
    page.locator("#pacs-series label").first.click()
    bench.is_open()
    page.mouse.move(*bench.pixel("axial", 10, 10))
    page.mouse.down()
    page.mouse.move(*bench.pixel("axial", 21, 21), steps=4)
    page.mouse.up()
    bench.has_prompts(1)
    page.locator("#samples input[type=number]").fill("0")
    page.click("#run")
    bench.says(" ml")
    page.get_by_role("tab", name="Plan").click()
    page.click("#send-results")
    page.wait_for_selector("#send-now", state="visible")
    shown = page.inner_text("#send-told")
    assert "4711" in shown and "seg.dcm" in shown and "web" in shown
    before = filled.count()
    page.click("#send-now")
    page.wait_for_function("document.querySelector('#send-told').textContent.includes('read back and equal')")
    assert filled.count() > before
    assert not page.locator("#send-now").is_visible()
    assert not bench.foreign and not bench.complaints
