"""A server that names nobody: no banner, no description, no name of a file; without the choice, as the files say."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.io.patient_identity import identity_rows
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.worker_memory import WorkerMemory
from medsam_planner.service.settings import Settings
from medsam_planner.service.studies import open_study
from medsam_planner.service.workbench import Workbench
from tests.medsam_planner.io.dicom_series import write_ct_series
from ui.canvas import scene
from ui.html_parts import study_html

NAMED = {"PatientName": "Roe^Jane", "PatientID": "0815", "StudyDate": "20240131", "SeriesDescription": "Abdomen of Roe"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 3, 2, 2, 1
    write_ct_series(tmp_path / "Roe_Jane", np.zeros((12, 40, 40), dtype=np.float32), affine, **NAMED)
    return tmp_path / "Roe_Jane"


def shown(settings: Settings, model: str) -> str:
    """What the page says of the study that it has open, and of the one that it begins with."""
    with closing(Service(settings)) as service:
        workbench = Workbench(service)
        open_study(workbench, str(settings.study))
        study = workbench.snapshot.study
        assert study is not None
        told = [study_html(study), json.dumps(scene(workbench)), workbench.require_work().study.name]
        key = service.computations._study(workbench.require_work())
        assert identity_rows(WorkerMemory(1 << 30, 1 << 30).volume(key)) == identity_rows(study)
        return " ".join([*told, settings.study_name])


def test_a_server_that_names_nobody_shows_no_trace_of_the_patient_and_may_be_restarted_as_either(
    place: Path, model: str, tmp_path: Path
) -> None:
    silent = Settings(out=tmp_path / "data", model=model, study=place, is_identified=False)
    says = Settings(out=tmp_path / "data", model=model, study=place)
    for settings, is_named in ((silent, False), (says, True), (silent, False)):
        text = shown(settings, model)
        for value in ("Roe, Jane", "0815", "2024-01-31", "Abdomen", "Roe_Jane"):
            assert (value in text) == is_named, (value, is_named)


def test_a_pacs_is_not_asked_by_a_server_that_names_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ui", "--deidentified", "--pacs", str(tmp_path / "pacs.toml"), "--data", str(tmp_path / "data")]) == 2
    assert "Expected --deidentified without --pacs" in capfd.readouterr().err
