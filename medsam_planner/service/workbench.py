"""One page's view of a session: what is shown, and the changes a person makes. Free of Gradio and of HTML.

Opening a study (:mod:`.studies`), the list of structures (:mod:`.structure_list`), prompting (:mod:`.prompting`) and
planning (:mod:`.results`) are functions on a workbench.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsam_planner.errors import MedsamPlannerError, PlanningError, StudyError
from medsam_planner.progress import Progress
from medsam_planner.service import decisions, step_order
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.held_session import HeldSession
from medsam_planner.service.page_state import draft_entry
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.showing import shown
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure
from medsam_planner.service.uploads import PageUploads
from medsam_planner.service.waiting import require_done, wait_for
from prompts import PositionLpsMm

__all__ = ["Workbench"]


class Workbench(HeldSession):
    """What one page has open. The session belongs to the service, and every change is in its journal first.

    A change is made inside :meth:`changing`, which admits one at a time, in the order in which the person made them.
    It publishes a new :class:`Snapshot` in one assignment, so reading needs no lock.

    Parameters
    ----------
    service : Service
    actor : Actor
        Whose page it is.
    """

    def __init__(self, service: Service, actor: Actor = LOCAL) -> None:
        super().__init__(service, actor)
        self.token = secrets.token_urlsafe(24)
        """Whoever knows it may act on the workbench."""
        self.uploads = PageUploads()
        self.calibration: Path | None = None
        """Of the next plan."""
        self._snapshot = Snapshot()
        self.steps = step_order.StepOrder()
        self.screen_numbers = itertools.count(1)
        """Numbers the screens that the page receives, so that it can ignore one that arrives late."""
        self._given = 0
        """The newest version that the page was given."""
        self._giving = threading.Lock()
        self.is_cancelled = False
        self._is_long = False
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()

    @property
    def key(self) -> str:
        """What the page's address remembers: the session, or the token where no study is open yet."""
        return self.token if self.work is None else self.work.identifier

    def begin_again(self) -> None:
        """Serve a page that was opened again; the one before no longer finds the workbench."""
        self.token, self.steps = secrets.token_urlsafe(24), step_order.StepOrder()

    def share(self, other: Workbench) -> None:
        """Begin with what another page of the same session shows, and, if it is the same person's, with its uploads."""
        self._snapshot = other.snapshot
        if other.own.actor == self.own.actor:
            self.uploads, self.calibration = other.uploads, other.calibration

    @property
    def is_waiting(self) -> bool:
        """Whether the session is still to be read, see :meth:`refresh`."""
        return self.work is not None and self._snapshot.work != self.work.identifier

    @property
    def snapshot(self) -> Snapshot:
        """What is shown; nothing while the session is still to be read."""
        return Snapshot() if self.is_waiting else self._snapshot

    def require_work(self) -> Work:
        """The session on the open study, once it is shown: a change before would be made on nothing.

        Raises
        ------
        StudyError
            If no study is open, or the session is still to be read.
        """
        work = super().require_work()
        if self.is_waiting:
            raise StudyError("The work is still to be read. Try again when it is shown, or reload the page.")
        return work

    @property
    def version(self) -> int:
        """Version of the session as it is now; that of the snapshot unless somebody else has changed it, or while the
        page itself makes a change."""
        if self.work is None or self.is_waiting:
            return 0
        if self._lock.locked():
            return self._snapshot.version
        return self._snapshot.first_version + self.work.state.n

    def gives(self, version: int) -> bool:
        """Whether the page may be given what is shown of a version: none if it was given a newer one before."""
        with self._giving:
            is_newest = version >= self._given
            self._given = max(version, self._given)
        return is_newest

    @property
    def is_computing(self) -> bool:
        """Whether a computation runs that can be cancelled."""
        if self._is_long or self.work is None:
            return self._is_long
        return any(not job.state.is_final for job in self.service.jobs.of_session(self.work.identifier))

    def stop(self) -> None:
        """Cancel what is computed."""
        self.is_cancelled = True
        if self.work is not None:
            for job in self.service.jobs.of_session(self.work.identifier):
                self.service.jobs.cancel(job.identifier)

    @contextmanager
    def changing(self, *, step: int | None = None, is_long: bool = False) -> Iterator[None]:
        """Hold the workbench for one change.

        Parameters
        ----------
        step : int, optional
            Number of the change among the steps of the page; it waits for those before it.
        is_long : bool
            Whether it is a computation that can be cancelled.

        Raises
        ------
        MedsamPlannerError
            If a long computation holds the workbench, or an earlier step was lost.
        """
        with self.steps.turn(step):
            if not self._lock.acquire(timeout=step_order.PATIENCE_S):
                raise MedsamPlannerError(step_order.BUSY)
            try:
                self.hold()
                self.is_cancelled, self._is_long = False, is_long
                yield
            finally:
                self._is_long = False
                self._lock.release()

    def refresh(self, new: tuple[Work, str] | None = None, *, progress: Progress | None = None) -> None:
        """Show the session as it is now, or take a new one with its lease; until then the one before is shown.

        Raises
        ------
        MedsamPlannerError
            If its study or a preview cannot be had. What was shown before stays.
        """
        with self._refreshing:
            work = super().require_work() if new is None else new[0]
            try:
                now = shown(self.service, work, self._snapshot, progress=progress)
            finally:
                if new is not None:
                    self.take(*new)
            self._snapshot = now

    def record(self, *, ends_plan: bool = False, **page: Any) -> None:
        """Change what only the page has, see :class:`~medsam_planner.service.page_state.PageState`."""
        self.own.record(self.require_work(), "page", page=page, ends_plan=ends_plan)
        self.refresh()

    # ---- structures and prompts -------------------------------------------------------------------------------------
    @property
    def structure(self) -> Structure:
        """The structure being worked on."""
        self.require_work()
        return self.snapshot.structures[self.snapshot.active]

    @property
    def draft(self) -> PlanDraft:
        """The plan draft, with its calibration."""
        return replace(self.snapshot.draft, calibration=self.calibration)

    def change_steps(self, kind: str, entry: Mapping[str, Any] | None = None) -> None:
        """Change the prompts of the active structure; if the model fails on them, they are put back as they were.

        Parameters
        ----------
        kind : {"prompt", "undo", "redo"}
        entry : mapping, optional
            Of the prompt, as in a prompt file.

        Raises
        ------
        PromptError
            If the prompt does not lie in the study, or there is nothing to undo or redo.
        """
        work, name, before = self.require_work(), self.structure.name, self.structure.steps
        if entry is not None:
            self.own.add(work, name, entry)
            if self.structure.listed.is_hidden:  # what is prompted is to be seen
                self.own.describe(work, name, hidden=False)
        else:
            self.own.record(work, kind, structure=name)
        try:
            self.refresh()
        except BaseException:
            with suppress(MedsamPlannerError):
                self.own.replace_steps(work, PromptSteps(name, before.entries, before.applied))
                self.refresh()
            raise

    # ---- computations and plans -------------------------------------------------------------------------------------
    def segment(self, options: SegmentOptions, *, progress: Progress | None = None) -> None:
        """Segment the active structure in 3D; a plan made before no longer holds.

        Parameters
        ----------
        options : SegmentOptions
        progress : Progress, optional

        Raises
        ------
        PromptError, OperationCancelledError
        """
        self.wait(self.own.segment(self.require_work(), self.structure.name, options), progress=progress)

    def wait(self, job: str, *, progress: Progress | None = None) -> None:
        """Wait for a computation, and show what has come of it.

        Raises
        ------
        OperationCancelledError
            If it was stopped.
        MedsamPlannerError
            If it failed.
        """
        ended = wait_for(self.service.jobs, job, progress)
        self.refresh()
        require_done(ended)

    def set_end(self, *, target: PositionLpsMm | None = None, entry: PositionLpsMm | None = None) -> None:
        """Set the target, the centre of the entry region, or both; LPS mm. A plan made before no longer holds."""
        draft = self.snapshot.draft
        changed = replace(draft, target_lps_mm=target or draft.target_lps_mm, entry_lps_mm=entry or draft.entry_lps_mm)
        self.record(draft=draft_entry(changed), ends_plan=True)

    def set_draft(self, draft: PlanDraft) -> None:
        """Replace the plan draft; its calibration is kept by the page only."""
        self.calibration = draft.calibration
        self.record(draft=draft_entry(draft))

    def choose_alternative(self, number: int, tool: str | None = None) -> None:
        """Choose which alternative of the plan is shown, and of which tool; `number` is counted from 0.

        Raises
        ------
        PlanningError
            If the plan has no such alternative.
        """
        held = self.snapshot.held
        if held is None:
            raise PlanningError(f"There is no alternative {number + 1}. Find paths first.")
        decisions.choose(self.own, self.require_work(), held, self.snapshot.tool if tool is None else tool, number)
        self.refresh()
