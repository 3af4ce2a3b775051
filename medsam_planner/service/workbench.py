"""One person's work on one study: what was opened, said, computed and planned. Knows nothing of Gradio or of HTML."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError, OutputError, PlanningError, PromptError, StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.output_folder import require_apart
from medsam_planner.planning.search import PlanResult
from medsam_planner.progress import Progress
from medsam_planner.segmentation.session import Session
from medsam_planner.service import saved_work, step_order
from medsam_planner.service.autosave import Autosave
from medsam_planner.service.display import Plane, SliceDisplay, display_for, display_windows
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.restoring import Waiting, previews_of, restore
from medsam_planner.service.saved_work import Opened, SavedWork
from medsam_planner.service.settings import Settings
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.step_order import StepOrder
from medsam_planner.service.structure import COLOURS, FIRST_STRUCTURE, ROLES, Role, Structure
from medsam_planner.service.uploads import SHOWN_AS, PageUploads, UploadKind
from medsam_planner.volumes import StudyVolume
from prompts import Box, Click, PositionLpsMm, PromptLog, read_prompt_file, validate_file
from prompts.names import require_free

__all__ = ["Workbench"]

_NO_PLAN: Mapping[str, Any] = {
    "plan": None,
    "chosen": 0,
    "margin_statements": (),
    "assessment": None,
    "notes": (),
    "has_report": False,
    "has_archive": False,
}
"""Fields of a snapshot without a plan."""


class Workbench:
    """The work of one page; it outlives the page, and what is known of it lies on disk.

    Every change goes through :meth:`changing`, which lets one run at a time, in the order the person made them. A
    change publishes a :class:`Snapshot` in one assignment; reading needs no lock.
    """

    def __init__(self, settings: Settings, *, waiting: Waiting | None = None) -> None:
        self.settings = settings
        self.token = secrets.token_urlsafe(24)
        """Of the page that took it up last."""
        self.uploads = PageUploads()
        self.snapshot = Snapshot()
        self.session: Session | None = None
        self.autosave: Autosave | None = None
        """Of the work on the open study."""
        self.waiting = waiting
        self.steps = StepOrder()
        self.answers = itertools.count(1)
        """Numbers of the screens its page gets."""
        self._first_key = saved_work.new_key()
        self.is_cancelled = False
        self.is_computing = False
        """Whether something runs that Stop can stop."""
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """Names the work: who knows it can take the work up. A study opened beside another one is other work."""
        if self.autosave is not None:
            return self.autosave.key
        return self._first_key if self.waiting is None else self.waiting.key

    @property
    def version(self) -> int:
        """Of the snapshot."""
        return self.snapshot.version

    @property
    def study(self) -> StudyVolume | None:
        """The open one."""
        return self.snapshot.study

    @property
    def structures(self) -> Mapping[str, Structure]:
        """By name, in the order they were begun."""
        return self.snapshot.structures

    @property
    def active(self) -> str:
        """Name of the structure being worked on."""
        return self.snapshot.active

    @property
    def displays(self) -> Mapping[Plane, SliceDisplay]:
        """How each plane lies on the screen."""
        return self.snapshot.displays

    @property
    def draft(self) -> PlanDraft:
        """What the tool must do."""
        return self.snapshot.draft

    @property
    def plan(self) -> PlanResult | None:
        """The last one that still holds."""
        return self.snapshot.plan

    @contextmanager
    def changing(self, *, step: int | None = None, is_long: bool = False) -> Iterator[None]:
        """Hold the workbench for one change; when it is made, it is on disk.

        Parameters
        ----------
        step : int, optional
            Its number among the steps of the page: it waits for those before it.
        is_long : bool
            Whether it is a computation that Stop can stop.

        Raises
        ------
        MedsamPlannerError
            If a long computation holds it, a step before it was lost, or the change cannot be kept.
        """
        with self.steps.turn(step):
            if not self._lock.acquire(timeout=step_order.PATIENCE_S):
                raise MedsamPlannerError(step_order.BUSY)
            try:
                self.is_cancelled, self.is_computing = False, is_long
                try:
                    yield
                finally:  # also what was done before an error
                    if self.autosave is not None:
                        self.autosave.keep(self.snapshot)
            finally:
                self.is_computing = False
                self._lock.release()

    def publish(self, **changes: Any) -> None:
        """Show a changed state, all of it at once; names are fields of :class:`Snapshot`."""
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, **changes)

    def _publish_active(self, change: Callable[[Structure], Structure], **changes: Any) -> None:
        changed = change(self.structure)
        self.publish(structures={**self.structures, changed.name: changed}, **changes)

    def open(
        self, path: Path, *, series: str | None = None, resample_tilt: bool = False, progress: Progress | None = None
    ) -> list[str]:
        """Read a study and begin a session on it; the work on what was open before stays on disk.

        Work that waits for this very study, which was not found, goes on.

        Returns
        -------
        list of str
            What of such work could not be taken up, in words.

        Raises
        ------
        StudyError
            If it cannot be read as one volume, or its folder holds the one results go to.
        WeightsError
            If the model is not there.
        """
        upload = self.uploads.find(UploadKind.STUDY)
        place = f"{SHOWN_AS}{path.name}" if path == upload else str(path.absolute())
        opened = Opened(place, series, resample_tilt)
        session = self._session_on(path, opened, progress)
        if self.waiting is not None and session.study_sha256 == self.waiting.image_sha256:
            return self._go_on(self.waiting, saved_work.read_work(self.waiting.folder), session, opened)
        session.log(FIRST_STRUCTURE)
        first = Structure(FIRST_STRUCTURE, COLOURS[0])
        is_first = self.autosave is None and self.waiting is None
        key = self._first_key if is_first else saved_work.new_key()
        autosave = Autosave(self.settings.out, opened, session, key=key)
        self._begin_work(session, autosave, {first.name: first}, active=first.name, draft=PlanDraft())
        autosave.mark_saved(self.snapshot)  # nothing was said yet: there is nothing to keep
        return []

    def place_of(self, text: str) -> Path:
        """The study that was typed or uploaded, if it may be read.

        Raises
        ------
        StudyError, UploadRefusedError
            If it may not, or is not there.
        """
        return self.uploads.study(text.strip()) or self.settings.allowed(text)

    def take_up(self, *, progress: Progress | None = None) -> list[str]:
        """Go on with the work that waits on disk.

        Returns
        -------
        list of str
            What could not be taken up, in words.

        Raises
        ------
        MedsamPlannerError
            If what was kept or its study cannot be read, or the study is another one now.
        """
        if self.waiting is None:
            return []
        work = saved_work.read_work(self.waiting.folder)
        session = self._session_on(self.place_of(work.opened.place), work.opened, progress)
        if session.study_sha256 != work.image_sha256:
            raise StudyError(
                f"{work.opened.name} is not the study it was: its voxels have changed since this work was kept."
            )
        return self._go_on(self.waiting, work, session, work.opened)

    def _session_on(self, path: Path, opened: Opened, progress: Progress | None) -> Session:
        try:
            require_apart(self.settings.out, [path])
        except OutputError as error:
            raise StudyError(
                f"{path.name} holds the folder that results go to, and they would become files of the study. Open the "
                "folder of the series itself, upload the study, or restart with --out elsewhere."
            ) from error
        study = load_volume(path, series=opened.series, resample_tilt=opened.resample_tilt, progress=progress)
        return Session(study, self.settings.model, seed=self.settings.seed)

    def _go_on(self, waiting: Waiting, work: SavedWork, session: Session, opened: Opened) -> list[str]:
        structures, lost = restore(session, work, waiting.folder)
        active = work.active if work.active in structures else next(iter(structures))
        autosave = Autosave(self.settings.out, opened, session, key=waiting.key, folder=waiting.folder)
        self._begin_work(session, autosave, structures, active=active, draft=work.draft)
        autosave.mark_saved(
            self.snapshot, {name: work.result_files[name] for name in structures if structures[name].result}
        )
        return lost

    def _begin_work(
        self, session: Session, autosave: Autosave, structures: Mapping[str, Structure], **changes: Any
    ) -> None:
        study = session.volume
        self.session, self.autosave, self.waiting = session, autosave, None
        self.publish(
            study=study,
            study_number=self.snapshot.study_number + 1,
            displays={plane: display_for(study, plane) for plane in Plane},
            windows=display_windows(study, session.normalisation),
            structures=structures,
            **_NO_PLAN,
            **changes,
        )

    def begin(self, name: str) -> None:
        """Begin a structure of this name and work on it.

        Raises
        ------
        PromptError
            If there is one of that name, or the name cannot be used.
        """
        session = self.require_session()
        name = require_free(name.strip())
        if name in self.structures:
            raise PromptError(f"There is a structure named '{name}' already. Choose it in the list.")
        session.log(name)
        structures = dict(self.structures)
        if self.active == FIRST_STRUCTURE and not self.log.history:
            del structures[FIRST_STRUCTURE]  # nobody used it: the first real name takes its place
        structures[name] = Structure(name, COLOURS[len(structures) % len(COLOURS)])
        self.publish(structures=structures, active=name)

    def choose(self, name: str) -> None:
        """Work on another structure."""
        if name not in self.structures:
            raise PromptError(f"Expected one of the structures {', '.join(self.structures)}, got '{name}'.")
        self.publish(active=name)

    @property
    def structure(self) -> Structure:
        """The one being worked on."""
        self.require_session()
        return self.structures[self.active]

    @property
    def log(self) -> PromptLog:
        """Its prompts."""
        return self.require_session().log(self.active)

    def require_session(self) -> Session:
        """The session on the open study.

        Raises
        ------
        StudyError
            If none is open.
        """
        if self.session is None:
            raise StudyError("Open a study first.")
        return self.session

    def require_autosave(self) -> Autosave:
        """What keeps the work on the open study; refuses as :meth:`require_session`."""
        if self.autosave is None:
            raise StudyError("Open a study first.")
        return self.autosave

    def position(self, plane: Plane, slice_index: int, column: float, row: float) -> PositionLpsMm:
        """Where a point of the screen lies in the patient.

        Raises
        ------
        PromptError
            If it is beside the slice.
        """
        self.require_session()
        display = self.displays[plane]
        columns, rows = display.size
        if not (-0.5 <= column < columns - 0.5 and -0.5 <= row < rows - 0.5 and 0 <= slice_index < display.slice_count):
            raise PromptError("Click inside the slice: that point lies beside it.")
        x, y, z = display.lps_at(slice_index, column, row).tolist()
        return x, y, z

    def click(self, plane: Plane, slice_index: int, column: float, row: float, *, positive: bool) -> None:
        """Say that a point lies inside or outside the structure."""
        click = Click(self.position(plane, slice_index, column, row), positive)
        self._change_prompts(lambda session: session.add(click, structure=self.active))

    def draw_box(self, plane: Plane, slice_index: int, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Say that the structure's section lies in a rectangle of (column, row) corners, cut at the slice's edge."""
        self.require_session()
        display = self.displays[plane]
        limits = np.array(display.size) - 1
        corners = np.clip(np.rint(np.array([first, last], dtype=np.float64)), 0, limits)
        if (corners[0] == corners[1]).any():
            raise PromptError("That box is less than two voxels wide. Draw it larger, or click a point instead.")
        box = Box(*(display.lps_at(slice_index, column, row) for column, row in corners.tolist()))
        self._change_prompts(lambda session: session.add(box, structure=self.active))

    def undo(self) -> None:
        """Take back the last step."""
        self._change_prompts(lambda session: session.undo(structure=self.active))

    def redo(self) -> None:
        """Bring back the last undone step."""
        self._change_prompts(lambda session: session.redo(structure=self.active))

    def clear(self) -> None:
        """Take off all prompts of the structure, as one step that can be undone."""
        self._change_prompts(lambda session: session.log(self.active).clear())

    def _change_prompts(self, change: Callable[[Session], object]) -> None:
        """Change the prompts and ask the model what they mean; where that fails they are as they were before."""
        session, log = self.require_session(), self.log
        before = PromptLog.from_history(log.structure, log.history, undone=log.undone)
        change(session)
        try:
            self.save()  # before the answer is computed: what was said is on disk at once
            previews = previews_of(session, log)
        except BaseException:
            session.restore(before)
            with suppress(MedsamPlannerError):
                self.save()
            raise
        self._publish_active(lambda one: replace(one.with_log(log), previews=previews, is_stale=one.result is not None))

    def segment(
        self, *, samples: int, uncertainty: str, saliency: bool, triplanar: bool, progress: Progress | None = None
    ) -> None:
        """Run the structure to 3D; options as of :meth:`medsam_planner.Session.segment`."""
        result = self.require_session().segment(
            structure=self.active,
            samples=samples,
            uncertainty=uncertainty,
            saliency=saliency,
            triplanar=triplanar,
            progress=progress,
        )
        self.require_autosave().forget_result(self.active)
        self._publish_active(lambda one: one.with_result(result), **_NO_PLAN)

    def forget_plan(self) -> None:
        """What a plan was made from has changed: it must not be looked at as if it still held."""
        self.publish(**_NO_PLAN)

    def set_role(self, role: Role) -> None:
        """Say what the plan does with the active structure.

        Raises
        ------
        PromptError
            If there is no such role.
        """
        if role not in ROLES:
            raise PromptError(f"Expected a role of {', '.join(ROLES)}, got {role!r}.")
        self._publish_active(lambda one: replace(one, role=role), **_NO_PLAN)

    def set_end(self, *, target: PositionLpsMm | None = None, entry: PositionLpsMm | None = None) -> None:
        """Say where the tool must end, or where it may enter."""
        draft = replace(
            self.draft,
            target_lps_mm=target or self.draft.target_lps_mm,
            entry_lps_mm=entry or self.draft.entry_lps_mm,
        )
        self.publish(draft=draft, **_NO_PLAN)

    def save(self) -> Path:
        """Write every structure's prompts, with their undone steps, to the folder of this work.

        Raises
        ------
        MedsamPlannerError
            If they cannot be written.
        """
        return self.require_autosave().save_prompts(tuple(self.structures))

    def resume(self, path: Path) -> None:
        """Take over the prompts of a file, in place of those of the same structures.

        Raises
        ------
        PromptError, GeometryError
            If the file cannot be read, its prompts do not belong to this study, or a name cannot be used.
        """
        session = self.require_session()
        study = session.volume
        stored = read_prompt_file(path)
        for log in stored.logs:
            require_free(log.structure)
        validate_file(stored, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
        is_unused = len(self.structures) == 1 and not self.log.history
        structures = {} if is_unused else dict(self.structures)
        for log in stored.logs:
            session.restore(log)
            colour = COLOURS[len(structures) % len(COLOURS)]
            one = structures.get(log.structure) or Structure(log.structure, colour)
            structures[log.structure] = replace(
                one.with_log(log), previews=previews_of(session, log), is_stale=one.result is not None
            )
        self.publish(structures=structures, active=stored.logs[0].structure)

    def run_folder(self) -> Path:
        """The folder of this work, made when it is first needed."""
        return self.require_autosave().folder()

    @property
    def chosen_trajectory_lps_mm(self) -> NDArray[np.float64] | None:
        """(2, 3) entry and target of the alternative that is drawn; None without a path."""
        return self.snapshot.chosen_trajectory_lps_mm

    def choose_alternative(self, number: int) -> None:
        """Draw another alternative.

        Raises
        ------
        PlanningError
            If there is none of that number, counted from 0.
        """
        if self.plan is None or not 0 <= number < len(self.plan.alternatives):
            raise PlanningError(f"There is no alternative {number + 1}. Find paths first.")
        self.publish(chosen=number)

    def slice_of(self, plane: Plane, position_lps_mm: PositionLpsMm) -> int:
        """The slice of a plane that holds a place."""
        return self.snapshot.slice_of(plane, position_lps_mm)
