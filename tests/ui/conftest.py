"""The study and the workbench of the service's tests, and pages in a browser."""

from tests.medsam_planner.network.conftest import orthanc, own_network, running_orthanc
from tests.medsam_planner.service.conftest import make_workbench, model, running_service, service, settings, study_path
from tests.ui.browser import browser_arguments, chromium, open_bench, serve

__all__ = [
    "browser_arguments",
    "chromium",
    "make_workbench",
    "model",
    "open_bench",
    "orthanc",
    "own_network",
    "running_orthanc",
    "running_service",
    "serve",
    "service",
    "settings",
    "study_path",
]
