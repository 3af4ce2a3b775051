"""The model's other answers and the next best click: offered, chosen as a step, kept by the first correction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import PromptError, StaleError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io.nifti import save_nifti
from medsam_planner.provenance import PropagationTrace, SliceRecord, SliceRole, StopReason
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service import prompting, studies
from medsam_planner.service.answers import answers, choose_answer
from medsam_planner.service.core.alternatives import Answer, distinct
from medsam_planner.service.core.service import Service
from medsam_planner.service.display import Plane
from medsam_planner.service.next_click import next_clicks
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import volume_like
from prompts import Box
from tests.medsam_planner.memory_studies import AFFINE, PROMPTED, SHAPE, study, write_memory_weights
from tests.medsam_planner.service.rest import TOKEN, lesion_box, serving
from tests.provenances import provenance


@pytest.fixture(scope="module")
def memory_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("memory")
    weights = write_memory_weights(folder / "memory.safetensors")
    save_nifti(study(), folder / "ball.nii.gz")
    with closing(Service(Settings(out=folder / "data", model=str(weights), roots=(folder,)))) as service:
        yield service


@pytest.fixture
def workbench(memory_service: Service) -> Workbench:
    made = Workbench(memory_service)
    studies.open_study(made, str(memory_service.settings.roots[0] / "ball.nii.gz"))
    display = made.snapshot.displays[Plane.AXIAL]
    corners = [display.screen_from_index((PROMPTED, *at))[:2].tolist() for at in ((12, 10), (36, 34))]
    prompting.draw_box(made, Plane.AXIAL, PROMPTED, tuple(corners[0]), tuple(corners[1]))
    return made


def shown(workbench: Workbench) -> np.ndarray:
    (found,) = workbench.structure.previews[0].values()
    return found


def test_an_answer_is_chosen_undone_replayed_and_kept_by_the_first_correction(workbench: Workbench) -> None:
    offered = answers(workbench)
    numbers = [one["candidate"] for one in offered["answers"]]
    assert offered["chosen"] == 0 and len(numbers) >= 2
    assert offered["index"] == PROMPTED and offered["plane"] == "axial"
    best = shown(workbench).copy()
    choose_answer(workbench, numbers[1])
    chosen = shown(workbench).copy()
    assert (chosen != best).any()
    assert answers(workbench)["chosen"] == numbers[1]
    work = workbench.require_work()
    assert work.state.steps[workbench.snapshot.active].entries[-1] == {"kind": "choice", "answer": numbers[1]}

    prompting.undo(workbench)
    np.testing.assert_array_equal(shown(workbench), best)
    prompting.redo(workbench)
    again = Pages(workbench.service).take_up("another page", workbench.key)
    assert again is not None
    again.refresh()
    np.testing.assert_array_equal(shown(again), chosen)

    display = again.snapshot.displays[Plane.AXIAL]
    column, row, _ = display.screen_from_index((PROMPTED, 24, 22)).tolist()
    prompting.click(again, Plane.AXIAL, PROMPTED, column, row, positive=True)
    box = again.structure.prompts[0]
    assert isinstance(box, Box) and box.candidate == numbers[1]
    assert answers(again)["answers"] == []  # a correction means one thing


def test_an_answer_that_is_not_there_changes_nothing(workbench: Workbench) -> None:
    before = workbench.structure.steps
    for number in (-1, 7, 10**9):
        with pytest.raises(PromptError, match="no answer"):
            choose_answer(workbench, number)
    assert workbench.structure.steps is before


def test_answers_that_look_alike_are_one_and_the_chosen_one_stays() -> None:
    disc = np.zeros((20, 20), dtype=bool)
    disc[4:16, 4:16] = True
    ring, nearly = disc.copy(), disc.copy()
    ring[7:13, 7:13] = False
    nearly[4, 4] = False
    offered = [Answer(n, 0.9 - n / 10, mask) for n, mask in enumerate((disc, nearly, ring, np.zeros_like(disc)))]
    assert [one.candidate for one in distinct(offered, 0)] == [0, 2]
    assert [one.candidate for one in distinct(offered, 1)] == [0, 1, 2]


def test_a_program_gets_answers_and_next_clicks(model: str, study_path: Path, tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "data", model=model, roots=(study_path.parent,))
    with serving(settings, token=TOKEN) as address, Client(address, token=TOKEN) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        offered = session.alternatives("lesion")
        assert offered["chosen"] in [one["answer"] for one in offered["answers"]]
        session.choose("lesion", offered["answers"][0]["answer"])
        with pytest.raises(StaleError):
            session.next_clicks("lesion")
        session.segment("lesion", samples=0)
        first = session.next_clicks("lesion")[0]
        assert first["why"] == "quality" and len(first["position_lps_mm"]) == 3
        assert "Click this point" in first["words"]


def of_slices(quality: dict[int, float | None], *, stop: StopReason | None = None) -> SegmentationResult:
    """A column of slices with these predicted IoUs, prompted on the first of them; propagation ended above it."""
    inside = np.zeros(SHAPE, dtype=bool)
    inside[list(quality), 18:30, 16:28] = True
    records = [
        SliceRecord(at, SliceRole.PROPAGATED if number else SliceRole.ANCHOR, at - 1, 1.0, 9.0, 0.0, iou, 0.1)
        for number, (at, iou) in enumerate(quality.items())
    ]
    if stop is not None:
        records.append(SliceRecord(max(quality) + 1, SliceRole.STOPPED, max(quality), 0.1, 0.0, 0.0, 0.2, 0.1, stop))
    mask = volume_like(study(), inside)
    probability = volume_like(study(), inside.astype(np.float32))
    return SegmentationResult("ball", mask, probability, PropagationTrace(0, tuple(records)), provenance())


def test_without_passes_the_slice_with_the_least_expected_overlap_comes_first() -> None:
    first, *_ = next_clicks(of_slices({4: 0.9, 5: 0.8, 6: 0.5, 7: 0.7}))
    assert (first.index[0], first.why, first.value) == (6, "quality", 0.5)
    assert "50 % overlap" in first.words and "no stochastic passes" in first.words
    np.testing.assert_allclose(first.position_lps_mm, lps_from_index(AFFINE, np.array(first.index)))


def test_without_predicted_quality_it_is_the_slice_farthest_from_the_prompts() -> None:
    first, *_ = next_clicks(of_slices({4: None, 5: None, 6: None, 7: None}))
    assert (first.index[0], first.why, first.value) == (7, "distance", 6.0)


def test_where_propagation_gave_up_is_proposed_and_where_the_structure_vanished_is_not() -> None:
    proposed = next_clicks(of_slices({4: 0.9, 5: 0.8}, stop=StopReason.LOW_QUALITY))
    assert [(one.why, one.index[0]) for one in proposed] == [("quality", 5), ("end", 6)]
    vanished = next_clicks(of_slices({4: 0.9, 5: 0.8}, stop=StopReason.EMPTY))
    assert [one.why for one in vanished] == ["quality"]


def test_an_empty_mask_has_no_next_click() -> None:
    result = of_slices({4: 0.9})
    result.mask.array[:] = False
    with pytest.raises(PromptError):
        next_clicks(result)
