"""A plan request refuses nonsense in words, before anything is computed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.errors import MedsamPlannerError, PlanningError
from medsam_planner.planning import (
    BoneRule,
    EntryRequest,
    Limits,
    PlanRequest,
    SearchSettings,
    SpreadRule,
    StructureRequest,
    StructureRole,
    TargetRequest,
    Tool,
    ToolRequest,
    Weights,
)
from medsam_planner.planning.request_entry import request_from_entry
from medsam_planner.volumes import StudySource, StudyVolume

NEEDLE = ToolRequest(Tool(1.0, 0.0, 0.0), TargetRequest((40.0, 40.0, 30.0), 1.0))
SEARCH = SearchSettings(candidates=300, alternatives=1, hit_draws=10)


def study() -> StudyVolume:
    """A cylinder of soft tissue along the first axis, 2 mm voxels."""
    _, j, i = np.indices((30, 40, 40))
    hu = np.where(np.hypot(j - 20, i - 20) < 17, 40.0, -1000.0)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = 2.0
    affine[3, 3] = 1.0
    volume = highdicom.Volume(hu, affine, "PATIENT")
    return StudyVolume.from_volume(volume, StudySource(path=None, format="nifti", modality="CT"))


BAD = [
    lambda: TargetRequest(),
    lambda: TargetRequest((1.0, 2.0)),
    lambda: TargetRequest("abc"),
    lambda: TargetRequest((1.0, 2.0, math.nan)),
    lambda: TargetRequest((1.0, 2.0, 3.0), math.inf),
    lambda: TargetRequest((1.0, 2.0, 3.0), -100.0),
    lambda: TargetRequest((1.0, 2.0, 3.0), 1e6),
    lambda: TargetRequest((1.0, 2.0, 1e300)),
    lambda: EntryRequest(centre_lps_mm=(0.0, 0.0, 0.0), radius_mm=1e20),
    lambda: StructureRequest("bone", StructureRole.INSIDE, free_entry_mm=1e20),
    lambda: SpreadRule(base_mm=1e20, cap_mm=1e20),
    lambda: SpreadRule(cap_mm=1e39),
    lambda: SpreadRule(factor=1e39),
    lambda: SpreadRule(base_mm=math.nan),
    lambda: BoneRule(margin_mm=1e20),
    lambda: BoneRule(margin_mm=math.nan),
    lambda: Limits(min_clearance_mm=-1e20),
    lambda: Limits(min_length_mm=1e20, max_length_mm=1e30),
    lambda: SearchSettings(min_separation_mm=1e20),
    lambda: PlanRequest((NEEDLE,), min_tool_gap_mm=1e20),
    lambda: EntryRequest(centre_lps_mm=(0.0, 0.0, 0.0)),
    lambda: EntryRequest(centre_lps_mm=(0.0, 0.0, 0.0), radius_mm=math.nan),
    lambda: StructureRequest("vessel", "avoid"),
    lambda: StructureRequest("", StructureRole.AVOID),
    lambda: StructureRequest("unsegmented_bone"),
    lambda: StructureRequest("vessel", free_entry_mm=3.0),
    lambda: StructureRequest("vessel", margin=2.0),
    lambda: SpreadRule(base_mm=3.0, cap_mm=2.0),
    lambda: SearchSettings(candidates=-1),
    lambda: SearchSettings(alternatives=0),
    lambda: SearchSettings(seed=-1),
    lambda: ToolRequest(1.0, TargetRequest((1.0, 2.0, 3.0))),
    lambda: ToolRequest(Tool(1.0), None),
    lambda: ToolRequest(Tool(1.0), TargetRequest((1.0, 2.0, 3.0)), "skin"),
    lambda: ToolRequest(Tool(1.0), TargetRequest((1.0, 2.0, 3.0)), name=""),
    lambda: ToolRequest(Tool(0.0), TargetRequest((1.0, 2.0, 3.0))),
    lambda: ToolRequest(Tool(100.0), TargetRequest((1.0, 2.0, 3.0))),
    lambda: PlanRequest((NEEDLE,), search=SearchSettings(candidates=3)),
    lambda: PlanRequest((NEEDLE,), search=SearchSettings(alternatives=21)),
    lambda: Weights(clearance=math.nan),
    lambda: Limits(max_length_mm=math.nan),
    lambda: PlanRequest(()),
    lambda: PlanRequest((NEEDLE,), min_tool_gap_mm=-99.0),
    lambda: PlanRequest((NEEDLE, NEEDLE)),
    lambda: PlanRequest((NEEDLE,), (StructureRequest("vessel"), StructureRequest("vessel"))),
    lambda: PlanRequest((NEEDLE,), (StructureRequest("skin"),)),
    lambda: PlanRequest((NEEDLE,), bone_rule=None),
    lambda: PlanRequest("needle"),
    lambda: mp.plan({}, study(), {}),
    lambda: mp.plan(PlanRequest((NEEDLE,)), "ct/", {}),
    lambda: mp.plan(PlanRequest((NEEDLE,), (StructureRequest("vessel"),)), study(), {}),
    lambda: mp.plan(PlanRequest((NEEDLE,), (StructureRequest("vessel"),)), study(), {"vessel": np.zeros((3, 3, 3))}),
    lambda: mp.plan(
        PlanRequest((NEEDLE,)), study(), {"unsegmented_bone": study().with_array(np.ones((30, 40, 40)) > 0)}
    ),
]


@pytest.mark.parametrize("make", BAD)
def test_nonsense_is_refused_in_words(make):
    with pytest.raises(MedsamPlannerError) as refused:
        make()
    assert "xpected" in str(refused.value)


def test_an_array_is_a_position_and_the_document_is_json():
    request = PlanRequest(
        (ToolRequest(Tool(1.0, 0.0, 0.0), TargetRequest(np.array([40.0, 40.0, 30.0]), 1.0)),), search=SEARCH
    )
    made = mp.plan(request, study(), {})
    json.dumps(made.document(), allow_nan=False)
    assert request.tools[0].target.point_lps_mm == (40.0, 40.0, 30.0)


def test_every_tool_stands_in_the_document_when_one_has_no_path():
    _, j, i = np.indices((30, 40, 40))
    vessel = np.hypot(j - 20, i - 12) < 4
    first = ToolRequest(Tool(0.5, 0.0, 0.0), TargetRequest((56.0, 40.0, 30.0), 1.0), name="free")
    blocked = ToolRequest(Tool(0.5, 0.0, 0.0), TargetRequest((30.0, 40.0, 24.0), 0.5), name="blocked")
    request = PlanRequest((first, blocked), (StructureRequest("vessel"),), search=SEARCH)
    made = mp.plan(request, study(), {"vessel": study().with_array(vessel)})
    assert not made.feasible
    assert [(tool["name"], tool["feasible"]) for tool in made.document()["tools"]] == [
        ("free", True),
        ("blocked", False),
    ]
    assert made.document()["name"] == "free" and made.document()["feasible"] is False
    assert made.assessment.verdict.kind == "infeasible"


def test_numbers_of_numpy_end_as_plain_json_values():
    search = SearchSettings(candidates=np.int64(300), alternatives=1, hit_draws=10, seed=np.int64(3))
    needle = ToolRequest(Tool(np.float32(1.0), 0.0, 0.0), TargetRequest((40.0, 40.0, 30.0), np.float64(1.0)))
    made = mp.plan(PlanRequest((needle,), search=search), study(), {})
    json.dumps(made.document(), allow_nan=False)


def test_a_mask_on_a_finer_grid_or_stored_in_another_order_gives_the_same_plan_as_on_the_grid():
    _k, j, i = np.indices((30, 40, 40))
    vessel = study().with_array(np.hypot(j - 20, i - 12) < 3)
    request = PlanRequest((NEEDLE,), (StructureRequest("vessel"),), search=SEARCH)
    found = [
        mp.plan(request, study(), {"vessel": mask}).document()["alternatives"]
        for mask in (vessel, vessel.flip_spatial(1))
    ]
    assert found[0] and found[0] == found[1]


def test_a_ct_that_was_built_in_python_has_a_bone_density():
    plain = highdicom.Volume(study().array, study().affine, "PATIENT")
    made = mp.plan(PlanRequest((NEEDLE,), search=SEARCH), plain, {})
    assert made.alternatives[0].bone_density_hu == pytest.approx(40.0)


def test_what_is_said_of_the_skin_of_an_mr_is_in_the_document():
    rng = np.random.default_rng(0)
    _, j, i = np.indices((30, 40, 40))
    bright = np.where(np.hypot(j - 20, i - 20) < 17, 300.0, 5.0) + rng.uniform(0, 5, (30, 40, 40))
    made = mp.plan(PlanRequest((NEEDLE,), search=SEARCH), highdicom.Volume(bright, study().affine, "PATIENT"), {})
    assert any("skin" in note for note in made.document()["notes"])


@pytest.mark.parametrize("name", ["landmarks", "registration"])
def test_a_request_that_names_a_file_is_not_read_back_without_it(name: str) -> None:
    tool = ToolRequest(
        Tool(radius_mm=1.0), target=TargetRequest(point_lps_mm=(0, 0, 0)), entry=EntryRequest(structure="bone")
    )
    plain = PlanRequest(tools=(tool,))
    assert request_from_entry(plain.as_entry()) == plain
    named = PlanRequest(tools=(tool,), **{name: Path("folder/file.json")})
    with pytest.raises(PlanningError, match=f"without a file of its own \\({name}\\)"):
        request_from_entry(named.as_entry())
