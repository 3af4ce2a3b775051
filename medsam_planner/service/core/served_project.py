"""The annotation project of a server: its records, and who has which of its studies open.

A study belongs to the session that holds its image, found by the hash of the voxels. So who has it is who holds a
lease, and ends with it; nothing more is kept.
"""

from __future__ import annotations

import threading
from pathlib import Path

from medsam_planner.errors import ConfigError, LeaseHeldError, NotThereError
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import Study
from medsam_planner.service.core.actors import called
from medsam_planner.service.core.data_folder import DataFolder
from medsam_planner.service.core.project_order import ProjectOrder
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.worker import Workers

__all__ = ["ServedProject"]


class ServedProject:
    """One project, beside the sessions of one data folder.

    Parameters
    ----------
    folder : Path
        Of the project.
    sessions : DataFolder
    workers : Workers

    Raises
    ------
    ConfigError
        If the folder holds no project.
    """

    def __init__(self, folder: Path, sessions: DataFolder, workers: Workers) -> None:
        self.records = Project(folder)
        self.order = ProjectOrder(self.records, workers)
        self.lock = threading.Lock()
        """Held while a study is opened or changed, so that one of two people who do it at once is told of the other."""
        self._sessions = sessions

    def study(self, name: str) -> Study:
        """A study by name.

        Raises
        ------
        NotThereError
        """
        try:
            return self.records.study(name)
        except ConfigError as error:
            raise NotThereError(str(error)) from error

    def works_on(self, study: Study) -> list[Work]:
        """The sessions on the image of a study, the one changed last first."""
        return [work for work in self._sessions.sessions() if work.study.sha256 == study.image_sha256]

    def holder(self, study: Study) -> str | None:
        """Name of the actor who has a study open; None for nobody."""
        held = (work for work in self.works_on(study) if self._sessions.leases.is_held(work.identifier))
        return next((work.state.owner for work in held), None)

    def require_free_for(self, who: str, study: Study) -> None:
        """Refuse somebody while another has the study open.

        Raises
        ------
        LeaseHeldError
            Names who has it.
        """
        for work in self.works_on(study):
            if work.state.owner != who and self._sessions.leases.is_held(work.identifier):
                raise LeaseHeldError(
                    f"{called(work.state.owner)} has {study.name} open. Choose another study, or ask for this one: it "
                    f"is free when it is given back, or {self._sessions.leases.idle_s / 60:.0f} minutes after the last "
                    "action."
                )
