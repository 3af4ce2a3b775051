"""The 3D mask follows the prompts: what is begun, superseded, stopped and taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from medsam_planner.errors import OperationCancelledError
from medsam_planner.service import live, prompting
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.work import Work
from medsam_planner.service.display import Plane
from medsam_planner.service.live import Following
from medsam_planner.service.pages import Pages
from medsam_planner.service.strip import spread_by_slice, strip
from medsam_planner.service.workbench import Workbench
from tests.medsam_planner.service.phantom import LESION_LPS_MM, LESION_RADIUS_MM

Make = Callable[[], Workbench]


def draw_box(workbench: Workbench, *, reach_mm: float = LESION_RADIUS_MM + 3) -> None:
    display = workbench.snapshot.displays[Plane.AXIAL]
    column, row, index = display.screen_from_lps(LESION_LPS_MM).tolist()
    across, down = reach_mm / np.array(display.pixel_mm)
    prompting.draw_box(
        workbench, Plane.AXIAL, round(index), (column - across, row - down), (column + across, row + down)
    )


def click(workbench: Workbench, *, up: int = 0, positive: bool = True) -> None:
    """In the middle of the lesion, `up` slices towards the head."""
    column, row, index = workbench.snapshot.displays[Plane.AXIAL].screen_from_lps(LESION_LPS_MM).tolist()
    prompting.click(workbench, Plane.AXIAL, round(index) + up, column, row, positive=positive)


def ended(workbench: Workbench, job: str) -> None:
    until = time.monotonic() + 60
    while not workbench.service.jobs.find(job).state.is_final and time.monotonic() < until:
        time.sleep(0.02)
    workbench.refresh()


def summary(workbench: Workbench) -> tuple[int, bool]:
    """Passes of the 3D result, and whether it is stale."""
    structure = workbench.structure
    assert structure.stored is not None
    return int(structure.stored.summary["samples"]), structure.is_stale


def jobs_of(work: Work) -> list[tuple[str, int, str]]:
    """State, passes and structure of each job, in order."""
    ends, jobs = work.state.ends, work.state.jobs
    return [(ends[one]["state"], begun["options"]["samples"], begun["structure"]) for one, begun in jobs.items()]


def test_the_mask_comes_first_then_its_passes_and_then_nothing(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert live.following(workbench).state == "idle"
    draw_box(workbench)
    live.change(workbench, samples=2)
    assert live.following(workbench) == Following("due", workbench.snapshot.active, "mask")
    begun = live.follow(workbench)
    assert begun.state in ("waiting", "running") and begun.task == "mask"
    assert live.follow(workbench).job == begun.job  # asked twice, begun once
    ended(workbench, begun.job)
    assert summary(workbench) == (0, False)
    passes = live.follow(workbench)
    assert passes.task == "passes"
    ended(workbench, passes.job)
    assert summary(workbench) == (2, False)
    assert live.follow(workbench).state == "idle"
    segmented = [one for one in workbench.require_work().state.jobs.values() if "actor" in one]
    assert segmented == []  # what nobody asked for is not told as what a person did


def test_a_newer_prompt_supersedes_what_is_computed_from_older_ones(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    live.change(workbench, samples=0)
    first = live.follow(workbench).job
    click(workbench, up=1)  # it has waited for nothing: the job is stopped, and the slice is there
    assert (workbench.snapshot.displays[Plane.AXIAL].axis in workbench.structure.previews) is True
    second = live.follow(workbench)
    assert second.job != first and second.task == "mask"
    ended(workbench, second.job)
    assert summary(workbench) == (0, False)
    assert live.follow(workbench).state == "idle"
    prompting.undo(workbench)
    assert live.following(workbench).state == "due"


def test_what_was_stopped_stays_so_until_the_prompts_change_also_after_a_reload(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    begun = live.follow(workbench)
    live.stop(workbench)
    ended(workbench, begun.job)
    assert live.follow(workbench).state == "stopped"
    again = Pages(workbench.service).take_up("other page", workbench.key)
    assert again is not None
    again.refresh()
    assert live.follow(again).state == "stopped"
    click(again, up=1)
    assert live.following(again).state == "due"
    live.change(again, is_on=False)
    assert live.follow(again).state == "off"


def test_what_a_person_asks_for_takes_the_place_of_what_follows(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    live.follow(workbench)
    workbench.segment(SegmentOptions(samples=2))
    assert summary(workbench) == (2, False)
    assert live.follow(workbench).state == "idle"
    assert jobs_of(workbench.require_work())[-1] == ("done", 2, workbench.snapshot.active)


def test_what_failed_is_said_and_not_tried_for_ever(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    live.change(workbench, samples=2, uncertainty="triplanar")  # which needs propagation across three planes
    ended(workbench, live.follow(workbench).job)
    ended(workbench, live.follow(workbench).job)
    now = live.follow(workbench)
    assert (now.state, now.task) == ("failed", "passes")
    assert "triplanar" in now.problem


def test_a_negative_click_alone_makes_nothing_due(make_workbench: Make) -> None:
    workbench = make_workbench()
    click(workbench, positive=False)
    assert live.follow(workbench).state == "idle"


def test_waiting_lets_the_masks_catch_up_and_can_be_given_up(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    live.change(workbench, samples=2)
    live.follow(workbench)

    class GivenUp:
        is_cancelled = True

        def update(self, stage: str, done: int, total: int) -> None:
            pass

    with pytest.raises(OperationCancelledError):
        live.wait(workbench, GivenUp())
    click(workbench, up=1)
    live.wait(workbench)
    assert summary(workbench) == (2, False)


def test_results_that_nobody_asked_for_do_not_fill_the_disk(make_workbench: Make) -> None:
    workbench = make_workbench()
    live.change(workbench, samples=0)
    draw_box(workbench)
    for up in range(4):
        ended(workbench, live.follow(workbench).job)
        click(workbench, up=up)
    ended(workbench, live.follow(workbench).job)
    folder = workbench.require_work().folder / "results"
    assert len(list(folder.iterdir())) == 2
    assert workbench.structure.result is not None


def test_a_plan_that_used_an_older_mask_stays_and_is_marked(make_workbench: Make) -> None:
    workbench = make_workbench()
    draw_box(workbench)
    ended(workbench, live.follow(workbench).job)
    work = workbench.require_work()
    work.record("job", job="plan", task="plan")
    work.record("job-ended", job="plan", state="done", result={})
    assert not work.state.is_newer_than_plan(workbench.snapshot.active)
    ended(workbench, live.follow(workbench).job)  # passes
    assert work.state.plan == "plan"
    assert work.state.is_newer_than_plan(workbench.snapshot.active)


def test_the_strip_says_where_the_mask_is_why_it_ends_and_how_sure_it_is(
    make_workbench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbench = make_workbench()
    display = workbench.snapshot.displays[Plane.AXIAL]
    middle = round(display.screen_from_lps(LESION_LPS_MM).tolist()[2])
    assert strip(workbench, Plane.AXIAL)["filled"] == []
    draw_box(workbench)
    assert strip(workbench, Plane.AXIAL)["prompted"] == [middle]
    workbench.segment(SegmentOptions(samples=4))
    known = strip(workbench, Plane.AXIAL)
    result = workbench.structure.result
    assert result is not None
    filled = [index for index in range(display.slice_count) if result.mask.array[index].any()]
    assert known["filled"] == [[filled[0], filled[-1]]]
    assert [one["side"] for one in known["ends"]] == [0, 1]
    assert "towards the feet" in known["ends"][0]["words"] and "towards the head" in known["ends"][1]["words"]
    assert "less than a voxel" in known["unknown"] and set(known["spread_mm"]) == {None}  # four passes that agree
    monkeypatch.setattr("medsam_planner.service.strip.why_unknown", lambda result: None)
    known = strip(workbench, Plane.AXIAL)
    assert [index for index, value in enumerate(known["spread_mm"]) if value is not None] == filled
    assert known["scale"]["high"] >= 0.5
    across = strip(workbench, Plane.CORONAL)
    assert (across["prompted"], across["ends"]) == ([], [])
    assert across["filled"] != []


def test_the_spread_of_a_slice_is_that_of_its_surface() -> None:
    inside = np.zeros((4, 9, 9), dtype=bool)
    inside[1:3, 2:7, 2:7] = True
    spread = np.full(inside.shape, 9.0)
    spread[1], spread[2] = 1.0, 2.0
    spread[2, 3:6, 3:6] = 7.0  # the whole section is surface: it is the last one
    found = spread_by_slice(spread, inside, 0)
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, True])
    assert found[1] == 1.0 and found[2] == 7.0
