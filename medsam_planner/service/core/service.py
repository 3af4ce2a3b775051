"""What every door calls: one data folder, its studies and sessions. Free of HTTP and of any page."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.engine.registry import WeightsState, list_weights, load_model
from medsam_planner.errors import (
    ConfigError,
    MedsamPlannerError,
    NotThereError,
    OutputError,
    PlanningError,
    StudyError,
)
from medsam_planner.geometry import volume_ml
from medsam_planner.io.fault_log import log_fault
from medsam_planner.io.output_folder import require_apart
from medsam_planner.planning.clearance import Clearance, clearance
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.propagation.sources import source_named
from medsam_planner.provenance import PlanOrigin
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service.core.exports import ResultFile, write_result_file
from medsam_planner.service.core.jobs import Job, Jobs, JobState
from medsam_planner.service.core.leases import IDLE_S, Leases
from medsam_planner.service.core.loaded import LoadedWorks, result_path
from medsam_planner.service.core.study_store import StoredStudy, StudyStore, new_identifier
from medsam_planner.service.core.work import StoredResult, Work
from medsam_planner.service.display import Plane, display_for, display_windows
from medsam_planner.service.saved_result import write_result
from medsam_planner.service.settings import Settings
from medsam_planner.service.slice_view import grey_png
from medsam_planner.workflow.plan_request import build_structure, resolve
from medsam_planner.workflow.written_plan import write_plan

__all__ = ["MOST_LINES", "Limits", "SegmentOptions", "Service"]

MOST_LINES = 1000
"""Most trajectories whose clearance is measured at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on."""

    sessions: int = 16
    """Most sessions that clients may hold at once."""
    idle_s: float = IDLE_S
    """A session is freed after so long without a sign of life."""
    liveness_s: float = 60.0
    """A client that beats on its own is gone after so long without a beat; at least 30 s, as one beats every 30 s."""
    loaded_bytes: int = 8 << 30
    """Memory of studies, embeddings and results together."""


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """As the parameters of :meth:`medsam_planner.Session.segment`."""

    samples: int = 16
    uncertainty: str = "dropout"
    saliency: bool = False
    triplanar: bool = False


class Service:
    """The studies and sessions of one data folder; one process at a time.

    Parameters
    ----------
    settings : Settings
        `out` is the data folder, `model` the model of sessions that name none.
    limits : Limits, optional

    Raises
    ------
    OutputError
        If the data folder cannot be used, or another server uses it.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.settings = settings
        self.limits = limits or Limits()
        self.data = settings.out
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = _locked(self.data / "lock")
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"The data folder {self.data} cannot be used: {error.strerror or error}.") from error
        self._lock = threading.Lock()
        self.leases = Leases(self.limits.sessions, idle_s=self.limits.idle_s)
        self.studies = StudyStore(self.data / "studies")
        self.loaded = LoadedWorks(self.limits.loaded_bytes)
        self.unreadable: tuple[str, ...] = ()
        """Sessions whose journal or study cannot be read."""
        self._works: Mapping[str, Work] = self._read_works()
        self.jobs = Jobs(on_progress=self.leases.touch, on_end=self._record_end, on_fault=_said_of_fault)
        for work in self._works.values():
            self._recall_jobs(work)

    def close(self) -> None:
        """Stop the jobs and let go of the data folder."""
        self.jobs.close()
        os.close(self._lock_file)

    # ---- studies ----------------------------------------------------------------------------------------------------
    def open_path(self, text: str, *, series: str | None = None, resample_tilt: bool = False) -> StoredStudy:
        """Open a study at a path on the server.

        Parameters
        ----------
        text : str
            Within the allowed folders.
        series : str, optional
            Which of several.
        resample_tilt : bool
            Whether a gantry tilt is resampled away.

        Raises
        ------
        StudyError
            If it may not be read, or not as one volume.
        """
        path = self.settings.allowed(text)
        data = self.data.resolve()
        if data == path.resolve() or data in path.resolve().parents:
            raise StudyError("The server's own data folder cannot be opened as a study. Upload the study.")
        try:
            require_apart(self.data, [path])
        except OutputError as error:
            raise StudyError(
                f"{path.name} contains the server's data folder. Name the folder of the series."
            ) from error
        return self._open(path, new_identifier(), series, resample_tilt)

    def open_upload(
        self, identifier: str, path: Path, *, series: str | None = None, resample_tilt: bool = False
    ) -> StoredStudy:
        """Open a study whose file was uploaded to the folder of :meth:`upload_folder`; one that fails is deleted."""
        try:
            return self._open(path, identifier, series, resample_tilt)
        except BaseException:
            shutil.rmtree(self.studies.folder_of(identifier), ignore_errors=True)
            raise

    def upload_folder(self) -> tuple[str, Path]:
        """Identifier and a new folder for an uploaded study."""
        identifier = new_identifier()
        folder = self.studies.folder_of(identifier) / "source"
        folder.mkdir(parents=True, mode=0o700)
        return identifier, folder

    def _open(self, path: Path, identifier: str, series: str | None, resample_tilt: bool) -> StoredStudy:
        study, volume = self.studies.add(path, identifier, series=series, resample_tilt=resample_tilt)
        self.loaded.keep(study, volume)
        return study

    # ---- sessions ---------------------------------------------------------------------------------------------------
    def open_session(
        self, study: str, model: str | None = None, *, held: tuple[str, str] | None = None
    ) -> tuple[Work, str]:
        """Begin a session on a study and hold it.

        Parameters
        ----------
        study : str
            Identifier of the study.
        model : str, optional
            Name of a model; no path.
        held : (str, str), optional
            What the client holds and the token of its lease, which holds the session instead; by default a new one.

        Returns
        -------
        Work, str
            The session and the token of its lease.

        Raises
        ------
        NotThereError, WeightsError, AtCapacityError, LeaseHeldError, LeaseLostError, OutputError
        """
        stored = self.studies.find(study)
        name = self._model(model)
        identifier = new_identifier()
        lease = self.leases.claim(identifier) if held is None else held[1]
        try:
            folder = self.data / "sessions" / identifier
            try:
                (folder / "results").mkdir(parents=True, mode=0o700)
            except OSError as error:
                raise OutputError(f"The session cannot be begun: {error.strerror or error}.") from error
            work = Work(folder, identifier, stored)
            work.record("opened", study=study, model=name, seed=self.settings.seed)
            if held is not None:
                self.leases.move(*held, to=identifier)
        except BaseException:
            if held is None:
                self.leases.release(identifier, lease)
            shutil.rmtree(self.data / "sessions" / identifier, ignore_errors=True)
            raise
        with self._lock:
            self._works = {**self._works, identifier: work}
        return work, lease

    def sessions(self) -> tuple[Work, ...]:
        """Every session, the one changed last first."""
        return tuple(sorted(self._works.values(), key=lambda work: work.state.at, reverse=True))

    def session(self, identifier: str) -> Work:
        """One session.

        Raises
        ------
        NotThereError
        """
        try:
            return self._works[identifier]
        except KeyError:
            raise NotThereError("There is no such session. List the sessions, or open one on a study.") from None

    def acting(self, identifier: str, lease: str | None) -> Work:
        """One session, for a client that holds it.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        work = self.session(identifier)
        self.leases.require(identifier, lease)
        return work

    # ---- jobs -------------------------------------------------------------------------------------------------------
    def segment(self, work: Work, structure: str, options: SegmentOptions, *, event: str | None = None) -> str:
        """Begin to segment a structure in 3D from its present prompts.

        Parameters
        ----------
        work : Work
        structure : str
        options : SegmentOptions
        event : str, optional
            The client's identifier of the request: the same one again gives the same job.

        Returns
        -------
        str
            Identifier of the job.

        Raises
        ------
        NotThereError, PromptError, AtCapacityError, OutputError
        """
        check_samples(options.samples)
        source_named(options.uncertainty)
        with work.changing():
            steps = work.state.require(structure)
            run = partial(self._run_segment, work, structure, steps.log(), options)
            return self._begin(
                work, "segment", run, event, structure=structure, digest=steps.digest, options=asdict(options)
            )

    def plan(self, work: Work, request: PlanRequest, origin: PlanOrigin, *, event: str | None = None) -> str:
        """Begin to plan trajectories past the structures of a session.

        Parameters
        ----------
        work : Work
        request : PlanRequest
            Of structures that were segmented from their present prompts.
        origin : PlanOrigin
            Where the request came from.
        event : str, optional
            As :meth:`segment`.

        Returns
        -------
        str
            Identifier of the job, and of its plan.

        Raises
        ------
        NotThereError, StaleError, AtCapacityError, OutputError
        """
        with work.changing():
            results = self._results_for(work, request)
            run = partial(self._run_plan, work, request, origin, results)
            return self._begin(work, "plan", run, event, title=request.title)

    def cancel(self, identifier: str, lease: str | None) -> Job:
        """Ask a job to stop.

        Raises
        ------
        NotThereError, LeaseHeldError, LeaseLostError
        """
        job = self.jobs.find(identifier)
        self.acting(job.session, lease)
        return self.jobs.cancel(identifier)

    def plan_folder(self, work: Work, plan: str) -> Path:
        """Folder of a finished plan.

        Raises
        ------
        NotThereError
        """
        ended = work.state.ends.get(plan)
        if ended is None or ended["state"] != "done" or work.state.jobs[plan]["task"] != "plan":
            raise NotThereError("There is no such plan. Its job has not ended, or failed.")
        return work.folder / "plans" / plan

    # ---- answers ----------------------------------------------------------------------------------------------------
    def result_file(
        self, work: Work, structure: str, kind: ResultFile, *, allow_stale: bool = False
    ) -> tuple[Path, StoredResult]:
        """A file of the 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError, OutputError
        """
        stored = work.state.result(structure, allow_stale=allow_stale)
        folder = result_path(work, stored.job).parent
        path = kind.path(folder, structure)
        if not path.exists():
            result = self.loaded.result(work, structure, stored)
            write_result_file(folder, kind, result, self.loaded.volume(work.study))
        return path, stored

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
        loaded = self.loaded.session(work)
        display = display_for(loaded.volume, plane)
        if not 0 <= index < display.slice_count:
            raise NotThereError(f"Expected a {plane.value} slice from 0 to {display.slice_count - 1}, got {index}.")
        preset = next(iter(display_windows(loaded.volume, loaded.session.normalisation).values()))
        middle = preset["centre"] if centre is None else centre
        span = preset["width"] if width is None else width
        return grey_png(display.picture(loaded.volume.array, index), middle - span / 2, middle + span / 2)

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
        lines = np.asarray(lines_lps_mm, dtype=np.float64)
        if lines.ndim != 3 or not 1 <= len(lines) <= MOST_LINES:
            raise PlanningError(f"Expected 1 to {MOST_LINES} lines of two positions each, LPS mm.")
        volume = self.loaded.volume(work.study)
        built = []
        for wanted in structures:
            evidence = self._evidence(work, wanted.name, work.state.result(wanted.name))
            built.append(build_structure(wanted, evidence, volume)[0])
        return clearance(lines, built, tool)

    def models(self) -> tuple[str, ...]:
        """Names of the models whose weights are there."""
        there = (WeightsState.SHIPPED, WeightsState.FETCHED)
        names = [row.name for row in list_weights() if row.state in there]
        return tuple(names if self.settings.model in names else [self.settings.model, *names])

    # ---- inside -----------------------------------------------------------------------------------------------------
    def _model(self, name: str | None) -> str:
        """A model by name; the one of the settings may also be a path, which no client can name."""
        if name is None or name == self.settings.model:
            return self.settings.model
        known = [row.name for row in list_weights()]
        if name not in known:
            raise ConfigError(f"Expected one of the models {', '.join(known)}, got {name!r}.")
        load_model(name)  # absent or damaged weights are told now and not by the first job
        return name

    def _read_works(self) -> dict[str, Work]:
        found = {}
        unreadable = []
        for folder in sorted((self.data / "sessions").glob("*/")):
            try:
                study = self.studies.find(_study_of(folder))
                found[folder.name] = Work(folder, folder.name, study)
            except MedsamPlannerError as error:
                unreadable.append(f"{folder.name}: {error}")
        self.unreadable = tuple(unreadable)
        return found

    def _recall_jobs(self, work: Work) -> None:
        """Jobs of an earlier process; one that had not ended was interrupted."""
        for identifier, begun in work.state.jobs.items():
            job = Job(identifier, work.identifier, begun["task"], begun.get("structure"))
            ended = work.state.ends.get(identifier)
            if ended is None:
                problem = {"code": "interrupted", "detail": "The server ended during this job. Ask for it again."}
                job = replace(job, state=JobState.FAILED, problem=problem)
                with suppress(MedsamPlannerError):  # a damaged journal, or a full disk: it is interrupted all the same
                    self._record_end(job)
            else:
                job = replace(
                    job, state=JobState(ended["state"]), result=ended.get("result"), problem=ended.get("problem")
                )
            self.jobs.recall(job)

    def _begin(self, work: Work, task: str, run: Any, event: str | None, **entries: Any) -> str:
        if event is not None and event in work.state.n_by_event:
            n = work.state.n_by_event[event]
            for identifier, begun in work.state.jobs.items():
                if begun["n"] == n:
                    return identifier
            raise ConfigError(f"Expected an event_id of its own for each request, got {event!r} of an earlier change.")
        self.jobs.require_room(work.identifier)
        identifier = new_identifier()
        work.record("job", event=event, job=identifier, task=task, **entries)
        self.jobs.submit(Job(identifier, work.identifier, task, entries.get("structure")), partial(run, identifier))
        return identifier

    def _record_end(self, job: Job) -> None:
        told: dict[str, Any] = {"job": job.identifier, "state": job.state.value}
        if job.result is not None:
            told["result"] = dict(job.result)
        if job.problem is not None:
            told["problem"] = dict(job.problem)
        self.session(job.session).record("job-ended", **told)

    def _run_segment(
        self, work: Work, structure: str, log: Any, options: SegmentOptions, job: str, progress: Progress
    ) -> dict[str, Any]:
        loaded = self.loaded.session(work, progress=progress)
        loaded.session.restore(log)
        result = loaded.session.segment(structure=structure, progress=progress, **asdict(options))
        write_result(result_path(work, job), result)
        loaded.results = {**loaded.results, structure: (job, result)}
        self.loaded.evict()
        return {
            "mask_sha256": result.provenance.mask_sha256,
            "volume_ml": volume_ml(result.mask.array, result.mask.affine),
            **asdict(options),
        }

    def _results_for(self, work: Work, request: PlanRequest) -> dict[str, StoredResult]:
        """Every result of present prompts; of what the request names there must be one."""
        named = [one.name for one in request.structures]
        for tool in request.tools:
            named += [name for name in (tool.entry.structure, tool.target.structure) if name is not None]
        for name in named:
            work.state.result(name)
        state = work.state
        return {name: one for name, one in state.results.items() if not state.is_stale(name)}

    def _evidence(self, work: Work, structure: str, stored: StoredResult) -> StructureEvidence:
        return StructureEvidence.of_result(self.loaded.result(work, structure, stored), work.log(structure))

    def _run_plan(
        self,
        work: Work,
        request: PlanRequest,
        origin: PlanOrigin,
        results: Mapping[str, StoredResult],
        job: str,
        progress: Progress,
    ) -> dict[str, Any]:
        volume = self.loaded.volume(work.study, progress=progress)
        evidence = {name: self._evidence(work, name, stored) for name, stored in results.items()}
        inputs = resolve(request, volume, evidence, origin=origin)
        folder = work.folder / "plans" / job
        folder.mkdir(parents=True, exist_ok=True)
        written = write_plan(inputs, folder, progress=progress)
        return {"plan": job, "is_feasible": written.feasible, "notes": list(written.notes)}


def _study_of(folder: Path) -> str:
    """Identifier of the study of a session, from the head of its journal."""
    try:
        with (folder / "journal.jsonl").open("rb") as file:
            head = json.loads(file.readline())
        return str(head["study"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError("The head of its journal cannot be read.") from error


def _locked(path: Path) -> int:
    """Lock the data folder for the life of the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        import fcntl
    except ImportError:  # Windows
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise OutputError(
            f"Another server uses the data folder {path.parent}. Stop it, or name another folder with --data."
        ) from error
    return handle


def _said_of_fault(error: Exception) -> str:
    """Log a fault of the program; what a client is told names no place of the server."""
    log = log_fault(error)
    where = "its log could not be written" if log is None else f"its log is {log.name}"
    return f"A fault of the program ({type(error).__name__}); {where}. Tell the administrator of the server."
