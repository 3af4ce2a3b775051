"""A page that comes back finds its work, and nobody else does; steps are done in the order the person did them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from medsam_planner.errors import AtCapacityError, MedsamPlannerError
from medsam_planner.service import earlier_work, studies, uploads
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.service import Service
from medsam_planner.service.display import Plane
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.pages import EvictedError, Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.slice_layers import slice_view
from medsam_planner.service.slice_view import ViewRequest
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from prompts import Click
from tests.ui.serving import page_app, served
from tests.ui.test_handlers import lesion_box
from tests.ui.test_planning import NUMBERS, aimed, with_vessel
from ui import export_handlers, plan_handlers, restore_screen, segment_handlers, structure_handlers, study_handlers
from ui.events import on_workbench
from ui.screen import Screen, screen
from ui.updates import unchanged

Make = Callable[[], Workbench]


def worked_on(pages: Pages, study_path: Path, actor: Actor = LOCAL) -> Workbench:
    """Two structures, one segmented in 3D, a role, and both ends of a plan."""
    workbench = pages.begin("page", actor)
    study_handlers.open_study(workbench, str(study_path))
    structure_handlers.begin(workbench, "lesion")
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    segment_handlers.run_to_3d(workbench, 2, saliency=False, triplanar=False)
    structure_handlers.describe(workbench, workbench.structure.name, role="avoid")
    structure_handlers.begin(workbench, "other")
    segment_handlers.on_viewer(workbench, {"kind": "positive", "plane": "axial", "index": 20, "first": [50, 40]})
    segment_handlers.undo(workbench)
    for kind in ("target", "entry"):
        segment_handlers.on_viewer(workbench, {"kind": kind, "plane": "axial", "index": 20, "first": [60, 40]})
    return workbench


def again(service: Service) -> Pages:
    """The pages of a server that was started again on the same data folder."""
    service.close()
    service.__init__(service.settings, service.limits)  # type: ignore[misc]
    return Pages(service)


def test_all_that_was_known_is_there_after_a_restart(service: Service, study_path: Path) -> None:
    before = worked_on(Pages(service), study_path)
    was = before.snapshot
    results = {name: one.result for name, one in was.structures.items()}
    pages = again(service)
    after = earlier_work.begin(pages, "page", Remembered(here=before.key))
    assert "Restoring your earlier work" in restore_screen.welcome(after).notice
    early = [structure_handlers.begin(after, "early"), plan_handlers.find_paths(after, NUMBERS)]
    assert all("still to be read" in shown.notice for shown in early)
    shown = restore_screen.restore_work(after)
    assert "was restored" in shown.notice
    assert [one["name"] for one in shown.structures["structures"]] == ["lesion", "other"]
    assert after.snapshot.active == "other"
    assert shown.can_redo
    assert after.snapshot.draft == was.draft
    for name, one in was.structures.items():
        found = after.snapshot.structures[name]
        assert (found.prompts, found.role, found.is_stale) == (one.prompts, one.role, one.is_stale)
        assert found.colour == one.colour
        assert found.previews.keys() == one.previews.keys()
    result, found = results["lesion"], after.snapshot.structures["lesion"].result
    assert result is not None and found is not None and found is not result
    for name in ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm"):
        np.testing.assert_array_equal(getattr(found, name).array, getattr(result, name).array)
    assert found.mask_samples is not None and result.mask_samples is not None
    np.testing.assert_array_equal(found.mask_samples.masks, result.mask_samples.masks)
    assert found.trace == result.trace
    assert after.snapshot.structures["lesion"].volume_ml == was.structures["lesion"].volume_ml


def test_a_page_that_was_not_reached_for_a_moment_keeps_what_it_has_under_way(
    service: Service, study_path: Path
) -> None:
    pages = Pages(service)
    workbench = pages.begin("page")
    study_handlers.open_study(workbench, str(study_path))
    token, key = workbench.token, workbench.key
    with workbench.changing(step=1):
        back = earlier_work.begin(pages, "page", Remembered(here=key))
        assert back is workbench and back.token == token and pages.find(token) is workbench  # not “in another window”
        assert pages.is_of("page", workbench)
    other = earlier_work.begin(pages, "another page", Remembered(here=key))
    assert other is not workbench and workbench.is_elsewhere
    taken_back = earlier_work.begin(pages, "page", Remembered(here=key))
    assert taken_back.token != token and other.is_elsewhere


def test_a_plan_is_there_after_a_restart_with_the_alternative_that_was_looked_at(
    service: Service, study_path: Path
) -> None:
    pages = Pages(service)
    workbench = pages.begin("page")
    study_handlers.open_study(workbench, str(study_path))
    before = plan_handlers.find_paths(aimed(with_vessel(workbench)), NUMBERS)
    last = len(before.alternatives) - 1
    before = plan_handlers.choose_alternative(workbench, last)
    export_handlers.pack(workbench)
    after = earlier_work.begin(again(service), "page", Remembered(here=workbench.key))
    shown = restore_screen.restore_work(after)
    assert shown.plan_summary == before.plan_summary
    assert (shown.alternatives, shown.chosen) == (before.alternatives, last)
    assert "report.html" in shown.links and "export.zip" in shown.download
    np.testing.assert_allclose(
        after.snapshot.chosen_trajectory_lps_mm, workbench.snapshot.chosen_trajectory_lps_mm, atol=1e-3
    )
    structure_handlers.describe(after, after.structure.name, role="ignore")
    assert after.snapshot.plan is None


def test_what_is_kept_is_closed_to_others(service: Service, study_path: Path) -> None:
    work = worked_on(Pages(service), study_path).require_work()
    assert work.folder.stat().st_mode & 0o777 == 0o700
    assert (work.folder / "journal.jsonl").stat().st_mode & 0o777 == 0o600
    assert len(work.identifier) >= 32  # 128 bits


@pytest.mark.parametrize("key", ["", "x", "../../etc", "*", "A" * 32])
def test_a_guessed_key_finds_nothing(service: Service, study_path: Path, key: str) -> None:
    pages = Pages(service)
    worked_on(pages, study_path)
    assert pages.take_up("other page", key) is None


def test_a_reload_goes_on_with_what_is_in_memory_and_the_old_page_is_told(service: Service, study_path: Path) -> None:
    pages = Pages(service)
    workbench = worked_on(pages, study_path)
    reloaded = earlier_work.begin(pages, "reloaded", Remembered(here=workbench.key))
    assert reloaded.work is workbench.work and not reloaded.is_waiting
    assert reloaded.structure.previews is workbench.structure.previews  # nothing is computed again
    assert pages.find(reloaded.token) is reloaded
    with pytest.raises(ElsewhereError):
        pages.find(workbench.token)


def test_a_page_that_goes_away_for_a_moment_loses_nothing(service: Service, study_path: Path) -> None:
    pages = Pages(service)
    workbench = worked_on(pages, study_path)
    pages.leave("page")
    assert pages.find(workbench.token) is workbench
    assert not workbench.is_cancelled


def test_a_closed_page_gives_its_place_to_others(settings: Settings, study_path: Path) -> None:
    with closing(Service(settings, Limits(sessions=2))) as service:
        pages = Pages(service)
        first, second, third = (pages.begin(name) for name in ("first", "second", "third"))
        for page in (first, second):
            study_handlers.open_study(page, str(study_path))
        refused = study_handlers.open_study(third, str(study_path))
        assert "at most 2 sessions" in refused.notice and not refused.scene["is_open"]
        pages.leave("first")
        assert study_handlers.open_study(third, str(study_path)).scene["is_open"]
        with pytest.raises(AtCapacityError):  # and the first comes back when there is room again
            pages.find(first.token)
        pages.leave("third")
        assert pages.find(first.token) is first


def test_a_lease_that_ended_unnoticed_is_taken_again_where_nobody_else_has_it(
    service: Service, study_path: Path
) -> None:
    pages = Pages(service)
    workbench = worked_on(pages, study_path)
    service.leases.end(workbench.key)  # as while the machine slept
    assert "mv-error" not in structure_handlers.choose(workbench, "lesion").notice
    _, lease = OnBehalf(service, LOCAL).claim(workbench.key, take_over=True)  # as a program does
    with pytest.raises(ElsewhereError):
        structure_handlers.choose(workbench, "other")
    service.leases.release(workbench.key, lease)
    assert "mv-error" not in structure_handlers.choose(workbench, "other").notice


def test_earlier_work_is_offered_to_whoever_did_it(service: Service, study_path: Path) -> None:
    person = Actor("browser:of this test")
    workbench = worked_on(Pages(service), study_path, person)
    pages = again(service)
    ((label, key),) = earlier_work.earlier_work(pages, person, but="")
    assert key == workbench.key
    assert "abdomen.nii.gz: lesion, other" in label
    assert earlier_work.earlier_work(pages, person, but=workbench.key) == []
    assert earlier_work.earlier_work(pages, Actor("browser:of somebody else"), but="") == []


def test_work_goes_on_although_its_study_has_changed_or_gone(
    service: Service, study_path: Path, tmp_path: Path
) -> None:
    """The server keeps the voxels that were prompted."""
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(study_path.read_bytes())
    service.settings = replace(service.settings, roots=(tmp_path, study_path.parent))
    before = worked_on(Pages(service), copy)
    nifti = nib.load(study_path)
    nib.save(nib.Nifti1Image(np.asarray(nifti.dataobj) + 1, nifti.affine), copy)
    pages = again(service)
    waiting = pages.take_up("page", before.key)
    assert waiting is not None
    shown = restore_screen.restore_work(waiting)
    assert [one["name"] for one in shown.structures["structures"]] == ["lesion", "other"]
    for name, one in before.snapshot.structures.items():
        assert waiting.snapshot.structures[name].prompts == one.prompts
    other = pages.begin("other page")
    study_handlers.open_study(other, str(copy))  # another study now, and other work
    assert other.require_work().study.sha256 != waiting.require_work().study.sha256
    once_more = pages.begin("third page")
    study_handlers.open_study(once_more, str(copy))
    assert once_more.require_work().study is other.require_work().study  # not kept twice
    assert once_more.key != other.key


def test_an_upload_stays_with_the_work_that_was_done_on_it(service: Service, study_path: Path) -> None:
    service.settings = replace(service.settings, roots=())
    pages = Pages(service)
    page = pages.begin("page")

    async def pieces() -> AsyncIterator[bytes]:
        yield study_path.read_bytes()

    size = study_path.stat().st_size
    asyncio.run(page.uploads.receive(UploadKind.STUDY, study_path.name, pieces(), declared_bytes=size))
    study_handlers.open_study(page, f"uploaded/{study_path.name}")
    segment_handlers.on_viewer(page, lesion_box(page))
    pages.leave("page")
    pages.expire(now=time.time() + uploads.EXPIRY_S + 60)
    with pytest.raises(EvictedError):
        pages.find(page.token)
    assert page.uploads.find(UploadKind.STUDY) is None
    late = again(service).take_up("page", page.key)
    assert late is not None
    assert "was restored" in restore_screen.restore_work(late).notice
    assert late.structure.prompts == page.structure.prompts


def test_a_page_that_lost_its_connection_before_it_had_a_study_keeps_its_workbench(service: Service) -> None:
    pages = Pages(service)
    workbench = earlier_work.begin(pages, "page", Remembered())
    pages.leave("page")
    assert earlier_work.begin(pages, "page", Remembered()) is workbench
    pages.expire(now=time.time() + uploads.EXPIRY_S + 60)
    assert pages.find(workbench.token) is workbench
    assert earlier_work.begin(pages, "another page", Remembered()) is not workbench
    assert earlier_work.begin(pages, "reloaded", Remembered(here=workbench.key)) is workbench  # with its uploads


def test_who_gets_an_address_gets_the_session_and_no_upload(service: Service, study_path: Path) -> None:
    pages, one, other = Pages(service), Actor("browser:one"), Actor("browser:other")
    page = pages.begin("page", one)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    asyncio.run(page.uploads.receive(UploadKind.PROMPTS, "p.json", pieces(), declared_bytes=2))
    assert pages.take_up("their page", page.key, other) is None  # there is no session yet
    study_handlers.open_study(page, str(study_path))
    theirs = pages.take_up("their page", page.key, other)
    assert theirs is not None and theirs.work is page.work
    assert theirs.uploads.find(UploadKind.PROMPTS) is None
    mine = pages.take_up("reloaded", page.key, one)
    assert mine is not None and mine.uploads.find(UploadKind.PROMPTS) is not None


def test_a_page_that_is_reloaded_while_its_study_is_opened_waits_for_it(service: Service, study_path: Path) -> None:
    pages = Pages(service)
    workbench = pages.begin("page")
    with workbench.changing(is_long=True):
        reloaded = earlier_work.begin(pages, "reloaded", Remembered(here=workbench.key))
        assert reloaded is workbench
        assert "still running" in restore_screen.welcome(reloaded).notice
    study_handlers.open_study(workbench, str(study_path))
    key = workbench.key
    study_handlers.open_study(workbench, str(study_path))  # once more from the start
    assert workbench.key != key


@pytest.mark.parametrize("sent", ["", "null", "[]", '{"here": 3}', '{"here": "\\ud800"}', "{" * 9999])
def test_what_a_page_says_of_itself_is_taken_for_nothing_where_it_is_not_ours(service: Service, sent: str) -> None:
    remembered = Remembered.from_browser(sent)
    assert not remembered.here and not remembered.shows_study
    assert earlier_work.begin(Pages(service), "page", remembered).work is None


def test_results_that_were_evicted_from_memory_are_read_again_for_their_page(
    service: Service, study_path: Path
) -> None:
    workbench = worked_on(Pages(service), study_path)
    held = service.loaded.held_bytes
    service.loaded.forget(workbench.key)
    service.loaded.forget_volume(workbench.require_work().study.identifier)
    assert service.loaded.held_bytes < held
    document = slice_view(workbench, Plane.AXIAL, ViewRequest(20))
    assert document["outlines"]
    assert "mv-error" not in structure_handlers.choose(workbench, "lesion").notice


def test_a_page_asks_over_http_whether_its_work_is_there(settings: Settings, study_path: Path) -> None:
    with page_app(settings) as app, served(app) as address, httpx.Client(base_url=address) as browser:
        pages: Pages = app.state.pages
        workbench = worked_on(pages, study_path)
        token = workbench.token
        assert browser.get(f"/alive/{token}").json() == {"version": workbench.snapshot.version, "is_computing": False}
        assert browser.get("/alive/guessed").status_code == 404
        pages.take_up("another window", workbench.key)
        assert browser.get(f"/alive/{token}").status_code == 409
        query = {"plane": "axial", "index": 20}
        assert browser.get(f"/views/{token}", params=query).status_code == 409
        assert browser.get("/gradio_api/app_id").json().keys() == {"app_id"}  # what Gradio's page waits for


def test_a_page_does_not_take_its_own_change_for_one_of_others(make_workbench: Make) -> None:
    """A prompt is in the journal at once, and its preview may take seconds; meanwhile the page asks for the version."""
    workbench = make_workbench()
    with workbench.changing():
        workbench.require_work().record("page", page={})
        assert workbench.version == workbench.snapshot.version
    assert workbench.version > workbench.snapshot.version
    workbench.refresh()
    assert workbench.version == workbench.snapshot.version


def test_a_page_that_went_on_with_other_work_is_not_shown_what_it_left(service: Service, study_path: Path) -> None:
    """As when somebody chooses earlier work while the study of the command line is being opened."""
    pages = Pages(service)
    earlier = worked_on(pages, study_path)
    opening = pages.begin("another page")
    taken: list[Workbench | None] = []

    def act(workbench: Workbench) -> Screen:
        shown = study_handlers.open_study(workbench, str(study_path))
        taken.append(pages.take_up("another page", earlier.key))
        return shown

    assert on_workbench(pages, act)(opening.token) == unchanged()
    (now,) = taken
    assert now is not None and now.work is earlier.work
    shown = on_workbench(pages, restore_screen.welcome)(now.token)
    assert "was restored" in shown["notice"]

    def lose(workbench: Workbench) -> Screen:
        pages.take_up("third page", earlier.key)
        return screen(workbench)

    assert on_workbench(pages, lose)(now.token) == unchanged()


def test_steps_are_done_in_the_order_of_the_person_whatever_order_they_come_in(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, {**lesion_box(workbench), "step": 1})
    order = list(range(2, 14))
    random.Random(0).shuffle(order)

    def click(number: int) -> None:
        payload = {"kind": "negative", "plane": "axial", "index": 20, "first": [20 + number, 40], "step": number}
        segment_handlers.on_viewer(workbench, payload)

    threads = [threading.Thread(target=click, args=(number,)) for number in order]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    display = workbench.snapshot.displays[Plane.AXIAL]
    clicks = [one for one in workbench.structure.prompts if isinstance(one, Click)]
    columns = [round(float(display.screen_from_lps(one.position_lps_mm)[0])) for one in clicks]
    assert columns == [20 + number for number in range(2, 14)]


def test_a_step_whose_predecessor_was_lost_is_not_done_and_the_next_ones_are(
    make_workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsam_planner.service.step_order.PATIENCE_S", 0.05)
    workbench = make_workbench()
    payload = {"kind": "negative", "plane": "axial", "index": 20, "first": [50, 40]}
    assert "did not reach" in segment_handlers.on_viewer(workbench, {**payload, "step": 2}).notice
    assert workbench.structure.prompts == ()
    assert "mv-error" not in segment_handlers.on_viewer(workbench, {**payload, "step": 3}).notice


def test_a_view_never_sees_half_of_a_change(make_workbench: Make, study_path: Path) -> None:
    """While a study is opened again and again, every view is answered."""
    workbench = make_workbench()
    done = threading.Event()

    def reopen() -> None:
        for _ in range(3):
            studies.open_study(workbench, str(study_path))
            structure_handlers.begin(workbench, "lesion")
        done.set()

    thread = threading.Thread(target=reopen)
    thread.start()
    while not done.is_set():
        slice_view(workbench, Plane.AXIAL, ViewRequest(20))
        screen(workbench)
    thread.join()


def test_stop_without_a_computation_says_so(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert "No computation is running" in segment_handlers.stop(workbench)
    with workbench.changing(is_long=True):
        assert "Stopping" in segment_handlers.stop(workbench)
        assert workbench.is_cancelled


def test_a_prompt_that_the_model_fails_on_is_taken_back(make_workbench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    workbench = make_workbench()

    def fail(*_: object, **__: object) -> None:
        raise MedsamPlannerError("no answer")

    monkeypatch.setattr(workbench.service, "preview", fail)
    assert "no answer" in segment_handlers.on_viewer(workbench, lesion_box(workbench)).notice
    assert workbench.structure.steps.entries == ()
