"""The service as the doors call it: what it computes is what a local session computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medsam_planner import Session, load_volume
from medsam_planner.errors import NotThereError, PromptError
from medsam_planner.planning.clearance import clearance
from medsam_planner.planning.request import StructureRequest
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.tool import Tool
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.settings import Settings
from medsam_planner.workflow.plan_request import build_structure
from prompts import Click, PromptFile, PromptLog
from prompts.json_text import plain_json
from prompts.schema import prompt_file_document
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.medsam_planner.service.rest import lesion_box


@pytest.fixture(scope="module")
def service(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = Settings(out=tmp_path_factory.mktemp("data") / "service", model=model, roots=(study_path.parent,))
    with closing(Service(settings)) as service:
        yield service


@pytest.fixture
def work(service: Service, study_path: Path) -> Iterator[Work]:
    work, lease = service.open_session(service.open_path(study_path.name).identifier)
    yield work
    service.leases.release(work.identifier, lease)


def lesion_entry() -> dict[str, object]:
    log = PromptLog("lesion")
    log.add(lesion_box())
    document = plain_json(prompt_file_document(PromptFile((log,))), "prompt")
    return dict(document["structures"]["lesion"][0])


def test_a_preview_is_what_a_local_session_predicts_on_the_prompted_slice(
    service: Service, work: Work, model: str, study_path: Path
) -> None:
    work.add("lesion", lesion_entry())
    ours = service.preview(work, "lesion")

    local = Session(load_volume(study_path), model)
    local.add(lesion_box())
    theirs = local.preview()

    assert {axis: set(found) for axis, found in ours.items()} == {axis: set(found) for axis, found in theirs.items()}
    ((axis, found),) = ours.items()
    ((index, probability),) = found.items()
    assert (probability > 0.5).any()
    np.testing.assert_array_equal(probability, theirs[axis][index].probability)


def test_a_preview_of_prompts_that_only_say_where_the_structure_is_not_is_empty(service: Service, work: Work) -> None:
    work.add("lesion", {"kind": "click", "position_lps_mm": [0.0, 0.0, 1.25], "positive": False})
    assert service.preview(work, "lesion") == {}
    with pytest.raises(NotThereError):
        service.preview(work, "vessel")


def test_the_session_changed_last_is_listed_first_also_among_those_changed_within_a_second(
    service: Service, study_path: Path
) -> None:
    study = service.open_path(study_path.name).identifier
    works = [service.open_session(study) for _ in range(3)]
    assert [one.identifier for one in service.sessions()[:3]] == [one.identifier for one, _ in reversed(works)]
    works[0][0].add("lesion", lesion_entry())
    assert service.sessions()[0] is works[0][0]
    for one, lease in works:
        service.leases.release(one.identifier, lease)


def test_what_only_a_page_knows_and_replaced_prompts_are_in_the_journal(service: Service, work: Work) -> None:
    work.add("lesion", lesion_entry())
    log = PromptLog("lesion")
    for x in (-30.0, -28.0, -26.0):
        log.add(Click((x, -10.0, 1.25)))
    log.undo()
    work.replace_steps(PromptSteps.of_log(log))
    work.record("page", page={"active": "lesion", "structures": {"lesion": "avoid"}})
    work.record("page", page={"active": "vessel"})
    with pytest.raises(PromptError, match="study"):
        outside = PromptLog("lesion")
        outside.add(Click((9e3, 0.0, 0.0)))
        work.replace_steps(PromptSteps.of_log(outside))

    again = Work(work.folder, work.identifier, work.study)  # as after a restart
    assert again.log("lesion") == work.log("lesion") == log
    assert again.state.page == {"active": "vessel", "structures": {"lesion": "avoid"}}
    assert again.state.owner == "local"


def test_clearance_is_that_of_the_same_structure_in_this_process_however_often_it_is_asked(
    service: Service, work: Work, model: str, study_path: Path
) -> None:
    work.add("lesion", lesion_entry())
    job = service.segment(work, "lesion", SegmentOptions(samples=2))
    while not service.jobs.find(job).state.is_final:
        time.sleep(0.05)
    wanted = StructureRequest("lesion")
    volume = load_volume(study_path)
    local = Session(volume, model)
    local.add(lesion_box())
    result = local.segment(structure="structure", samples=2)
    structure, _ = build_structure(wanted, StructureEvidence.of_result(result), volume)
    entries = np.random.default_rng(0).uniform([-60, -80, -40], [60, 80, 40], (3, 20, 3))
    for number in range(3):
        lines = np.stack([entries[number], np.broadcast_to(LESION_LPS_MM, (20, 3))], axis=1)
        for _ in range(2):
            found = service.clearance(work, (wanted,), Tool(1.0), lines)
            np.testing.assert_array_equal(found.certified_mm, clearance(lines, [structure], Tool(1.0)).certified_mm)
