"""A plan from the workbench: what is missing is said, what was found is written, what is outdated is forgotten."""

from __future__ import annotations

import json
import math
import secrets
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index, volume_ml
from medsam_planner.io.body import body_mask
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.provenance import PlanOrigin, PropagationTrace
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.plan_inputs import request_of
from medsam_planner.service.plan_writing import unfinished_writing
from medsam_planner.service.results import archive_path, report_path
from medsam_planner.service.saved_result import write_result
from medsam_planner.service.showing import results_digest
from medsam_planner.service.slice_layers import layers
from medsam_planner.service.waiting import wait_for
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import array_sha256, volume_like
from medsam_planner.workflow.plan_request import PlanInputs, resolve
from prompts import Click
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.provenances import provenance
from ui import export_handlers, plan_handlers, segment_handlers, structure_handlers
from ui.screen import screen

Make = Callable[[], Workbench]
NUMBERS = {"target_radius_mm": 2.0, "entry_radius_mm": 15.0, "tool_radius_mm": 1.0, "base_margin_mm": 2.0}
SKIN_LPS_MM = (-106.0, -4.0, 0.0)


def places(volume: highdicom.Volume) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, volume.spatial_shape), indexing="ij"), axis=-1)
    return lps_from_index(volume.affine, index)


def put(workbench: Workbench, result: SegmentationResult) -> None:
    """Give the active structure a result as if a job had made it."""
    work, structure, job = workbench.require_work(), workbench.structure, secrets.token_hex(16)
    made = replace(result.provenance, mask_sha256=array_sha256(result.mask.array))
    write_result(result_path(work, job), replace(result, provenance=made))
    work.record("job", job=job, task="segment", structure=structure.name, digest=structure.steps.digest, options={})
    volume = volume_ml(result.mask.array, result.mask.affine)
    summary = {"mask_sha256": "", "volume_ml": volume, "samples": made.samples, "triplanar": False}
    work.record("job-ended", job=job, state="done", result=summary)
    workbench.refresh()


def make_stale(workbench: Workbench) -> None:
    """Add a click that changes nothing but the prompts."""
    workbench.change_steps("prompt", entry_of(Click((0.0, 0.0, 0.0), False)))


def inputs_of(workbench: Workbench, **stated: str) -> PlanInputs:
    """What the plan is made from; entries of the results' provenance can be replaced."""
    evidence = {
        one.name: StructureEvidence.of_result(
            replace(result, provenance=replace(result.provenance, **stated)), one.steps.log()
        )
        for one in workbench.snapshot.structures.values()
        if (result := one.result) is not None
    }
    study = workbench.snapshot.study
    assert study is not None
    return resolve(request_of(workbench), study, evidence, origin=PlanOrigin(page=True))


def plan_folder(workbench: Workbench) -> Path:
    return report_path(workbench).parent


def await_report(workbench: Workbench) -> None:
    """Wait until surfaces and report of the plan are there."""
    job = unfinished_writing(workbench.service, workbench.require_work())
    assert job is not None
    wait_for(workbench.service.jobs, job.identifier, None)
    workbench.refresh()


def with_vessel(workbench: Workbench) -> Workbench:
    """The phantom's vessel as if it had been segmented in 3D, to be avoided; the true cylinder of radius 5 mm."""
    structure_handlers.begin(workbench, "vessel")
    study = workbench.snapshot.study
    assert study is not None
    x, y, z = np.moveaxis(places(study), -1, 0)
    distance = np.hypot(x + 62, y + 24 - 0.15 * z)
    workbench.change_steps("prompt", entry_of(Click((-62.0, -24.0, 0.0))))
    result = SegmentationResult(
        structure="vessel",
        mask=volume_like(study, distance < 5),
        probability=volume_like(study, (1 / (1 + np.exp(2 * (distance - 5)))).astype(np.float32)),
        trace=PropagationTrace(0, ()),
        boundary_spread_mm=volume_like(study, np.full(distance.shape, 0.5, dtype=np.float32)),
        provenance=provenance(),
    )
    put(workbench, result)
    structure_handlers.describe(workbench, workbench.structure.name, role="avoid")
    return workbench


def aimed(workbench: Workbench) -> Workbench:
    x, y, z = LESION_LPS_MM.tolist()
    workbench.set_end(target=(x, y, z), entry=SKIN_LPS_MM)
    return workbench


