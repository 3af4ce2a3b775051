"""The service as the doors call it: what it computes is what a local session computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medsam_planner import Session, load_volume
from medsam_planner.errors import NotThereError
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.settings import Settings
from prompts import PromptFile, PromptLog
from prompts.json_text import plain_json
from prompts.schema import prompt_file_document
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
