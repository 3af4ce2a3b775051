"""Brush, eraser and operations on the mask, through the page's handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.geometry import slice_across
from medsam_planner.service.display import Plane
from medsam_planner.service.hand_mask import hand_mask
from medsam_planner.service.slice_layers import slice_view
from medsam_planner.service.slice_view import ViewRequest
from medsam_planner.service.workbench import Workbench
from prompts import Edit, InitialMask
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.ui.test_handlers import lesion_box
from ui import edit_handlers, segment_handlers

Make = Callable[[], Workbench]


def stroke(
    workbench: Workbench, plane: Plane, *, kind: str = "brush", lps: Any = LESION_LPS_MM, **brush: Any
) -> dict[str, Any]:
    """The browser's message for a click with a brush of 9 mm."""
    column, row, index = workbench.snapshot.displays[plane].screen_from_lps(lps)
    options = {"radius_mm": 9.0, "is_ball": False, "is_last_word": True, "low": None, "high": None, **brush}
    return {"kind": kind, "plane": plane.value, "index": round(index), "points": [[column, row]], "brush": options}


def act(workbench: Workbench, payload: dict[str, Any]) -> str:
    return segment_handlers.on_viewer(workbench, payload).notice


def mask_of(workbench: Workbench) -> np.ndarray:
    result = workbench.structure.result
    assert result is not None and not workbench.structure.is_stale
    return np.asarray(result.mask.array)


def run(workbench: Workbench) -> np.ndarray:
    segment_handlers.run_to_3d(workbench, 0, saliency=False, triplanar=False)
    return mask_of(workbench)


def drawn(workbench: Workbench, plane: Plane, index: int) -> np.ndarray:
    """(rows, columns) of the active structure's mask as it is shown now."""
    from medsam_planner.service.slice_layers import layers

    now = workbench.snapshot
    outline = layers(now).outlines[-1]
    picture = outline.picture(now.displays[plane], index)
    assert picture is not None
    return picture > 0.5


@pytest.fixture
def segmented(make_workbench: Make) -> Workbench:
    workbench = make_workbench()
    act(workbench, lesion_box(workbench))
    run(workbench)
    return workbench


@pytest.mark.parametrize("plane", list(Plane))
def test_a_stroke_on_any_plane_is_shown_at_once_and_is_what_the_3d_mask_becomes(
    segmented: Workbench, plane: Plane
) -> None:
    before = mask_of(segmented).copy()
    edge = LESION_LPS_MM + {Plane.AXIAL: [16, 0, 0], Plane.CORONAL: [16, 0, 4], Plane.SAGITTAL: [0, 14, 0]}[plane]
    message = stroke(segmented, plane, lps=edge)
    assert "guarantee does not cover it" in act(segmented, message)
    display, at = segmented.snapshot.displays[plane], message["index"]
    shown = drawn(segmented, plane, at)
    assert shown.sum() > display.picture(before, at).sum()
    seen = slice_view(segmented, plane, ViewRequest(at))["outlines"]
    assert seen and not seen[-1]["stale"] and not seen[-1]["preview"]
    after = run(segmented)
    assert np.array_equal(display.picture(after, at), shown)
    changed = np.flatnonzero((after != before).any(axis=tuple(other for other in range(3) if other != display.axis)))
    assert changed.tolist() == [at]  # nothing but the painted slice


def test_an_edit_is_one_step_that_undo_and_redo_take(segmented: Workbench) -> None:
    before = mask_of(segmented).copy()
    at = stroke(segmented, Plane.AXIAL)["index"]
    act(segmented, stroke(segmented, Plane.AXIAL, kind="erase"))
    erased = drawn(segmented, Plane.AXIAL, at)
    act(segmented, {"kind": "undo", "plane": "axial", "index": at})
    assert not segmented.structure.is_stale
    assert np.array_equal(mask_of(segmented), before)
    act(segmented, {"kind": "redo", "plane": "axial", "index": at})
    assert np.array_equal(drawn(segmented, Plane.AXIAL, at), erased)


def test_strokes_after_the_first_are_recorded_as_edits_of_their_voxels(segmented: Workbench) -> None:
    act(segmented, stroke(segmented, Plane.AXIAL, kind="erase"))
    act(segmented, stroke(segmented, Plane.CORONAL, kind="erase"))
    act(segmented, stroke(segmented, Plane.SAGITTAL, kind="erase", is_ball=True))
    kinds = [type(one) for one in segmented.structure.prompts]
    assert kinds == [InitialMask, Edit, Edit]
    hand = segmented.structure.hand
    assert hand is not None and hand.is_exact
    assert np.array_equal(run(segmented), hand.whole())


def test_a_stroke_beyond_the_last_slice_adds_its_voxels_and_no_slices_of_the_models(segmented: Workbench) -> None:
    act(segmented, stroke(segmented, Plane.AXIAL, kind="erase"))
    before = run(segmented).copy()
    beyond = LESION_LPS_MM + np.array([0, 0, 40])
    act(segmented, stroke(segmented, Plane.AXIAL, lps=beyond))
    hand = segmented.structure.hand
    assert hand is not None and hand.is_exact
    after = run(segmented)
    at = stroke(segmented, Plane.AXIAL, lps=beyond)["index"]
    axis = segmented.snapshot.displays[Plane.AXIAL].axis
    assert slice_across(after, axis, at).any()
    assert np.array_equal(np.delete(after, at, axis=axis), np.delete(before, at, axis=axis))