def test_what_is_missing_is_asked_for_in_turn(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert "target is missing" in plan_handlers.find_paths(workbench, NUMBERS).notice
    workbench.set_end(target=(-30.0, -10.0, 0.0))
    assert "entry is missing" in plan_handlers.find_paths(workbench, NUMBERS).notice
    workbench.set_end(entry=SKIN_LPS_MM)
    assert "No structure is part of the plan" in plan_handlers.find_paths(workbench, NUMBERS).notice
    structure_handlers.describe(workbench, workbench.structure.name, role="avoid")
    assert "Segment it in 3D first" in plan_handlers.find_paths(workbench, NUMBERS).notice


def test_a_mask_whose_prompts_changed_is_not_planned_on(make_workbench: Make) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    make_stale(workbench)
    assert "changed since it was segmented" in plan_handlers.find_paths(workbench, NUMBERS).notice


@pytest.mark.parametrize("value", [None, -1.0, math.nan, "2", True])
def test_a_field_that_holds_no_length_is_refused(make_workbench: Make, value: object) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    shown = plan_handlers.find_paths(workbench, {**NUMBERS, "tool_radius_mm": value})
    assert "at least 0 for tool radius mm" in shown.notice


def test_an_entry_far_from_the_skin_is_refused(make_workbench: Make) -> None:
    workbench = with_vessel(make_workbench())
    workbench.set_end(target=(-30.0, -10.0, 0.0), entry=(-30.0, -10.0, 0.0))
    assert "No surface of the skin lies within 15 mm" in plan_handlers.find_paths(workbench, NUMBERS).notice


def test_the_margin_follows_the_spread_and_is_capped(make_workbench: Make) -> None:
    """2 + 2 × 0.5 = 3 mm everywhere; capped at 2.5; 2 mm where there were no passes."""
    workbench = aimed(with_vessel(make_workbench()))

    def margin(result: SegmentationResult, **numbers: float) -> highdicom.Volume | float:
        workbench.set_draft(replace(workbench.draft, base_margin_mm=2.0, margin_factor=2.0, **numbers))
        put(workbench, result)
        return inputs_of(workbench).problem.structures[0].margin_mm

    result = workbench.structure.result
    assert result is not None
    for cap_mm, expected in ((8.0, 3.0), (2.5, 2.5)):
        found = margin(result, margin_cap_mm=cap_mm)
        assert isinstance(found, highdicom.Volume)
        assert np.unique(found.array).tolist() == [expected]
    assert margin(replace(result, boundary_spread_mm=None), margin_cap_mm=8.0) == 2.0


def test_the_body_of_the_phantom_is_its_ellipse(make_workbench: Make) -> None:
    study = make_workbench().snapshot.study
    assert study is not None
    x, y, _ = np.moveaxis(places(study), -1, 0)
    inside = (x / 108) ** 2 + (y / 84) ** 2 < 1
    body = body_mask(study).array
    assert np.count_nonzero(body != inside) < 0.01 * np.count_nonzero(inside)


def test_a_corridor_is_entered_through_its_own_surface(make_workbench: Make) -> None:
    workbench = with_vessel(make_workbench())
    structure_handlers.describe(workbench, workbench.structure.name, role="inside")
    workbench.set_end(target=(-62.0, -24.0, 0.0), entry=(-62.0, -19.0, 0.0))
    assert "“outside after entry (mm)”" in plan_handlers.find_paths(workbench, NUMBERS).notice
    workbench.set_draft(workbench.draft.with_numbers({"free_entry_mm": 3.0}))
    inputs = inputs_of(workbench)
    assert [one.free_entry_mm for one in inputs.request.structures] == [3.0]
    distance = np.hypot(
        inputs.problem.entry.points_lps_mm[:, 0] + 62,
        inputs.problem.entry.points_lps_mm[:, 1] + 24 - 0.15 * inputs.problem.entry.points_lps_mm[:, 2],
    )
    assert ((distance > 2.5) & (distance < 5)).all()
    assert "skin" not in inputs.masks


def test_a_plan_is_found_written_shown_and_forgotten_when_it_no_longer_holds(make_workbench: Make) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    shown = plan_handlers.find_paths(workbench, NUMBERS)
    assert "mv-caution" in shown.notice and "path(s) found" in shown.notice, shown.notice
    assert shown.plan_summary.index("cautions") < shown.plan_summary.index("alternatives")
    assert workbench.snapshot.plan is not None
    assert workbench.snapshot.plan.feasible
    assert 'id="alternatives"' in shown.plan_summary
    assert "being written" in shown.links and shown.scene["space"]["is_drawing"]  # nobody waits for pictures
    assert "being written" in screen(workbench).scene["review"]["report"]
    await_report(workbench)
    there = screen(workbench)
    assert "report.html" in there.links and "being written" not in there.links and not there.scene["review"]["report"]
    assert {one["kind"] for one in there.scene["space"]["surfaces"]} == {"structure", "widened", "risk", "entered"}
    assert not there.scene["space"]["is_drawing"]
    assert len(shown.alternatives) == len(workbench.snapshot.plan.alternatives)
    best = workbench.snapshot.plan.alternatives[0]
    written = json.loads((plan_folder(workbench) / "plan.json").read_text(encoding="utf-8"))
    assert written["alternatives"][0]["certified_clearance_mm"] == pytest.approx(best.certified_clearance_mm)
    line = np.array([best.entry_lps_mm, best.target_lps_mm])
    np.testing.assert_array_equal(workbench.snapshot.chosen_trajectory_lps_mm, line)
    # The way in goes past the vessel by at least what was certified: margin 3 mm, tool 1 mm, its error 1.5 mm or more.
    along = line[0] + np.linspace(0, 1, 400)[:, None] * (line[1] - line[0])
    gap = np.hypot(along[:, 0] + 62, along[:, 1] + 24 - 0.15 * along[:, 2]).min() - 5
    assert gap > best.certified_clearance_mm + 3 + 1 + 1.5 - 1.5  # half a voxel diagonal of the mask's staircase
    now = workbench.snapshot
    assert shown.scene["go_to"]["axial"] == now.slice_of(next(iter(now.displays)), best.target_lps_mm)

    digest = results_digest(workbench.require_work().state)
    workbench.record(download={"of": digest, "job": "earlier", "notes": ["a mesh was missing"]})
    assert "a mesh was missing" in screen(workbench).download
    packed = export_handlers.pack(workbench)
    assert "a mesh was missing" not in packed.download
    assert "export.zip" in packed.download
    with zipfile.ZipFile(archive_path(workbench)) as archive:
        assert {"plan.json", "report.html", "prompts.json", "mask.nii.gz"} <= set(archive.namelist())
    if len(shown.alternatives) > 1:
        assert plan_handlers.choose_alternative(workbench, 1).chosen == 1
    assert "mv-error" in plan_handlers.choose_alternative(workbench, 99).notice

    make_stale(workbench)
    assert "Prompts changed since this plan" in screen(workbench).plan_summary
    segment_handlers.undo(workbench)
    assert "Prompts changed since this plan" not in screen(workbench).plan_summary
    after = structure_handlers.describe(workbench, workbench.structure.name, role="ignore")
    assert workbench.snapshot.plan is None
    assert after.alternatives == ()
    assert after.links == ""


def test_bone_that_nobody_segmented_is_kept_off_until_the_tick_is_taken_away(make_workbench: Make) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    workbench.set_end(target=(0.0, 20.0, 0.0), entry=(0.0, 84.0, 0.0))  # the spine lies between
    numbers = {**NUMBERS, "entry_radius_mm": 4.0}
    kept_off = plan_handlers.find_paths(workbench, numbers)
    assert kept_off.alternatives == ()
    assert "untick “Avoid unsegmented bone”" in kept_off.plan_summary
    through = plan_handlers.find_paths(workbench, numbers, avoid_bone=False)
    assert through.alternatives
    assert "mv-caution" in through.notice and "not everything along the path was checked" in through.notice
    assert 'class="mv-unchecked"' in through.plan_summary and "mm of unsegmented bone" in through.plan_summary
    assert workbench.snapshot.plan is not None and workbench.snapshot.plan.alternatives[0].crossings
    assert workbench.snapshot.assessment is not None and workbench.snapshot.assessment.verdict.kind == "unchecked"
    (path,) = (mark for mark in layers(workbench.snapshot).marks if mark.kind == "path")
    assert path.has_caution


def test_what_could_not_be_exported_is_told_beside_the_status_and_the_download(make_workbench: Make) -> None:
    workbench = with_vessel(make_workbench())
    shown = export_handlers.pack(workbench, ["label-map", "dicom-seg"])
    for place in (shown.notice, shown.download):
        assert "There is no DICOM Segmentation: it needs a study of DICOM files" in place
    with zipfile.ZipFile(archive_path(workbench)) as archive:
        assert archive.namelist() == ["labels.csv", "labels.nii.gz"]
    assert len(list((workbench.require_work().folder / "exports").iterdir())) == 1
    make_stale(workbench)
    assert "Left out: ‘vessel’" in export_handlers.pack(workbench, ["prompts"]).notice
    for wrong in ([], ["../x"], ["results", 5]):
        assert "Choose what to export" in export_handlers.pack(workbench, wrong).notice


def test_nothing_to_pack_is_said(make_workbench: Make) -> None:
    assert "Nothing was segmented in 3D" in export_handlers.pack(make_workbench()).notice


def test_a_plan_that_cannot_be_says_what_to_relax(make_workbench: Make) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    shown = plan_handlers.find_paths(workbench, {**NUMBERS, "max_length_mm": 20.0})
    assert workbench.snapshot.plan is not None
    assert not workbench.snapshot.plan.feasible
    assert "No path satisfies all limits" in shown.plan_summary
    assert "Raise the maximum length by" in shown.plan_summary
    assert shown.alternatives == ()
    await_report(workbench)
    assert report_path(workbench).is_file()
