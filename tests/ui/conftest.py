"""The study and the workbench of the service's tests."""

from tests.medsam_planner.service.conftest import make_workbench, model, running_service, service, settings, study_path

__all__ = ["make_workbench", "model", "running_service", "service", "settings", "study_path"]
