"""Open a study in a workbench, or take up the saved work on one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsam_planner.errors import OutputError, StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.output_folder import require_apart
from medsam_planner.progress import Progress
from medsam_planner.segmentation.session import Session
from medsam_planner.service import saved_work
from medsam_planner.service.autosave import Autosave
from medsam_planner.service.display import Plane, display_for, display_windows
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.restoring import Waiting, restore
from medsam_planner.service.saved_work import Opened, SavedWork
from medsam_planner.service.snapshot import WITHOUT_PLAN
from medsam_planner.service.structure import COLOURS, FIRST_STRUCTURE, Structure
from medsam_planner.service.uploads import SHOWN_AS, UploadKind
from medsam_planner.service.workbench import Workbench

__all__ = ["open_study", "place_of", "restore_work"]


def place_of(workbench: Workbench, text: str) -> Path:
    """Path of the study that was typed or uploaded.

    Raises
    ------
    StudyError, UploadRefusedError
        If it may not be read, or is not there.
    """
    return workbench.uploads.study(text.strip()) or workbench.settings.allowed(text)


def open_study(
    workbench: Workbench,
    path: Path,
    *,
    series: str | None = None,
    resample_tilt: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Read a study and begin a session on it. The work on the study open before stays on disk.

    If the workbench has saved work waiting that is on this very study, that work continues.

    Parameters
    ----------
    workbench : Workbench
    path : Path
    series : str, optional
        Number of the series, where the study holds several.
    resample_tilt : bool
        Whether a gantry tilt is resampled away.
    progress : Progress, optional

    Returns
    -------
    list of str
        What of the saved work could not be restored, in words.

    Raises
    ------
    StudyError
        If the study cannot be read as one volume, or its folder contains the folder for results.
    WeightsError
        If the model is not available.
    """
    upload = workbench.uploads.find(UploadKind.STUDY)
    place = f"{SHOWN_AS}{path.name}" if path == upload else str(path.absolute())
    opened = Opened(place, series, resample_tilt)
    session = _session_on(workbench, path, opened, progress)
    waiting = workbench.waiting
    if waiting is not None and session.study_sha256 == waiting.image_sha256:
        return _continue(workbench, waiting, saved_work.read_work(waiting.folder), session, opened)
    session.log(FIRST_STRUCTURE)
    first = Structure(FIRST_STRUCTURE, COLOURS[0])
    autosave = Autosave(workbench.settings.out, opened, session, key=workbench.key_of_next_study())
    _begin_work(workbench, session, autosave, {first.name: first}, active=first.name, draft=PlanDraft())
    autosave.mark_saved(workbench.snapshot)  # there are no prompts yet, so there is nothing to save
    return []


def restore_work(workbench: Workbench, *, progress: Progress | None = None) -> list[str]:
    """Continue the saved work that the workbench has waiting on disk.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional

    Returns
    -------
    list of str
        What could not be restored, in words.

    Raises
    ------
    MedsamPlannerError
        If the saved work or its study cannot be read, or the study has changed since.
    """
    if workbench.waiting is None:
        return []
    work = saved_work.read_work(workbench.waiting.folder)
    session = _session_on(workbench, place_of(workbench, work.opened.place), work.opened, progress)
    if session.study_sha256 != work.image_sha256:
        raise StudyError(f"{work.opened.name} has changed since this work was saved: its voxels differ.")
    return _continue(workbench, workbench.waiting, work, session, work.opened)


def _session_on(workbench: Workbench, path: Path, opened: Opened, progress: Progress | None) -> Session:
    settings = workbench.settings
    try:
        require_apart(settings.out, [path])
    except OutputError as error:
        raise StudyError(
            f"{path.name} contains the folder for results, which would then become files of the study. Open the "
            "folder of the series itself, upload the study, or restart with --out elsewhere."
        ) from error
    study = load_volume(path, series=opened.series, resample_tilt=opened.resample_tilt, progress=progress)
    return Session(study, settings.model, seed=settings.seed)


def _continue(workbench: Workbench, waiting: Waiting, work: SavedWork, session: Session, opened: Opened) -> list[str]:
    structures, lost = restore(session, work, waiting.folder)
    active = work.active if work.active in structures else next(iter(structures))
    autosave = Autosave(workbench.settings.out, opened, session, key=waiting.key, folder=waiting.folder)
    _begin_work(workbench, session, autosave, structures, active=active, draft=work.draft)
    on_disk = {name: work.result_files[name] for name in structures if structures[name].result}
    autosave.mark_saved(workbench.snapshot, on_disk)
    return lost


def _begin_work(
    workbench: Workbench, session: Session, autosave: Autosave, structures: Mapping[str, Structure], **changes: Any
) -> None:
    study = session.volume
    workbench.session, workbench.autosave, workbench.waiting = session, autosave, None
    workbench.publish(
        study=study,
        study_number=workbench.snapshot.study_number + 1,
        displays={plane: display_for(study, plane) for plane in Plane},
        windows=display_windows(study, session.normalisation),
        structures=structures,
        **WITHOUT_PLAN,
        **changes,
    )
