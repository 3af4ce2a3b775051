"""What each button does, without a browser."""

from __future__ import annotations

import html
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from medsam_planner.errors import MedsamPlannerError, StudyError
from medsam_planner.propagation.sources import SOURCES
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.display import Plane
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.slice_layers import slice_view
from medsam_planner.service.slice_view import ViewRequest
from medsam_planner.service.uploads import EXPIRY_S
from medsam_planner.service.workbench import Workbench
from prompts import Box, Click, PromptFile, PromptLog, Scribble, write_prompt_file
from prompts.names import SKIN, UNSEGMENTED_BONE
from tests.medsam_planner.io.dicom_series import write_ct_series
from tests.medsam_planner.io.test_series_volumes import several
from tests.medsam_planner.service.phantom import LESION_LPS_MM, LESION_RADIUS_MM
from ui import segment_handlers, structure_handlers, study_handlers
from ui.layout import source_choices
from ui.screen import Screen

Make = Callable[[], Workbench]


def lesion_box(workbench: Workbench, plane: Plane = Plane.AXIAL) -> dict[str, Any]:
    """The browser's message for a box around the lesion on its middle slice."""
    x, y, z = LESION_LPS_MM.tolist()
    index = workbench.snapshot.slice_of(plane, (x, y, z))
    display = workbench.snapshot.displays[plane]
    column, row, _ = display.screen_from_lps(LESION_LPS_MM)
    across, down = (LESION_RADIUS_MM + 3) / np.array(display.pixel_mm)
    return {
        "kind": "box",
        "plane": plane.value,
        "index": index,
        "first": [column - across, row - down],
        "last": [column + across, row + down],
    }


def names(shown: Screen) -> list[str]:
    """Of the structures in the list."""
    return [one["name"] for one in shown.structures["structures"]]


def test_a_wrong_path_is_said_in_words_and_keeps_what_is_open(make_workbench: Make, study_path: Path) -> None:
    workbench = make_workbench()
    shown = study_handlers.open_study(workbench, str(study_path.parent / "nowhere.nii"))
    assert "does not exist" in shown.notice
    assert "mv-error" in shown.notice
    assert names(shown) == ["structure 1"]


@pytest.mark.parametrize("path", ["/etc/passwd", "", "  "])
def test_paths_outside_the_allowed_folders_are_refused(service: Service, path: str) -> None:
    shown = study_handlers.open_study(Workbench(service), path)
    assert "mv-error" in shown.notice
    assert not shown.scene["is_open"]


