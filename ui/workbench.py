"""One person's work on one study: what was opened, said, computed and planned. Knows nothing of Gradio or of HTML."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError, PlanningError, PromptError, StudyError
from medsam_planner.geometry import index_from_lps
from medsam_planner.io import load_volume
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.search import PlanResult
from medsam_planner.progress import Progress
from medsam_planner.provenance import versions
from medsam_planner.report.assessment import Assessment
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import StudyVolume
from prompts import (
    Box,
    Click,
    PositionLpsMm,
    Prompt,
    PromptFile,
    PromptLog,
    Provenance,
    read_prompt_file,
    validate_file,
    write_prompt_file,
)
from ui.display import Plane, SliceDisplay, display_for, display_windows
from ui.settings import Settings
from ui.structure import COLOURS, FIRST_STRUCTURE, ROLES, Role, Structure
from ui.uploads import PageUploads
from ui.wishes import PlanWishes

__all__ = ["Workbench"]

PATIENCE_S = 5.0
"""How long a click waits for a computation that is nearly done."""


class Workbench:
    """Opened by one page, closed with it.

    Every change goes through :meth:`changing`, which lets one run at a time; reading needs no lock, because a change
    replaces values and never edits arrays in place.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.token = secrets.token_urlsafe(24)
        self.uploads = PageUploads()
        self.version = 0
        self.study: StudyVolume | None = None
        self.session: Session | None = None
        self.structures: dict[str, Structure] = {}
        self.active = ""
        self.displays: dict[Plane, SliceDisplay] = {}
        self.windows: dict[str, dict[str, float]] = {}
        self.study_number = 0
        self.wishes = PlanWishes()
        self.plan: PlanResult | None = None
        self.chosen = 0
        """Alternative that is drawn."""
        self.margin_statements: tuple[MarginStatement, ...] = ()
        """Of the plan: why each margin is as wide as it is."""
        self.assessment: Assessment | None = None
        """Of the plan: its verdict and what must be known beside it."""
        self.has_report = False
        self.has_archive = False
        self.folder: Path | None = None
        self.is_cancelled = False
        self._lock = threading.Lock()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the workbench for one change.

        Raises
        ------
        MedsamPlannerError
            If a long computation holds it.
        """
        if not self._lock.acquire(timeout=PATIENCE_S):
            raise MedsamPlannerError("A computation is still running. Wait until it is done, or press Stop.")
        try:
            yield
        finally:
            self._lock.release()

    def open(
        self, path: Path, *, series: str | None = None, resample_tilt: bool = False, progress: Progress | None = None
    ) -> None:
        """Read a study and begin a session on it; what was open before is closed.

        Raises
        ------
        StudyError
            If it cannot be read as one volume.
        WeightsError
            If the model is not there.
        """
        study = load_volume(path, series=series, resample_tilt=resample_tilt, progress=progress)
        session = Session(study, self.settings.model, seed=self.settings.seed)
        self.study, self.session = study, session
        self.displays = {plane: display_for(study, plane) for plane in Plane}
        self.structures, self.active = {}, ""
        self.windows = display_windows(study)
        self.study_number += 1
        self.folder = None
        self.wishes = PlanWishes()
        self.forget_plan()
        self.begin(FIRST_STRUCTURE)

    def place_of(self, text: str) -> Path:
        """The study that was typed or uploaded, if it may be read.

        Raises
        ------
        StudyError, UploadRefusedError
            If it may not, or is not there.
        """
        return self.uploads.study(text.strip()) or self.settings.allowed(text)

    def begin(self, name: str) -> None:
        """Begin a structure of this name and work on it.

        Raises
        ------
        PromptError
            If there is one of that name, or the name cannot be used.
        """
        session = self.require_session()
        name = name.strip()
        if name in self.structures:
            raise PromptError(f"There is a structure named '{name}' already. Choose it in the list.")
        session.log(name)
        if self.active == FIRST_STRUCTURE and not self.log.history:
            del self.structures[FIRST_STRUCTURE]  # nobody used it: the first real name takes its place
        self.structures[name] = Structure(name, COLOURS[len(self.structures) % len(COLOURS)])
        self.active = name

    def choose(self, name: str) -> None:
        """Work on another structure."""
        if name not in self.structures:
            raise PromptError(f"Expected one of the structures {', '.join(self.structures)}, got '{name}'.")
        self.active = name

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
        self._add(Click(self.position(plane, slice_index, column, row), positive))

    def draw_box(self, plane: Plane, slice_index: int, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Say that the structure's section lies in a rectangle of (column, row) corners, cut at the slice's edge."""
        self.require_session()
        display = self.displays[plane]
        limits = np.array(display.size) - 1
        corners = np.clip(np.rint(np.array([first, last], dtype=np.float64)), 0, limits)
        if (corners[0] == corners[1]).any():
            raise PromptError("That box is less than two voxels wide. Draw it larger, or click a point instead.")
        self._add(Box(*(display.lps_at(slice_index, column, row) for column, row in corners.tolist())))

    def _add(self, prompt: Prompt) -> None:
        self.require_session().add(prompt, structure=self.active)
        self._prompts_changed()

    def undo(self) -> None:
        """Take back the last step."""
        self.log.undo()
        self._prompts_changed()

    def redo(self) -> None:
        """Bring back the last undone step."""
        self.log.redo()
        self._prompts_changed()

    def clear(self) -> None:
        """Take off all prompts of the structure, as one step that can be undone."""
        self.log.clear()
        self._prompts_changed()

    def _prompts_changed(self) -> None:
        structure = self.structure
        structure.is_stale = structure.result is not None
        structure.previews = self._preview()
        self.save()

    def _preview(self) -> dict[int, dict[int, NDArray[np.float32]]]:
        # Only negative clicks say where the structure is not: there is nothing to show yet, and that is no error.
        if not any(isinstance(prompt, Box) or prompt.positive for prompt in self.log.prompts):
            return {}
        found = self.require_session().preview(structure=self.active)
        return {axis: {index: one.probability for index, one in slices.items()} for axis, slices in found.items()}

    def segment(
        self, *, samples: int, uncertainty: str, saliency: bool, triplanar: bool, progress: Progress | None = None
    ) -> None:
        """Run the structure to 3D; options as of :meth:`medsam_planner.Session.segment`."""
        structure = self.structure
        structure.result = self.require_session().segment(
            structure=self.active,
            samples=samples,
            uncertainty=uncertainty,
            saliency=saliency,
            triplanar=triplanar,
            progress=progress,
        )
        structure.is_stale = False
        self.forget_plan()

    def forget_plan(self) -> None:
        """What a plan was made from has changed: it must not be looked at as if it still held."""
        self.plan, self.chosen, self.margin_statements, self.assessment = None, 0, (), None
        self.has_report = self.has_archive = False

    def set_role(self, role: Role) -> None:
        """Say what the plan does with the active structure.

        Raises
        ------
        PromptError
            If there is no such role.
        """
        if role not in ROLES:
            raise PromptError(f"Expected a role of {', '.join(ROLES)}, got {role!r}.")
        self.structure.role = role
        self.forget_plan()

    def set_end(self, *, target: PositionLpsMm | None = None, entry: PositionLpsMm | None = None) -> None:
        """Say where the tool must end, or where it may enter."""
        if target is not None:
            self.wishes = replace(self.wishes, target_lps_mm=target)
        if entry is not None:
            self.wishes = replace(self.wishes, entry_lps_mm=entry)
        self.forget_plan()

    def save(self) -> Path:
        """Write every structure's prompts, with their undone steps, to the run folder."""
        session = self.require_session()
        study = session.volume
        provenance = Provenance(
            affine=tuple(tuple(float(value) for value in row) for row in study.affine),
            shape=tuple(int(size) for size in study.spatial_shape),
            frame_of_reference_uid=study.frame_of_reference_uid,
            model=session.model.name,
            weights_sha256=session.model.weights_sha256,
            seed=session.seed,
            versions=versions(),
        )
        path = self.run_folder() / "prompts.json"
        logs = tuple(session.log(name) for name in self.structures)
        write_prompt_file(path, PromptFile(logs=logs, provenance=provenance))
        return path

    def resume(self, path: Path) -> None:
        """Take over the prompts of a file, in place of those of the same structures.

        Raises
        ------
        PromptError, GeometryError
            If the file cannot be read, or its prompts do not belong to this study.
        """
        session = self.require_session()
        study = session.volume
        stored = read_prompt_file(path)
        validate_file(stored, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
        if len(self.structures) == 1 and not self.log.history:
            self.structures = {}
        for log in stored.logs:
            session.restore(log)
            if log.structure not in self.structures:
                colour = COLOURS[len(self.structures) % len(COLOURS)]
                self.structures[log.structure] = Structure(log.structure, colour)
            self.active = log.structure
            self._prompts_changed()
        self.active = stored.logs[0].structure

    def run_folder(self) -> Path:
        """The folder of this work, made when it is first needed."""
        from medsam_planner.workflow.run_folder import open_run_folder

        if self.folder is None:
            name = "study" if self.study is None or self.study.source is None else self.study.source.path.name
            self.folder = open_run_folder(self.settings.out / f"{name.split('.')[0]}-{secrets.token_hex(3)}")
        return self.folder

    @property
    def chosen_line_lps_mm(self) -> NDArray[np.float64] | None:
        """(2, 3) entry and target of the alternative that is drawn; None without a path."""
        if self.plan is None or not self.plan.alternatives:
            return None
        one = self.plan.alternatives[min(self.chosen, len(self.plan.alternatives) - 1)]
        return np.array([one.entry_lps_mm, one.target_lps_mm], dtype=np.float64)

    def choose_alternative(self, number: int) -> None:
        """Draw another alternative.

        Raises
        ------
        PlanningError
            If there is none of that number, counted from 0.
        """
        if self.plan is None or not 0 <= number < len(self.plan.alternatives):
            raise PlanningError(f"There is no alternative {number + 1}. Find paths first.")
        self.chosen = number

    def slice_of(self, plane: Plane, position_lps_mm: PositionLpsMm) -> int:
        """The slice of a plane that holds a place."""
        display = self.displays[plane]
        return int(np.rint(index_from_lps(display.affine, position_lps_mm)[display.axis]))
