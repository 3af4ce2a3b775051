"""A synthetic study, the workbench on it, and a running server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medsam_planner.errors import WeightsError
from medsam_planner.service import studies
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.service import Service
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from tests.medsam_planner.service.phantom import write_phantom


@pytest.fixture(scope="session")
def model() -> str:
    """The shipped weights; ``MEDSAM_PLANNER_TEST_MODEL`` names others."""
    from medsam_planner.engine.registry import load_model

    name = os.environ.get("MEDSAM_PLANNER_TEST_MODEL", "compact")
    try:
        load_model(name)
    except WeightsError as error:
        pytest.skip(f"needs weights: {error}")
    return name


@pytest.fixture(scope="session")
def study_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as NIfTI."""
    return write_phantom(tmp_path_factory.mktemp("studies") / "abdomen.nii.gz")


@pytest.fixture
def settings(model: str, study_path: Path, tmp_path: Path) -> Settings:
    """Reads studies below the phantom's folder only."""
    return Settings(out=tmp_path / "runs", model=model, roots=(study_path.parent,))


@pytest.fixture(scope="session")
def running_service(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for many tests: its workers take seconds to begin."""
    settings = Settings(out=tmp_path_factory.mktemp("data") / "runs", model=model, roots=(study_path.parent,))
    with closing(Service(settings, Limits(sessions=1000))) as service:
        yield service


@pytest.fixture
def service(running_service: Service) -> Iterator[Service]:
    """A service whose settings a test may change; other tests have left their sessions in it."""
    settings = running_service.settings
    yield running_service
    running_service.settings = settings


@pytest.fixture
def make_workbench(service: Service, study_path: Path) -> Callable[[], Workbench]:
    """A workbench with the phantom open."""

    def make() -> Workbench:
        workbench = Workbench(service)
        studies.open_study(workbench, str(study_path))
        return workbench

    return make
