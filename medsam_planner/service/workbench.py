"""One person's work on one study: what was opened, prompted, segmented and planned. Free of Gradio and of HTML.

Opening a study (:mod:`.studies`), prompting (:mod:`.prompting`) and planning (:mod:`.results`) are functions on a
workbench.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsam_planner.errors import MedsamPlannerError, PlanningError, PromptError, StudyError
from medsam_planner.progress import Progress
from medsam_planner.segmentation.session import Session
from medsam_planner.service import saved_work, step_order
from medsam_planner.service.autosave import Autosave
from medsam_planner.service.restoring import Waiting
from medsam_planner.service.settings import Settings
from medsam_planner.service.snapshot import WITHOUT_PLAN, Snapshot
from medsam_planner.service.structure import COLOURS, FIRST_STRUCTURE, Role, Structure
from medsam_planner.service.uploads import PageUploads
from prompts import PositionLpsMm, PromptLog
from prompts.names import require_free

__all__ = ["Workbench"]


class Workbench:
    """The work of one client on one study. It outlives the page that shows it, and every change is saved to disk.

    Every change is made inside :meth:`changing`, which admits one at a time, in the order in which the person made
    them. A change publishes a new :class:`Snapshot` in one assignment, so reading needs no lock.

    Parameters
    ----------
    settings : Settings
    waiting : Waiting, optional
        Saved work that has not been read from disk yet.
    """

    def __init__(self, settings: Settings, *, waiting: Waiting | None = None) -> None:
        self.settings = settings
        self.token = secrets.token_urlsafe(24)
        """Of the client that took the work up last; whoever knows it may act on the workbench."""
        self.uploads = PageUploads()
        self.snapshot = Snapshot()
        self.session: Session | None = None
        self.autosave: Autosave | None = None
        """Of the work on the open study."""
        self.waiting = waiting
        self.steps = step_order.StepOrder()
        self.screen_numbers = itertools.count(1)
        """Numbers the screens that the page receives, so that it can ignore one that arrives late."""
        self.is_cancelled = False
        self.is_computing = False
        """Whether a computation runs that can be cancelled."""
        self._first_key = saved_work.new_key()
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """Key of the work: whoever knows it can take the work up. Every opened study is work of its own."""
        if self.autosave is not None:
            return self.autosave.key
        return self._first_key if self.waiting is None else self.waiting.key

    def key_of_next_study(self) -> str:
        """Key for work on a study that is about to be opened."""
        is_first = self.autosave is None and self.waiting is None
        return self._first_key if is_first else saved_work.new_key()

    @property
    def structures(self) -> Mapping[str, Structure]:
        """By name, in the order they were begun."""
        return self.snapshot.structures

    @property
    def active(self) -> str:
        """Name of the structure being worked on."""
        return self.snapshot.active

    @contextmanager
    def changing(self, *, step: int | None = None, is_long: bool = False) -> Iterator[None]:
        """Hold the workbench for one change, which is saved to disk when it ends.

        Parameters
        ----------
        step : int, optional
            Number of the change among the steps of the page; it waits for those before it.
        is_long : bool
            Whether it is a computation that can be cancelled.

        Raises
        ------
        MedsamPlannerError
            If a long computation holds the workbench, an earlier step was lost, or the change cannot be saved.
        """
        with self.steps.turn(step):
            if not self._lock.acquire(timeout=step_order.PATIENCE_S):
                raise MedsamPlannerError(step_order.BUSY)
            try:
                self.is_cancelled, self.is_computing = False, is_long
                try:
                    yield
                finally:  # also saves what was done before an error
                    if self.autosave is not None:
                        self.autosave.save(self.snapshot)
            finally:
                self.is_computing = False
                self._lock.release()

    def publish(self, **changes: Any) -> None:
        """Replace the snapshot by one with these fields changed.

        Parameters
        ----------
        **changes
            Fields of :class:`Snapshot`.
        """
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, **changes)

    def publish_active(self, change: Callable[[Structure], Structure], **changes: Any) -> None:
        """Publish a changed active structure, with further fields of the snapshot."""
        changed = change(self.structure)
        self.publish(structures={**self.structures, changed.name: changed}, **changes)

    @property
    def structure(self) -> Structure:
        """The structure being worked on."""
        self.require_session()
        return self.structures[self.active]

    @property
    def log(self) -> PromptLog:
        """Prompts of the structure being worked on."""
        return self.require_session().log(self.active)

    def require_session(self) -> Session:
        """The session on the open study.

        Raises
        ------
        StudyError
            If no study is open.
        """
        if self.session is None:
            raise StudyError("Open a study first.")
        return self.session

    def require_autosave(self) -> Autosave:
        """What saves the work on the open study.

        Raises
        ------
        StudyError
            If no study is open.
        """
        if self.autosave is None:
            raise StudyError("Open a study first.")
        return self.autosave

    def run_folder(self) -> Path:
        """The folder of this work, created when it is first needed."""
        return self.require_autosave().folder()

    def save(self) -> Path:
        """Write every structure's prompts, with their undone steps, to the folder of this work.

        Raises
        ------
        MedsamPlannerError
            If they cannot be written.
        """
        return self.require_autosave().save_prompts(tuple(self.structures))

    def begin(self, name: str) -> None:
        """Begin a structure and make it the active one.

        Parameters
        ----------
        name : str

        Raises
        ------
        PromptError
            If there is a structure of that name, or the name cannot be used.
        """
        session = self.require_session()
        name = require_free(name.strip())
        if name in self.structures:
            raise PromptError(f"There is already a structure named '{name}'. Choose it in the list.")
        session.log(name)
        structures = dict(self.structures)
        if self.active == FIRST_STRUCTURE and not self.log.history:
            del structures[FIRST_STRUCTURE]  # it was never prompted: the first named structure replaces it
        structures[name] = Structure(name, COLOURS[len(structures) % len(COLOURS)])
        self.publish(structures=structures, active=name)

    def choose(self, name: str) -> None:
        """Make another structure the active one.

        Raises
        ------
        PromptError
            If there is no structure of that name.
        """
        if name not in self.structures:
            raise PromptError(f"Expected one of the structures {', '.join(self.structures)}, got '{name}'.")
        self.publish(active=name)

    def set_role(self, role: Role) -> None:
        """Set the role of the active structure in the plan; a plan made before no longer holds."""
        self.publish_active(lambda one: replace(one, role=role), **WITHOUT_PLAN)

    def segment(
        self, *, samples: int, uncertainty: str, saliency: bool, triplanar: bool, progress: Progress | None = None
    ) -> None:
        """Segment the active structure in 3D; a plan made before no longer holds.

        Parameters
        ----------
        samples : int
            Number of stochastic passes; 0 for none.
        uncertainty : str
            Sources of uncertainty, joined by ``+``.
        saliency : bool
            Whether to compute the saliency map.
        triplanar : bool
            Whether to propagate along all three planes.
        progress : Progress, optional
        """
        result = self.require_session().segment(
            structure=self.active,
            samples=samples,
            uncertainty=uncertainty,
            saliency=saliency,
            triplanar=triplanar,
            progress=progress,
        )
        self.require_autosave().forget_result(self.active)
        self.publish_active(lambda one: one.with_result(result), **WITHOUT_PLAN)

    def set_end(self, *, target: PositionLpsMm | None = None, entry: PositionLpsMm | None = None) -> None:
        """Set the target, the centre of the entry region, or both; LPS mm. A plan made before no longer holds."""
        draft = self.snapshot.draft
        changed = replace(draft, target_lps_mm=target or draft.target_lps_mm, entry_lps_mm=entry or draft.entry_lps_mm)
        self.publish(draft=changed, **WITHOUT_PLAN)

    def choose_alternative(self, number: int) -> None:
        """Choose which alternative of the plan is shown.

        Parameters
        ----------
        number : int
            Counted from 0.

        Raises
        ------
        PlanningError
            If the plan has no such alternative.
        """
        plan = self.snapshot.plan
        if plan is None or not 0 <= number < len(plan.alternatives):
            raise PlanningError(f"There is no alternative {number + 1}. Find paths first.")
        self.publish(chosen=number)