def test_the_log_replays_byte_for_byte_in_python_and_after_a_reload(segmented: Workbench) -> None:
    for plane in Plane:
        act(segmented, stroke(segmented, plane, lps=LESION_LPS_MM + 12.0, low=0, high=90))
    edit_handlers.operate(segmented, "smooth", 2.0)
    act(segmented, stroke(segmented, Plane.CORONAL, kind="erase"))
    made = run(segmented)
    work = segmented.require_work()
    session = mp.Session(segmented.service.loaded.volume(work.study), seed=work.state.seed)
    session.restore(work.log(segmented.structure.name))
    again = session.segment(structure=segmented.structure.name, samples=0).mask.array
    assert np.asarray(again, dtype=bool).tobytes() == np.ascontiguousarray(made).tobytes()
    other = Workbench(segmented.service)
    other.refresh(other.own.claim(work.identifier, take_over=True))
    known, found = segmented.structure.hand, other.structure.hand
    assert known is not None and found is not None and np.array_equal(known.whole(), found.whole())


def test_where_the_model_is_to_go_on_a_stroke_is_a_step_like_a_click(segmented: Workbench) -> None:
    assert "follow from it" in act(segmented, stroke(segmented, Plane.AXIAL, kind="erase", is_last_word=False))
    assert [type(one).__name__ for one in segmented.structure.prompts] == ["Box", "Edit"]


def test_a_structure_can_be_painted_from_nothing_and_is_seen_before_any_3d_mask(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert "follow from it" in act(workbench, stroke(workbench, Plane.CORONAL))
    at = stroke(workbench, Plane.CORONAL)["index"]
    assert drawn(workbench, Plane.CORONAL, at).sum() > 50
    assert len(segmented_slices(run(workbench))) > 1


def segmented_slices(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask.any(axis=(1, 2)))


def test_islands_are_removed_by_button_and_by_click_and_the_result_is_exact(segmented: Workbench) -> None:
    lesion = mask_of(segmented).copy()
    far = LESION_LPS_MM + np.array([60, 40, 10])
    act(segmented, stroke(segmented, Plane.AXIAL, lps=far))
    painted = run(segmented).copy()
    assert painted.sum() > lesion.sum()
    assert "voxels changed" in edit_handlers.operate(segmented, "largest", None).notice
    assert np.array_equal(run(segmented), lesion)
    assert "nothing changed" in edit_handlers.operate(segmented, "largest", None).notice
    act(segmented, {"kind": "undo", "plane": "axial", "index": 0})
    place = segmented.snapshot.displays[Plane.AXIAL].screen_from_lps(far)
    act(segmented, {"kind": "island", "plane": "axial", "index": round(place[2]), "first": place[:2].tolist()})
    assert np.array_equal(run(segmented), painted & ~lesion)


def test_an_operation_without_a_3d_mask_says_what_to_do(make_workbench: Make) -> None:
    workbench = make_workbench()
    act(workbench, lesion_box(workbench))
    assert "Segment the structure in 3D first" in edit_handlers.operate(workbench, "largest", None).notice
    assert "Enter how much" in edit_handlers.operate(workbench, "smooth", None).notice
    assert "Expected one of the operations" in edit_handlers.operate(workbench, "../x", 1.0).notice
    assert len(workbench.structure.prompts) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"brush": {"radius_mm": 1e308}},
        {"brush": {"radius_mm": "x"}},
        {"brush": None},
        {"brush": {"radius_mm": 5, "low": float("nan"), "high": 5}},
        {"points": [[1e9, 1]]},
        {"points": [[float("nan"), 1]]},
        {"points": []},
        {"points": [[5, 5]] * 30_000},
        {"index": 10**9},
        {"index": -1},
    ],
    ids=str,
)
def test_a_stroke_that_is_none_is_refused_and_changes_nothing(make_workbench: Make, change: dict[str, Any]) -> None:
    workbench = make_workbench()
    before = workbench.require_work().state.n
    assert "mv-error" in act(workbench, {**stroke(workbench, Plane.AXIAL), **change})
    assert workbench.require_work().state.n == before


def test_erasing_all_is_refused_because_nothing_would_be_left(segmented: Workbench) -> None:
    big = stroke(segmented, Plane.AXIAL, kind="erase", radius_mm=90.0, is_ball=True)
    assert "Nothing of the structure would be left" in act(segmented, big)
    assert not segmented.structure.is_stale


def test_a_mask_by_hand_is_the_engines_for_random_strokes(segmented: Workbench) -> None:
    work, rng = segmented.require_work(), np.random.default_rng(3)
    for number in range(12):
        lps = LESION_LPS_MM + rng.uniform(-18, 18, 3)
        plane, kind = list(Plane)[number % 3], ("brush", "erase")[int(rng.integers(2))]
        act(segmented, stroke(segmented, plane, kind=kind, lps=lps, radius_mm=float(rng.uniform(2, 8))))
    hand = hand_mask(segmented.structure.prompts, work.study.affine, work.study.shape)
    assert hand is not None and hand.is_exact
    assert np.array_equal(run(segmented), hand.whole())
