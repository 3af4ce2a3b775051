"""What a worker keeps in memory to answer faster; all of it can be computed again from logs and files."""

from __future__ import annotations

import gc
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.embedding_files import default_bytes
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.segmentation.session import Session
from medsam_planner.service.core.loaded import result_bytes
from medsam_planner.service.core.mapped_study import STUDIES_KEPT, read_copy
from medsam_planner.service.core.plan_memory import PlanMemory
from medsam_planner.service.saved_result import read_result
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.plan import Plan

__all__ = ["SessionKey", "StudyKey", "WorkerMemory", "private_bytes"]

_EMBEDDING_SHARE = 4
"""Embeddings may take a fourth of the memory: a fifth of a second brings one back."""
_FIELD_SHARE = 8
"""Distance fields may take an eighth."""


@dataclass(frozen=True, slots=True)
class StudyKey:
    """A study as a worker finds it."""

    folder: Path
    sha256: str
    is_identified: bool | None = None
    """Whether reports name the patient; None leaves it to the study's files."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Everything that a session's masks depend on, apart from the prompts."""

    session: str
    study: StudyKey
    model: str
    seed: int
    engine: str = "auto"


class WorkerMemory:
    """Studies, sessions and results of one worker process, those used last kept.

    Parameters
    ----------
    most_bytes : int
        Private memory beyond that of the empty worker; mapped studies do not count. What is being used stays.
    most_session_bytes : int
        The same for one session: one that takes more is forgotten after each request.
    embeddings : Path, optional
        Folder in which those of a slow encoder are kept, for all workers.
    """

    def __init__(self, most_bytes: int, most_session_bytes: int, embeddings: Path | None = None) -> None:
        self.most_bytes, self.most_session_bytes = most_bytes, most_session_bytes
        self._volumes: OrderedDict[StudyKey, StudyVolume] = OrderedDict()
        self._sessions: OrderedDict[str, tuple[SessionKey, Session]] = OrderedDict()
        self._bytes_by_session: dict[str, int] = {}
        self._results: OrderedDict[Path, SegmentationResult] = OrderedDict()
        self._fields: OrderedDict[Hashable, tuple[tuple[DistanceField, ...], int]] = OrderedDict()
        """With their memory."""
        self.plans = PlanMemory(most_bytes // _FIELD_SHARE)
        self.found_plan: tuple[Path, Plan] | None = None
        """Folder and plan of the last search, until its report is written."""
        self._embeddings = EmbeddingCache(
            min(most_bytes, most_session_bytes) // _EMBEDDING_SHARE,
            embeddings,
            max_folder_bytes=default_bytes(),
        )
        self._empty_bytes = private_bytes()

    @property
    def held_bytes(self) -> int:
        """Private memory beyond that of the empty worker."""
        return max(private_bytes() - self._empty_bytes, 0)

    def volume(self, key: StudyKey) -> StudyVolume:
        """The voxels of a study.

        Raises
        ------
        StudyError
        """
        if key not in self._volumes:
            self._volumes[key] = read_copy(key.folder, key.sha256, is_identified=key.is_identified)
            if len(self._volumes) > STUDIES_KEPT:
                self._volumes.popitem(last=False)
        self._volumes.move_to_end(key)
        return self._volumes[key]

    def session(self, key: SessionKey) -> Session:
        """A session of a study under a model.

        Raises
        ------
        StudyError, WeightsError
        """
        known = self._sessions.get(key.session)
        if known is None or known[0] != key:
            session = Session(
                self.volume(key.study), key.model, seed=key.seed, cache=self._embeddings, engine=key.engine
            )
            self._sessions[key.session] = (key, session)
        self._sessions.move_to_end(key.session)
        return self._sessions[key.session][1]

    def result(self, path: Path, study: StudyKey) -> SegmentationResult:
        """A 3D result.

        Raises
        ------
        MedsamPlannerError
            If it cannot be read.
        """
        if path not in self._results:
            self._results[path] = read_result(path, self.volume(study))
            while len(self._results) > 1 and sum(map(result_bytes, self._results.values())) > self.most_bytes:
                self._results.popitem(last=False)
        self._results.move_to_end(path)
        return self._results[path]

    def fields(self, key: Hashable, build: Callable[[], tuple[DistanceField, ...]]) -> tuple[DistanceField, ...]:
        """Distance fields of structures in a region, built where they are not kept."""
        if key in self._fields:
            self._fields.move_to_end(key)
            return self._fields[key][0]
        before_bytes = private_bytes()
        fields = build()
        self._fields[key] = fields, max(private_bytes() - before_bytes, 0)
        while sum(taken for _, taken in self._fields.values()) > self.most_bytes // _FIELD_SHARE:
            self._fields.popitem(last=False)
        return fields

    def forget(self, session: str) -> None:
        """Free what was computed for a session."""
        self._sessions.pop(session, None)
        self._bytes_by_session.pop(session, None)

    def shrink(self, used: str | None, grown_bytes: int) -> None:
        """Keep to the limits after a request.

        Parameters
        ----------
        used : str or None
            The session that was used.
        grown_bytes : int
            By how much the process has grown since.
        """
        if used in self._sessions and used is not None:
            taken = self._bytes_by_session[used] = max(self._bytes_by_session.get(used, 0) + grown_bytes, 0)
            if taken > self.most_session_bytes:
                self.forget(used)
        while self.held_bytes > self.most_bytes and (self._sessions or self._results or self._fields or self.plans):
            if self._fields:
                self._fields.popitem(last=False)
            elif self.plans.clear():
                self.found_plan = None
            elif self._results:
                self._results.popitem(last=False)
            else:
                self.forget(next(iter(self._sessions)))
            gc.collect()


def private_bytes() -> int:
    """Memory of this process without mapped files; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
