"""The list of structures and of prompts, lasso, 3D box, and masks to begin from, below the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import GeometryError, PromptError, StudyError
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.service import begin_from, prompting
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.display import Plane
from medsam_planner.service.http.nninteractive import interactions
from medsam_planner.service.workbench import Workbench
from prompts import Box, Click, InitialMask, box_extent
from tests.medsam_planner.io.structure_sets import square, write_structure_set
from tests.medsam_planner.service.phantom import LESION_LPS_MM, SHAPE, phantom_affine
from ui import segment_handlers
from ui.structure_handlers import on_list

Make = Callable[[], Workbench]
AFFINE = phantom_affine()


def clicked(workbench: Workbench, *places: tuple[float, float]) -> None:
    for column, row in places:
        prompting.click(workbench, Plane.AXIAL, 20, column, row, positive=False)


def in_list(shown: Any) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in shown.structures["structures"]}


def test_a_person_names_colours_hides_orders_deletes_and_restores(make_workbench: Make) -> None:
    workbench = make_workbench()
    on_list(workbench, {"kind": "begin", "structure": "liver lesion"})
    on_list(workbench, {"kind": "begin", "structure": "aorta"})
    clicked(workbench, (50, 40))
    shown = on_list(workbench, {"kind": "rename", "structure": "aorta", "value": "thing"})
    assert list(in_list(shown)) == ["liver lesion", "thing"] and shown.structures["active"] == "thing"
    assert "no code" in in_list(shown)["thing"]["coded"] and "Lesion (SCT" in in_list(shown)["liver lesion"]["coded"]
    shown = on_list(workbench, {"kind": "anatomy", "structure": "thing", "value": "left kidney"})
    assert in_list(shown)["thing"]["coded"] == "Kidney, left (SCT 64033007)"
    shown = on_list(workbench, {"kind": "hidden", "structure": "thing", "value": True})
    assert shown.scene["hidden"] == ["thing"] and [one["name"] for one in shown.scene["legend"]] == ["liver lesion"]
    clicked(workbench, (52, 40))  # what is prompted is to be seen
    assert not workbench.structure.listed.is_hidden
    shown = on_list(workbench, {"kind": "move", "structure": "thing", "value": -1})
    assert [one["name"] for one in shown.scene["legend"]] == ["thing", "liver lesion"]
    shown = on_list(workbench, {"kind": "delete", "structure": "thing"})
    assert list(in_list(shown)) == ["liver lesion"] and shown.structures["deleted"]["name"] == "thing"
    shown = on_list(workbench, {"kind": "restore", "structure": "thing", "value": shown.structures["deleted"]["n"]})
    assert list(in_list(shown)) == ["thing", "liver lesion"] and len(workbench.structure.prompts) == 2
    assert "mv-done" in shown.notice


@pytest.mark.parametrize(
    "payload",
    [{}, {"kind": "delete"}, {"kind": "move", "structure": "structure 1", "value": "up"}, {"kind": "rename"},
     {"kind": "restore", "structure": "x", "value": 1e300}, {"kind": ["begin"], "structure": "x"},
     {"kind": "remove", "structure": "structure 1", "value": 10**30}, {"kind": "colour", "structure": "x" * 10**5},
     {"kind": "rename", "structure": "structure 1", "value": "<script>" * 99}, {"kind": "begin", "structure": "a\nb"},
     {"kind": "begin_from", "structure": "structure 1", "value": "structure 1"}],
)  # fmt: skip
def test_what_a_page_makes_up_is_refused_in_words(make_workbench: Make, payload: dict[str, Any]) -> None:
    workbench = make_workbench()
    shown = on_list(workbench, payload)
    assert "mv-error" in shown.notice and "Unexpected" not in shown.notice
    assert not workbench.require_work().state.steps


def test_a_prompt_of_the_list_is_removed_alone_and_undo_brings_it_back(make_workbench: Make) -> None:
    workbench = make_workbench()
    clicked(workbench, (50, 40), (60, 40), (70, 40))
    listed = on_list(workbench, {"kind": "choose", "structure": "structure 1"}).structures["prompts"]
    assert [one["slice"] for one in listed] == ["axial slice 21"] * 3 and not listed[0]["is_inside"]
    assert (
        list(listed[1]["index"]) == workbench.snapshot.displays[Plane.AXIAL].index_at(20, 60, 40).astype(int).tolist()
    )
    shown = on_list(workbench, {"kind": "remove", "structure": "structure 1", "value": listed[1]["place"]})
    assert [one["place"] for one in shown.structures["prompts"]] == [0, 2]
    again = on_list(workbench, {"kind": "remove", "structure": "structure 1", "value": listed[1]["place"]})
    assert "no longer there" in again.notice
    segment_handlers.undo(workbench)
    assert len(workbench.structure.prompts) == 3


def test_a_lasso_is_the_prompt_that_the_nninteractive_door_makes_of_the_same_region(make_workbench: Make) -> None:
    workbench = make_workbench()
    display = workbench.snapshot.displays[Plane.AXIAL]
    diamond = [(60.0, 40.0), (72.0, 52.0), (60.0, 64.0), (48.0, 52.0)]
    action = {"kind": "lasso", "plane": "axial", "index": 20, "points": [list(one) for one in diamond]}
    assert "mv-error" not in segment_handlers.on_viewer(workbench, action).notice
    (box,) = workbench.structure.prompts
    drawn = np.zeros(SHAPE, dtype=bool)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    for row, column in zip(rows.ravel(), columns.ravel(), strict=True):
        if abs(column - 60) + abs(row - 52) < 12:
            drawn[tuple(np.rint(display.index_at(20, column, row)).astype(int))] = True
    (same,) = interactions.lasso_prompts(drawn, tuple((0, size) for size in SHAPE), AFFINE)
    assert isinstance(box, Box) and isinstance(same, Box)
    ours, theirs = (box_extent(one, AFFINE, SHAPE).index_range for one in (box, same))
    assert np.abs(ours - theirs).max() <= 1  # voxels on the line itself
    for wrong in ([], [[1, 1]], [[10, 10], [10.2, 10.2]], [[999, 1], [1, 1], [5, 5]]):
        assert "mv-error" in segment_handlers.on_viewer(workbench, {**action, "points": wrong}).notice
    assert len(workbench.structure.prompts) == 1


def test_a_3d_box_bounds_the_structure_and_a_flat_one_is_refused(make_workbench: Make) -> None:
    workbench = make_workbench()
    action = {"kind": "box3d", "plane": "axial", "index": 0, "low": [14, 40, 45], "high": [26, 70, 75]}
    assert "mv-error" not in segment_handlers.on_viewer(workbench, action).notice
    (box,) = workbench.structure.prompts
    assert isinstance(box, Box)
    extent = box_extent(box, AFFINE, SHAPE)
    assert extent.axis is None and extent.index_range.T.tolist() == [action["low"], action["high"]]
    assert workbench.structure.previews  # it is predicted on a slice at once
    for wrong in ({"high": [14, 70, 75]}, {"low": [90, 90, 90]}, {"low": [1e400, 0, 0]}, {"low": "abc"}, {"low": [1]}):
        assert "mv-error" in segment_handlers.on_viewer(workbench, {**action, **wrong}).notice
    assert len(workbench.structure.prompts) == 1


def ball() -> highdicom.Volume:
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    inside = np.linalg.norm(places - LESION_LPS_MM, axis=-1) < 10.0
    return highdicom.Volume(array=inside.astype(np.uint8), affine=AFFINE, coordinate_system="PATIENT")


def test_a_structure_begins_from_a_file_or_another_structure_and_undo_takes_it_back(
    make_workbench: Make, study_path: Path
) -> None:
    workbench = make_workbench()
    save_nifti(ball(), study_path.parent / "ball.nii.gz")
    clicked(workbench, (50, 40))
    begin_from.from_file(workbench, "ball.nii.gz")
    (mask,) = workbench.structure.prompts
    assert isinstance(mask, InitialMask) and mask.mask.voxel_count == int(ball().array.sum())
    workbench.segment(SegmentOptions(samples=0))
    assert workbench.structure.extent_mm == (21.0, 19.5, 20.0)  # 14 × 13 voxels of 1.5 mm, 8 slices of 2.5 mm
    on_list(workbench, {"kind": "begin", "structure": "copy"})
    shown = on_list(workbench, {"kind": "begin_from", "structure": "copy", "value": "structure 1"})
    assert "begins from the mask" in shown.notice
    assert workbench.structure.prompts == (mask,)
    segment_handlers.undo(workbench)
    assert workbench.structure.prompts == ()
    workbench.snapshot.structures["structure 1"].steps.log()
    on_list(workbench, {"kind": "choose", "structure": "structure 1"})
    segment_handlers.undo(workbench)
    assert isinstance(workbench.structure.prompts[0], Click)
    on_list(workbench, {"kind": "choose", "structure": "copy"})
    with pytest.raises(PromptError, match="changed since"):
        begin_from.from_structure(workbench, "structure 1")


def test_what_is_not_known_of_a_file_is_said_and_stays_with_the_structure(
    make_workbench: Make, study_path: Path
) -> None:
    workbench = make_workbench()
    places = {"mass": [(k, square(15.2, 24.8)) for k in (8, 9, 11, 12)]}
    write_structure_set(study_path.parent / "rs.dcm", load_volume(study_path), places)
    (note,) = begin_from.from_file(workbench, "rs.dcm")
    assert "no contour on slice 11" in note
    (mask,) = workbench.structure.prompts
    assert isinstance(mask, InitialMask) and mask.notes == (note,)


def test_a_mask_that_does_not_belong_here_is_refused(make_workbench: Make, study_path: Path, tmp_path: Path) -> None:
    workbench = make_workbench()
    shifted = highdicom.Volume(array=ball().array, affine=AFFINE + np.eye(4, k=3) * 0.7, coordinate_system="PATIENT")
    empty = highdicom.Volume(array=np.zeros(SHAPE, np.uint8), affine=AFFINE, coordinate_system="PATIENT")
    for name, volume in (("shifted", shifted), ("empty", empty)):
        save_nifti(volume, study_path.parent / f"{name}.nii.gz")
    save_nifti(ball(), tmp_path / "elsewhere.nii.gz")
    for name, error in (("shifted", GeometryError), ("empty", PromptError)):
        with pytest.raises(error, match="Expected"):
            begin_from.from_file(workbench, f"{name}.nii.gz")
    for path in (str(tmp_path / "elsewhere.nii.gz"), "/etc/passwd", "", "uploaded/mask.nii.gz"):
        with pytest.raises(StudyError):
            begin_from.from_file(workbench, path)
    assert not workbench.require_work().state.steps