def test_a_link_does_not_lead_out_of_the_allowed_folders(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    with pytest.raises(StudyError, match="is outside"):
        replace(settings, roots=(root,)).allowed(str(root / "link" / "passwd"))


@pytest.mark.parametrize("way", ["nifti", "series", "deep", "by name", "img"])
def test_a_link_inside_a_study_does_not_lead_out_of_the_allowed_folders(
    service: Service, study_path: Path, tmp_path: Path, way: str
) -> None:
    root = tmp_path / "root"
    folder = root / "P1"
    (folder / "a").mkdir(parents=True)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    typed = "P1"
    if way == "series":
        write_ct_series(outside, np.random.default_rng(0).normal(0, 50, (6, 8, 8)), np.diag([2.0, 1.0, 1.0, 1.0]))
        for file in outside.iterdir():
            (folder / file.name).symlink_to(file)
    elif way == "img":
        nibabel.Nifti1Pair(np.ones((4, 4, 4), np.float32), np.eye(4)).to_filename(folder / "x.hdr")
        (folder / "x.img").rename(outside / "x.img")
        (folder / "x.img").symlink_to(outside / "x.img")
        typed = "P1/x.hdr"
    else:
        (folder / ("a/x.nii.gz" if way == "deep" else "x.nii.gz")).symlink_to(study_path)
        typed = "P1/x.nii.gz" if way == "by name" else typed
    service.settings = replace(service.settings, roots=(root,))
    shown = study_handlers.open_study(Workbench(service), typed)
    assert "mv-error" in shown.notice and not shown.scene["is_open"]
    assert {"by name": "is outside", "img": "x.hdr contains links"}.get(way, "P1 contains links") in shown.notice
    assert str(tmp_path) not in shown.notice


def test_a_link_within_the_allowed_folders_and_the_links_of_the_named_study_are_read(
    settings: Settings, study_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "root" / "P1"
    folder.mkdir(parents=True)
    (folder / "x.nii.gz").symlink_to(study_path)
    inside = replace(settings, roots=(tmp_path / "root", study_path.parent))
    assert inside.allowed("P1") == folder
    assert replace(settings, roots=(), study=folder).allowed("P1") == folder


@pytest.mark.parametrize("out", ["P1", "P1/runs", "P1/ct/runs"])
def test_a_study_that_holds_the_folder_of_the_results_is_not_opened(
    settings: Settings, study_path: Path, tmp_path: Path, out: str
) -> None:
    folder = tmp_path / "root" / "P1"
    folder.mkdir(parents=True)
    shutil.copy(study_path, folder / "x.nii.gz")
    inside = replace(settings, roots=(tmp_path / "root",), out=tmp_path / "root" / out)
    with closing(Service(inside)) as service:
        shown = study_handlers.open_study(Workbench(service), "P1")
        assert "data folder" in shown.notice and not shown.scene["is_open"]
        assert str(tmp_path) not in shown.notice
        assert study_handlers.open_study(Workbench(service), "P1/x.nii.gz").scene["is_open"]


@pytest.mark.parametrize("name", [UNSEGMENTED_BONE, SKIN, "Skin "])
def test_no_structure_takes_the_name_of_what_a_plan_finds_by_itself(
    make_workbench: Make, tmp_path: Path, name: str
) -> None:
    workbench = make_workbench()
    assert "finds in the image" in structure_handlers.begin(workbench, name).notice
    log = PromptLog(name.strip())
    log.add(Click((0.0, 0.0, 0.0), True))
    write_prompt_file(tmp_path / "p.json", PromptFile((log,)))
    assert "finds in the image" in study_handlers.resume(workbench, tmp_path / "p.json").notice
    assert list(workbench.snapshot.structures) == ["structure 1"]


def test_two_volumes_in_a_folder_are_listed_and_the_chosen_one_is_opened(
    service: Service, study_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("first.nii.gz", "second.nii.gz"):
        (folder / name).write_bytes(study_path.read_bytes())
    service.settings = replace(service.settings, roots=(tmp_path,))
    workbench = Workbench(service)
    asked = study_handlers.open_study(workbench, str(folder))
    assert asked.series is not None
    assert [label.split(", ")[-1] for label, _ in asked.series] == ["first.nii.gz", "second.nii.gz"]
    assert workbench.snapshot.study is None
    opened = study_handlers.open_study(workbench, str(folder), series=asked.series[1][1])
    assert opened.scene["is_open"]
    assert opened.series is None


def test_volumes_of_one_series_are_listed_and_the_chosen_one_is_opened(service: Service, tmp_path: Path) -> None:
    def after(number: int, k: int, one: pydicom.Dataset) -> None:
        one.DiffusionBValue = (0.0, 500.0)[number]

    second = several(tmp_path / "diffusion", 2, after)[1]
    service.settings = replace(service.settings, roots=(tmp_path,))
    workbench = Workbench(service)
    asked = study_handlers.open_study(workbench, str(tmp_path / "diffusion"))
    assert asked.series is not None
    assert ["b 0 s/mm²" in asked.series[0][0], "b 500 s/mm²" in asked.series[1][0]] == [True, True]
    study_handlers.open_study(workbench, str(tmp_path / "diffusion"), series=asked.series[1][1])
    assert workbench.snapshot.study is not None
    np.testing.assert_array_equal(workbench.snapshot.study.array, second)


def test_two_volumes_in_a_zip_are_named_and_none_is_offered(
    make_workbench: Make, tmp_path: Path, study_path: Path
) -> None:
    workbench = make_workbench()
    workbench.service.settings = replace(workbench.service.settings, roots=(tmp_path,))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("before.nii.gz", "after.nii.gz"):
            archive.write(study_path, name)
    shown = study_handlers.open_study(workbench, "two.zip")
    assert shown.series is None
    assert "before.nii.gz" in shown.notice and "after.nii.gz" in shown.notice
    assert names(shown)  # what was open stays open


def test_what_was_noticed_while_a_study_was_read_is_told_beside_the_status(service: Service, study_path: Path) -> None:
    workbench = Workbench(service)
    shown = study_handlers.open_study(workbench, str(study_path))
    assert "Opened abdomen.nii.gz" in shown.notice
    assert workbench.snapshot.study is not None and workbench.snapshot.study.source is not None
    (note,) = workbench.snapshot.study.source.notes
    assert note.startswith("Taken for CT")
    assert html.escape(note) in shown.notice
    assert html.escape(note) in shown.study  # and stays there


def test_a_study_is_read_as_the_modality_that_a_person_says(service: Service, study_path: Path) -> None:
    workbench = Workbench(service)
    shown = study_handlers.open_study(workbench, str(study_path), modality="MR")
    assert "Opened abdomen.nii.gz" in shown.notice and "Taken for" not in shown.notice
    assert workbench.require_work().study.modality == "MR"


def test_a_dragged_box_lands_on_the_voxels_under_it(make_workbench: Make) -> None:
    workbench = make_workbench()
    message = {"kind": "box", "plane": "axial", "index": 20, "first": [90.4, 49.6], "last": [60.2, 80.1]}
    segment_handlers.on_viewer(workbench, message)
    (box,) = workbench.structure.prompts
    assert isinstance(box, Box)
    display = workbench.snapshot.displays[Plane.AXIAL]
    np.testing.assert_allclose(
        sorted([box.corner_lps_mm, box.opposite_lps_mm]),
        sorted([tuple(display.lps_at(20, 60, 80)), tuple(display.lps_at(20, 90, 50))]),
    )


def test_a_box_gives_a_preview_on_its_slice(make_workbench: Make) -> None:
    workbench = make_workbench()
    message = lesion_box(workbench)
    shown = segment_handlers.on_viewer(workbench, message)
    assert shown.can_undo
    assert shown.can_run
    axis = workbench.snapshot.displays[Plane.AXIAL].axis
    assert list(workbench.structure.previews) == [axis]
    assert list(workbench.structure.previews[axis]) == [message["index"]]
    document = slice_view(workbench, Plane.AXIAL, ViewRequest(message["index"]))
    assert [drawn["kind"] for drawn in document["prompts"]] == ["box"]


def test_a_scribble_lies_where_it_was_drawn_and_an_empty_one_is_refused(make_workbench: Make) -> None:
    workbench = make_workbench()
    drawn = {"kind": "scribble_out", "plane": "axial", "index": 20, "points": [[50, 40], [60, 40]]}
    segment_handlers.on_viewer(workbench, drawn)
    (line,) = workbench.structure.prompts
    assert isinstance(line, Scribble) and not line.positive
    display = workbench.snapshot.displays[Plane.AXIAL]
    expected = [display.lps_at(20, column, 40) for column in (50, 60)]
    np.testing.assert_allclose(line.positions_lps_mm, expected)
    for points in ([], [[500, 40]], [["a", 1]], 3):
        shown = segment_handlers.on_viewer(workbench, {**drawn, "points": points})
        assert "mv-error" in shown.notice
    assert len(workbench.structure.prompts) == 1


def test_undo_and_redo_go_back_and_forth_over_several_steps(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    for kind in ("negative", "positive"):
        segment_handlers.on_viewer(workbench, {"kind": kind, "plane": "axial", "index": 20, "first": [50, 40]})
    assert [type(prompt) for prompt in workbench.structure.prompts] == [Box, Click, Click]
    segment_handlers.undo(workbench)
    shown = segment_handlers.undo(workbench)
    assert len(workbench.structure.prompts) == 1
    assert shown.can_redo
    shown = segment_handlers.redo(workbench)
    (_, click) = workbench.structure.prompts
    assert isinstance(click, Click)
    assert not click.positive
    assert not segment_handlers.clear(workbench).can_run
    assert len(workbench.structure.prompts) == 0
    segment_handlers.on_viewer(workbench, {"kind": "undo", "plane": "axial", "index": 0})
    assert len(workbench.structure.prompts) == 2


def test_undo_without_a_step_says_so(make_workbench: Make) -> None:
    assert "Nothing to undo" in segment_handlers.undo(make_workbench()).notice


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "box", "plane": "diagonal", "index": 0},
        {"kind": "explode", "plane": "axial", "index": 0},
        {"kind": "positive", "plane": "axial", "index": 0, "first": [1]},
        {"kind": "positive", "plane": "axial", "index": 0, "first": [-4, 3]},
        {"kind": "positive", "plane": "axial", "index": 4000, "first": [4, 3]},
        {"kind": "positive", "plane": "axial", "index": 4, "first": ["nan", 3]},
        {"kind": "box", "plane": "axial", "index": 4, "first": [3, 3], "last": [3.2, 9]},
    ],
)
def test_a_message_that_makes_no_sense_changes_nothing(make_workbench: Make, message: dict[str, Any]) -> None:
    workbench = make_workbench()
    assert "mv-error" in segment_handlers.on_viewer(workbench, message).notice
    assert workbench.structure.steps.entries == ()


def test_only_negative_clicks_ask_for_more_and_are_no_error(make_workbench: Make) -> None:
    shown = segment_handlers.on_viewer(
        make_workbench(), {"kind": "negative", "plane": "axial", "index": 20, "first": [50, 40]}
    )
    assert "Now draw a box" in shown.notice
    assert "mv-error" not in shown.notice


def test_the_first_real_name_takes_the_place_of_the_unused_one(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert names(structure_handlers.begin(workbench, "lesion")) == ["lesion"]
    assert names(structure_handlers.begin(workbench, "vessel")) == ["lesion", "vessel"]
    assert "already" in structure_handlers.begin(workbench, "vessel").notice
    assert "mv-error" in structure_handlers.begin(workbench, "a/b").notice
    assert structure_handlers.choose(workbench, "lesion").structures["active"] == "lesion"
    assert structure_handlers.describe(workbench, "lesion", role="avoid").structures["structures"][0]["role"] == "avoid"
    assert "mv-error" in structure_handlers.describe(workbench, workbench.structure.name, role="destroy").notice


def test_a_run_gives_maps_a_volume_and_the_reason_it_stopped(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    seen: list[str] = []

    class Watch:
        is_cancelled = False

        def update(self, stage: str, done: int, total: int) -> None:
            seen.append(stage)

    shown = segment_handlers.run_to_3d(workbench, 2, saliency=True, triplanar=False, progress=Watch())
    assert "mv-done" in shown.notice
    assert " ml" in shown.result
    assert "stopped at slice" in shown.result
    assert len(set(seen)) >= 2
    middle = {
        plane: workbench.snapshot.slice_of(plane, tuple(LESION_LPS_MM)) for plane in (Plane.CORONAL, Plane.SAGITTAL)
    }
    assert set(shown.scene["go_to"]) == {"coronal", "sagittal"}  # the axial slice being looked at stays
    assert all(abs(shown.scene["go_to"][plane.value] - index) <= 2 for plane, index in middle.items())
    keys = [key for key, _ in shown.scene["overlays"]]
    assert keys == ["outline", "fill", "probability", "uncertainty", "boundary_spread_mm", "saliency"]
    for key in keys[2:]:
        document = slice_view(workbench, Plane.CORONAL, ViewRequest(57, key))
        assert document["bar"]["unit"]
    undone = segment_handlers.undo(workbench)
    assert undone.structures["structures"][0]["state"] == "stale"


def test_the_order_in_which_sources_of_uncertainty_are_ticked_does_not_count(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    seen = []
    for ticked in (["dropout", "jitter"], ["jitter", "dropout"], ["jitter"]):
        shown = segment_handlers.run_to_3d(workbench, 2, ticked, saliency=False, triplanar=False)
        assert "mv-done" in shown.notice
        result = workbench.structure.result
        assert result is not None and result.uncertainty is not None
        seen.append((result.provenance.uncertainty, result.uncertainty.array.tobytes()))
    assert [name for name, _ in seen] == ["dropout+jitter", "dropout+jitter", "jitter"]
    assert seen[0] == seen[1] != seen[2]
    assert "2 stochastic passes: prompt (jitter)." in shown.result


def test_runs_need_a_source_and_none_do_without(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    asked = segment_handlers.run_to_3d(workbench, 2, [], saliency=False, triplanar=False)
    assert "Tick at least one source" in asked.notice
    assert workbench.structure.result is None
    assert "mv-done" in segment_handlers.run_to_3d(workbench, 0, [], saliency=False, triplanar=False).notice


def test_planes_are_a_source_only_where_there_are_several(make_workbench: Make) -> None:
    assert [name for _, name in source_choices(triplanar=False)] == ["dropout", "jitter", "augment"]
    assert [name for _, name in source_choices(triplanar=True)] == list(SOURCES)
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    refused = segment_handlers.run_to_3d(workbench, 2, ["triplanar"], saliency=False, triplanar=False)
    assert "three planes" in refused.notice


def test_a_tilted_study_is_offered_to_be_straightened_in_the_words_of_the_page(
    service: Service, study_path: Path
) -> None:
    image = nibabel.load(study_path)
    tilted = study_path.with_name("tilted.nii.gz")
    shear = np.eye(4)
    shear[1, 2] = 0.2
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), shear @ image.affine), tilted)
    workbench = Workbench(service)
    shown = study_handlers.open_study(workbench, str(tilted))
    assert shown.offers_straightening
    assert "Straighten the gantry tilt" in shown.notice
    assert "mv-done" in study_handlers.open_study(workbench, str(tilted), resample_tilt=True).notice


def test_a_cancelled_run_says_so_and_keeps_the_prompts(make_workbench: Make) -> None:
    workbench = make_workbench()
    segment_handlers.on_viewer(workbench, lesion_box(workbench))

    class Stop:
        is_cancelled = True

        def update(self, stage: str, done: int, total: int) -> None:
            return None

    shown = segment_handlers.run_to_3d(workbench, 0, saliency=False, triplanar=False, progress=Stop())
    assert "Stopped" in shown.notice
    assert workbench.structure.result is None
    assert len(workbench.structure.prompts) == 1


def test_prompts_of_a_file_are_taken_over_with_what_was_undone(make_workbench: Make, tmp_path: Path) -> None:
    first = make_workbench()
    structure_handlers.begin(first, "lesion")
    segment_handlers.on_viewer(first, lesion_box(first))
    segment_handlers.on_viewer(first, {"kind": "negative", "plane": "axial", "index": 20, "first": [50, 40]})
    segment_handlers.undo(first)
    saved = tmp_path / "prompts.json"
    write_prompt_file(saved, PromptFile((first.structure.steps.log(),)))
    second = make_workbench()
    shown = study_handlers.resume(second, saved)
    assert names(shown) == ["lesion"]
    assert second.structure.steps.log() == first.structure.steps.log()
    assert shown.can_redo
    assert second.structure.previews
    assert "mv-error" in study_handlers.resume(second, saved.with_name("absent.json")).notice


def test_every_prompt_is_on_the_disk_when_it_is_shown(make_workbench: Make) -> None:
    workbench = make_workbench()
    for kind in ("positive", "negative"):
        segment_handlers.on_viewer(workbench, {"kind": kind, "plane": "axial", "index": 20, "first": [50, 40]})
        work = workbench.require_work()
        again = Work(work.folder, work.identifier, work.study, workbench.service.audit)
        assert again.log("structure 1") == workbench.structure.steps.log()


def test_two_pages_share_nothing(service: Service, study_path: Path) -> None:
    pages = Pages(service)
    one, other = pages.begin("page 1"), pages.begin("page 2")
    study_handlers.open_study(one, str(study_path))
    assert one.token != other.token
    assert other.snapshot.study is None
    study_handlers.open_study(other, str(study_path))
    segment_handlers.on_viewer(one, lesion_box(one))
    other.refresh()
    assert (len(one.structure.prompts), len(other.structure.prompts)) == (1, 0)
    pages.leave("page 1")
    pages.expire(now=time.time() + EXPIRY_S + 60)
    assert pages.find(other.token) is other
    with pytest.raises(MedsamPlannerError, match="Reload"):
        pages.find(one.token)


def test_a_second_change_waits_its_turn_and_says_so(make_workbench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    workbench = make_workbench()
    monkeypatch.setattr("medsam_planner.service.step_order.PATIENCE_S", 0.05)
    begun, done = threading.Event(), threading.Event()

    def compute() -> None:
        with workbench.changing():
            begun.set()
            done.wait(10)

    worker = threading.Thread(target=compute)
    worker.start()
    begun.wait(10)
    try:
        assert "still running" in segment_handlers.undo(workbench).notice
    finally:
        done.set()
        worker.join()
