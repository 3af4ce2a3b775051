"""A page that comes back finds its work, and nobody else does; steps are done in the order the person did them."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import earlier_work, saved_work, studies, uploads
from medsam_planner.service.display import Plane
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.sessions import ElsewhereError, EvictedError, Sessions
from medsam_planner.service.settings import Settings
from medsam_planner.service.slice_layers import slice_view
from medsam_planner.service.slice_view import ViewRequest
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from prompts import Click
from tests.ui.serving import served
from tests.ui.test_handlers import lesion_box
from ui import restore_screen, segment_handlers, study_handlers
from ui.app import build_app
from ui.events import on_workbench
from ui.screen import Screen, screen
from ui.updates import unchanged

Make = Callable[[], Workbench]


def worked_on(sessions: Sessions, study_path: Path) -> Workbench:
    """Two structures, one segmented in 3D, a role, and both ends of a plan."""
    workbench = sessions.begin("page")
    study_handlers.open_study(workbench, str(study_path))
    segment_handlers.begin_structure(workbench, "lesion")
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    segment_handlers.run_to_3d(workbench, 2, saliency=False, triplanar=False)
    segment_handlers.choose_role(workbench, "avoid")
    segment_handlers.begin_structure(workbench, "other")
    segment_handlers.on_viewer(workbench, {"kind": "positive", "plane": "axial", "index": 20, "first": [50, 40]})
    segment_handlers.undo(workbench)
    for kind in ("target", "entry"):
        segment_handlers.on_viewer(workbench, {"kind": kind, "plane": "axial", "index": 20, "first": [60, 40]})
    return workbench


def test_all_that_was_known_is_there_after_a_restart(settings: Settings, study_path: Path) -> None:
    before = worked_on(Sessions(settings), study_path)
    sessions = Sessions(settings)  # of a server that was started again
    after = earlier_work.begin(sessions, "page", Remembered(here=before.key))
    assert "Restoring your earlier work" in restore_screen.welcome(after).notice
    shown = restore_screen.restore_work(after)
    assert "was restored" in shown.notice
    assert shown.names == ("lesion", "other")
    assert after.active == "other"
    assert shown.can_redo
    assert after.snapshot.draft == before.snapshot.draft
    for name, one in before.structures.items():
        again = after.structures[name]
        assert (again.prompts, again.role, again.is_stale) == (one.prompts, one.role, one.is_stale)
        assert again.previews.keys() == one.previews.keys()
    result, again = before.structures["lesion"].result, after.structures["lesion"].result
    assert result is not None and again is not None
    for name in ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm"):
        np.testing.assert_array_equal(getattr(again, name).array, getattr(result, name).array)
    assert again.mask_samples is not None and result.mask_samples is not None
    np.testing.assert_array_equal(again.mask_samples.masks, result.mask_samples.masks)
    assert again.trace == result.trace
    assert after.structures["lesion"].volume_ml == before.structures["lesion"].volume_ml


def test_what_is_kept_is_closed_to_others_and_does_not_tell_its_key(settings: Settings, study_path: Path) -> None:
    workbench = worked_on(Sessions(settings), study_path)
    folder = workbench.run_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "page").stat().st_mode & 0o777 == 0o700
    for file in (folder / "prompts.json", *(folder / "page").iterdir()):
        assert file.stat().st_mode & 0o777 == 0o600, file
    assert len(workbench.key) >= 32  # 192 bits
    assert workbench.key not in (folder / "page/work.json").read_text() + folder.name


@pytest.mark.parametrize("key", ["", "x", "../../etc", "*", "A" * 32])
def test_a_guessed_key_finds_nothing(settings: Settings, study_path: Path, key: str) -> None:
    sessions = Sessions(settings)
    worked_on(sessions, study_path)
    assert sessions.restore_work("other page", key) is None
    assert saved_work.find_work(settings.out, key) is None


def test_a_reload_goes_on_with_the_workbench_in_memory_and_the_old_page_is_told(
    settings: Settings, study_path: Path
) -> None:
    sessions = Sessions(settings)
    workbench = worked_on(sessions, study_path)
    old = workbench.token
    assert earlier_work.begin(sessions, "reloaded", Remembered(here=workbench.key)) is workbench
    assert sessions.find(workbench.token) is workbench
    with pytest.raises(ElsewhereError):
        sessions.find(old)


def test_a_page_that_goes_away_for_a_moment_loses_nothing(settings: Settings, study_path: Path) -> None:
    sessions = Sessions(settings)
    workbench = worked_on(sessions, study_path)
    sessions.leave("page")
    assert sessions.find(workbench.token) is workbench
    assert not workbench.is_cancelled


def test_the_seventeenth_page_puts_work_aside_that_is_found_again(settings: Settings, study_path: Path) -> None:
    sessions = Sessions(settings)
    first = worked_on(sessions, study_path)
    for number in range(16):
        sessions.begin(f"page {number}")
    with pytest.raises(EvictedError):
        sessions.find(first.token)
    again = sessions.restore_work("page", first.key)
    assert again is not None and again is not first
    assert restore_screen.restore_work(again).names == ("lesion", "other")


def test_earlier_work_is_offered_to_the_browser_that_remembers_it(settings: Settings, study_path: Path) -> None:
    workbench = worked_on(Sessions(settings), study_path)
    sessions = Sessions(settings)
    remembered = Remembered.from_browser(json.dumps({"here": "", "others": [workbench.key, "unknown" * 4]}))
    ((label, key),) = earlier_work.earlier_work(sessions, remembered, but="")
    assert key == workbench.key
    assert "abdomen.nii.gz: lesion, other" in label
    assert earlier_work.earlier_work(sessions, remembered, but=workbench.key) == []


def test_a_study_that_changed_is_refused_and_the_work_goes_on_with_it_as_it_was(
    settings: Settings, study_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(study_path.read_bytes())
    settings = replace(settings, roots=(tmp_path, study_path.parent))
    before = worked_on(Sessions(settings), copy)
    nifti = nib.load(study_path)
    nib.save(nib.Nifti1Image(np.asarray(nifti.dataobj) + 1, nifti.affine), copy)
    again = Sessions(settings).restore_work("page", before.key)
    assert again is not None
    refused = restore_screen.restore_work(again)
    assert "has changed since this work was saved" in refused.notice and refused.names == ()
    assert "was restored" not in study_handlers.open_study(again, str(copy)).notice  # another study: other work
    waiting = Sessions(settings).restore_work("page", before.key)
    assert waiting is not None
    restore_screen.restore_work(waiting)
    shown = study_handlers.open_study(waiting, str(study_path))
    assert "was restored" in shown.notice and shown.names == ("lesion", "other")
    assert waiting.key == before.key
    for name, one in before.structures.items():
        assert waiting.structures[name].prompts == one.prompts


def test_nothing_but_prompts_stays_of_a_page_that_nobody_came_back_to(settings: Settings, study_path: Path) -> None:
    sessions = Sessions(settings)
    workbench = worked_on(sessions, study_path)
    folder, key = workbench.run_folder(), workbench.key
    sessions.expire(now=time.time() + saved_work.EXPIRY_S - 60)
    assert saved_work.find_work(settings.out, key) == folder
    sessions.expire(now=time.time() + saved_work.EXPIRY_S + 60)
    assert [path.name for path in folder.iterdir()] == ["prompts.json"]
    assert Sessions(settings).restore_work("page", key) is None
    segment_handlers.choose_role(workbench, "ignore")  # the page was open all along
    again = Sessions(settings).restore_work("page", key)
    assert again is not None
    restore_screen.restore_work(again)
    assert again.structures["lesion"].result is not None


def test_the_upload_of_a_page_that_was_put_aside_is_there_when_it_comes_back(
    settings: Settings, study_path: Path
) -> None:
    sessions = Sessions(replace(settings, roots=()))
    page = sessions.begin("page")

    async def pieces() -> AsyncIterator[bytes]:
        yield study_path.read_bytes()

    size = study_path.stat().st_size
    asyncio.run(page.uploads.receive(UploadKind.STUDY, study_path.name, pieces(), declared_bytes=size))
    study_handlers.open_study(page, f"uploaded/{study_path.name}")
    segment_handlers.on_viewer(page, lesion_box(page))
    sessions.leave("page")
    sessions.expire(now=time.time() + 3600)
    with pytest.raises(EvictedError):
        sessions.find(page.token)
    again = sessions.restore_work("page", page.key)
    assert again is not None and again is not page
    assert "was restored" in restore_screen.restore_work(again).notice
    assert again.structure.prompts == page.structure.prompts
    sessions.evict(again.token)
    sessions.expire(now=time.time() + uploads.EXPIRY_S + 60)
    late = sessions.restore_work("page", page.key)
    assert late is not None
    shown = restore_screen.restore_work(late)
    assert "was deleted" in shown.notice and "upload the same study" in shown.notice
    assert again.uploads.find(UploadKind.STUDY) is None


def test_a_page_that_lost_its_connection_before_it_had_a_study_keeps_its_workbench(settings: Settings) -> None:
    sessions = Sessions(settings)
    workbench = earlier_work.begin(sessions, "page", Remembered())
    sessions.leave("page")
    assert earlier_work.begin(sessions, "page", Remembered()) is workbench
    sessions.expire(now=time.time() + 3600)
    assert sessions.find(workbench.token) is workbench
    assert earlier_work.begin(sessions, "another page", Remembered()) is not workbench
    assert earlier_work.begin(sessions, "reloaded", Remembered(here=workbench.key)) is workbench  # with its uploads


def test_a_page_that_is_reloaded_while_its_study_is_opened_waits_for_it(settings: Settings, study_path: Path) -> None:
    sessions = Sessions(settings)
    workbench = sessions.begin("page")
    with workbench.changing(is_long=True):
        again = earlier_work.begin(sessions, "reloaded", Remembered(here=workbench.key))
        assert again is workbench
        assert "still running" in restore_screen.welcome(again).notice
    key = workbench.key
    study_handlers.open_study(workbench, str(study_path))
    assert workbench.key == key
    study_handlers.open_study(workbench, str(study_path))  # once more from the start
    assert workbench.key != key


@pytest.mark.parametrize(
    "sent", ["", "null", "[]", '{"here": 3}', '{"here": "\\ud800", "others": [{}, null]}', "{" * 9999]
)
def test_what_a_browser_remembers_is_taken_for_nothing_where_it_is_not_ours(settings: Settings, sent: str) -> None:
    remembered = Remembered.from_browser(sent)
    assert not any((remembered.here, *remembered.others, remembered.shows_study))
    sessions = Sessions(settings)
    earlier_work.begin(sessions, "page", remembered)
    assert earlier_work.earlier_work(sessions, remembered, but="") == []


def test_a_page_that_stays_away_gives_its_memory_back(settings: Settings, study_path: Path) -> None:
    sessions = Sessions(settings)
    workbench = worked_on(sessions, study_path)
    sessions.leave("page")
    sessions.expire()
    assert sessions.find(workbench.token) is workbench
    sessions.leave("page")
    sessions.expire(now=time.time() + 3600)
    with pytest.raises(EvictedError):
        sessions.find(workbench.token)


def test_a_page_asks_over_http_whether_its_work_is_there(settings: Settings, study_path: Path) -> None:
    app = build_app(settings)
    sessions: Sessions = app.state.sessions
    with served(app) as address, httpx.Client(base_url=address) as browser:
        workbench = worked_on(sessions, study_path)
        token = workbench.token
        assert browser.get(f"/alive/{token}").json() == {"version": workbench.snapshot.version, "is_computing": False}
        assert browser.get("/alive/guessed").status_code == 404
        sessions.restore_work("another window", workbench.key)
        assert browser.get(f"/alive/{token}").status_code == 409
        sessions.evict(workbench.token)
        assert browser.get(f"/alive/{workbench.token}").json() == {"is_evicted": True}
        assert browser.get("/gradio_api/app_id").json().keys() == {"app_id"}  # what Gradio's page waits for


def test_a_page_that_went_on_with_other_work_is_not_shown_what_it_left(settings: Settings, study_path: Path) -> None:
    """As when somebody chooses earlier work while the study of the command line is being opened."""
    sessions = Sessions(settings)
    earlier = worked_on(sessions, study_path)
    opening = sessions.begin("another page")

    def act(workbench: Workbench) -> Screen:
        shown = study_handlers.open_study(workbench, str(study_path))
        assert sessions.restore_work("another page", earlier.key) is earlier
        return shown

    assert on_workbench(sessions, act)(opening.token) == unchanged()
    shown = on_workbench(sessions, restore_screen.welcome)(earlier.token)
    assert "was restored" in shown["notice"]

    def lose(workbench: Workbench) -> Screen:
        sessions.restore_work("third page", earlier.key)
        return screen(workbench)

    assert on_workbench(sessions, lose)(earlier.token) == unchanged()


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
            studies.open_study(workbench, study_path)
            segment_handlers.begin_structure(workbench, "lesion")
        done.set()

    thread = threading.Thread(target=reopen)
    thread.start()
    while not done.is_set():
        slice_view(workbench, Plane.AXIAL, ViewRequest(20, -160, 240))
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

    def fail(**_: object) -> None:
        raise MedsamPlannerError("no answer")

    monkeypatch.setattr(workbench.require_session(), "preview", fail)
    assert "no answer" in segment_handlers.on_viewer(workbench, lesion_box(workbench)).notice
    assert workbench.log.history == ()
