"""What is read of the sessions of a data folder, or computed while the caller waits. Free of HTTP and of any page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import NotThereError
from medsam_planner.io.intensity import Window
from medsam_planner.planning.clearance import Clearance
from medsam_planner.planning.request import StructureRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.service.core.alternatives import Alternatives
from medsam_planner.service.core.computations import Computations
from medsam_planner.service.core.data_folder import DataFolder
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.packing import ARCHIVE
from medsam_planner.service.core.pictures import preview_picture, slice_picture
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.display import Plane
from medsam_planner.service.settings import Settings
from medsam_planner.workflow.restated_plan import restate

__all__ = ["SessionReader"]


class SessionReader(DataFolder):
    """The sessions of one data folder, to be read; parameters and errors as :class:`DataFolder`."""

    def __init__(self, settings: Settings, limits: Limits, *, on_prompts: Callable[[Work, str], None]) -> None:
        super().__init__(settings, limits, on_prompts=on_prompts)
        self.computations = Computations(self.studies, self.limits, settings)

    def preview(
        self, work: Work, structure: str, *, progress: Progress | None = None
    ) -> Mapping[int, Mapping[int, NDArray[np.float32]]]:
        """Predictions on the prompted slices of a structure; waits for its worker, and is called from threads.

        Parameters
        ----------
        work : Work
        structure : str
        progress : Progress, optional
            May cancel.

        Returns
        -------
        mapping
            (H, W) probability by array axis and slice index; empty where no prompt says where the structure is.

        Raises
        ------
        NotThereError, StudyError, WeightsError, WorkerDiedError, OperationCancelledError
        """
        return self.computations.preview(work, work.log(structure), progress)

    def alternatives(self, work: Work, structure: str) -> Alternatives | None:
        """The model's answers to the last prompt of a structure; waits for its worker, and is called from threads.

        Parameters
        ----------
        work : Work
        structure : str

        Returns
        -------
        Alternatives or None
            None where the last prompt is neither a box nor a click inside.

        Raises
        ------
        NotThereError, StudyError, WeightsError, WorkerDiedError
        """
        return self.computations.alternatives(work, work.log(structure))

    def slice_png(
        self, work: Work, plane: Plane, index: int, *, centre: float | None = None, width: float | None = None
    ) -> bytes:
        """One slice of the study as an 8-bit grey PNG, as a radiologist sees it.

        Parameters
        ----------
        work : Work
        plane : Plane
        index : int
            From 0.
        centre, width : float, optional
            Display window, in units of the study; by default its first preset.

        Raises
        ------
        NotThereError
            If there is no such slice.
        """
        volume = self.loaded.volume(work.study)
        preset = next(iter(self.loaded.windows(work.study).values()))
        shown = Window(preset["centre"] if centre is None else centre, preset["width"] if width is None else width)
        return slice_picture(volume, plane, index, shown)

    def preview_png(self, work: Work, structure: str, plane: Plane, index: int) -> bytes:
        """The prediction on one prompted slice as an 8-bit grey PNG, oriented as :meth:`slice_png`: probability × 255.

        Raises
        ------
        NotThereError
            If there is no such slice, or no prompt of the structure on it.
        """
        by_axis = self.preview(work, structure)
        return preview_picture(self.loaded.volume(work.study), plane, index, by_axis)

    def clearance(
        self, work: Work, structures: tuple[StructureRequest, ...], tool: Tool, lines_lps_mm: ArrayLike
    ) -> Clearance:
        """Clearance of given trajectories from segmented structures.

        Parameters
        ----------
        work : Work
        structures : tuple of StructureRequest
        tool : Tool
        lines_lps_mm : (N, 2, 3) float
            Entry, then target; at most :data:`MOST_LINES`.

        Raises
        ------
        NotThereError, StaleError, PlanningError
        """
        return self.computations.measure(work, structures, tool, lines_lps_mm)

    def result_file(
        self, work: Work, structure: str, kind: ResultFile, *, allow_stale: bool = False
    ) -> tuple[Path, StoredResult]:
        """A file of the 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError, OutputError
        """
        stored = work.state.result(structure, allow_stale=allow_stale)
        path = kind.path(result_path(work, stored.job).parent, structure, work.state.listed[structure].look)
        if not path.exists():
            self.computations.export(work, structure, stored, kind)
        return path, stored

    def plan_folder(self, work: Work, plan: str) -> Path:
        """Folder of a finished plan.

        Raises
        ------
        NotThereError
        """
        ended = work.state.ends.get(plan)
        if ended is None or ended["state"] != "done" or work.state.jobs[plan]["task"] != "plan":
            raise NotThereError("There is no such plan. Its job has not ended, or failed.")
        folder, review = work.folder / "plans" / plan, work.state.reviews.get(plan)
        if review is not None and review.decision is not None:
            restate(folder, review.decision)  # it may have been made, or have ended, since the files were written
        return folder

    def archive(self, work: Work, export: str) -> Path:
        """The archive that a job has written; a session keeps the last one.

        Raises
        ------
        NotThereError
        """
        ended = work.state.ends.get(export)
        if ended is None or ended["state"] != "done" or work.state.jobs[export]["task"] != "export":
            raise NotThereError("There is no such export. Its job has not ended, or failed.")
        path = work.folder / "exports" / export / ARCHIVE
        if not path.is_file():
            raise NotThereError("That export is gone: a later one has taken its place. Export again.")
        return path
