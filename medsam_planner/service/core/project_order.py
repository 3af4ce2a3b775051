"""The order in which the studies of an annotation project are worth annotating, computed by a worker of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.lab.project.ordering import Order, Ranked, ranked
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.progress import Progress
from medsam_planner.service.core.requests import Request
from medsam_planner.service.core.worker import Workers
from medsam_planner.service.core.worker_memory import WorkerMemory

__all__ = ["OPEN_STATES", "OrderCondition", "ProjectOrder", "RankStudies"]

OPEN_STATES = (State.NEW, State.PROMPTED, State.CORRECTED)
"""Of studies that are still to be annotated."""
OrderCondition = Literal["current", "outdated", "computing", "absent", "failed"]
"""Whether the project has changed since it was computed; whether it is computed; whether that failed."""


@dataclass(frozen=True, slots=True)
class RankStudies:
    """Rank the open studies of a project by what its model does not know of them."""

    folder: Path
    """Of the project."""
    session: str = ""

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> list[Ranked]:
        """Gives the studies, the one to annotate first at the head."""
        from medsam_planner.lab.project.next_study import next_studies

        return next_studies(Project(self.folder), progress=progress)


class ProjectOrder:
    """The last order by worth, and the thread that waits for the next one.

    Parameters
    ----------
    project : Project
    workers : Workers
    """

    def __init__(self, project: Project, workers: Workers) -> None:
        self._project = project
        self._workers = workers
        self._lock = threading.Lock()
        self._known: tuple[int, Sequence[Ranked]] | None = None
        """Number of the project's last event when it was begun, and the order."""
        self._is_computing = False
        self.failure = ""
        """Why the last try failed; empty where it did not."""

    def of(self, order: Order) -> tuple[list[Ranked], OrderCondition]:
        """Every open study in an order; those that an order by worth does not know yet come last, by name."""
        names = [one.name for one in self._project.studies(*OPEN_STATES)]
        if order in (Order.NAME, Order.RANDOM):
            return ranked(names, (), order), "current"
        with self._lock:
            known, is_computing, failure = self._known, self._is_computing, self.failure
        found = [one for one in (known[1] if known else ()) if one.name in names]
        rest = sorted(set(names) - {one.name for one in found})
        condition: OrderCondition = "absent" if known is None else "outdated"
        if known is not None and known[0] == self._project.last_event:
            condition = "current"
        condition = "computing" if is_computing else "failed" if failure else condition
        return [*found, *ranked(rest, (), Order.NAME)], condition

    def begin(self) -> None:
        """Compute it anew, unless that is done already; returns at once."""
        with self._lock:
            if self._is_computing:
                return
            self._is_computing, self.failure = True, ""
        threading.Thread(target=self._compute, name="order of the project", daemon=True).start()

    def _compute(self) -> None:
        number, found, failure = self._project.last_event, None, ""
        try:
            found = self._workers.worker(Workers.ORDERING).ask(RankStudies(self._project.folder))
        except MedsamPlannerError as error:
            failure = str(error)
        finally:
            with self._lock:
                self._is_computing, self.failure = False, failure
                if found is not None:
                    self._known = (number, found)
