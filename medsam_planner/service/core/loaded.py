"""The sessions whose study is in memory, bounded in bytes. Eviction loses nothing: all that was done is on the disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import highdicom

from medsam_planner.progress import Progress
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.segmentation.session import Session
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.core.work import StoredResult, Work
from medsam_planner.service.saved_result import read_result
from medsam_planner.volumes import StudyVolume

__all__ = ["Loaded", "LoadedWorks", "result_path"]


@dataclass(slots=True)
class Loaded:
    """What is in memory of one session."""

    session: Session
    volume: StudyVolume
    results: dict[str, tuple[str, SegmentationResult]] = field(default_factory=dict)
    """By structure, with the identifier of the job that made it."""
    computing: threading.Lock = field(default_factory=threading.Lock)
    """Held over a computation: its session keeps what it has computed, so one thread at a time may use it."""

    @property
    def own_bytes(self) -> int:
        """Memory of embeddings and results, without the study, which sessions share."""
        volumes = [
            getattr(result, one.name) for _, result in self.results.values() for one in fields(SegmentationResult)
        ]
        return self.session.held_bytes + sum(one.array.nbytes for one in volumes if isinstance(one, highdicom.Volume))


class LoadedWorks:
    """The loaded sessions, those used last kept.

    Parameters
    ----------
    most_bytes : int
        Of studies, embeddings and results together. The session that is being used stays, however large it is.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._by_session: OrderedDict[str, Loaded] = OrderedDict()
        self._volumes: OrderedDict[str, StudyVolume] = OrderedDict()
        """By study; of studies that are only looked at, too."""
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        """Held while a study is read, so that none is read twice at once."""

    def session(self, work: Work, *, progress: Progress | None = None) -> Loaded:
        """A session in memory; its study is read where it is not there yet.

        Raises
        ------
        StudyError, WeightsError
            If the study or the model cannot be read.
        """
        volume = self.volume(work.study, progress=progress)
        with self._lock:
            if work.identifier in self._by_session:
                self._by_session.move_to_end(work.identifier)
                return self._by_session[work.identifier]
        loaded = Loaded(Session(volume, work.state.model, seed=work.state.seed), volume)
        with self._lock:
            loaded = self._by_session.setdefault(work.identifier, loaded)
        self.evict()
        return loaded

    def volume(self, study: StoredStudy, *, progress: Progress | None = None) -> StudyVolume:
        """The voxels of a study.

        Raises
        ------
        StudyError
            If it cannot be read, or has changed.
        """
        found = self._known(study.identifier)
        if found is not None:
            return found
        with self._reading:
            found = self._known(study.identifier)  # another thread may have read it meanwhile
            if found is None:
                found = study.load(progress=progress)
                self.keep(study, found)
        return found

    def keep(self, study: StoredStudy, volume: StudyVolume) -> None:
        """Keep the voxels of a study that was just read."""
        with self._lock:
            self._volumes[study.identifier] = volume
        self.evict()

    def result(self, work: Work, structure: str, stored: StoredResult) -> SegmentationResult:
        """A 3D result.

        Raises
        ------
        MedsamPlannerError
            If it cannot be read.
        """
        loaded = self.session(work)
        job, found = loaded.results.get(structure, ("", None))
        if job != stored.job or found is None:
            found = read_result(result_path(work, stored.job), loaded.volume)
            loaded.results = {**loaded.results, structure: (stored.job, found)}
            self.evict()
        return found

    def forget(self, session: str) -> None:
        """Free the memory of a session that was deleted."""
        with self._lock:
            self._by_session.pop(session, None)

    def forget_volume(self, study: str) -> None:
        """Free the memory of a study that was deleted."""
        with self._lock:
            self._volumes.pop(study, None)

    def evict(self) -> None:
        """Free the memory of what was used longest ago, until the rest fits."""
        with self._lock:
            while self._held_bytes() > self.most_bytes:
                idle = next((name for name in self._volumes if not self._is_used(self._volumes[name])), None)
                if idle is not None and len(self._volumes) > 1:
                    del self._volumes[idle]
                elif len(self._by_session) > 1:
                    self._by_session.popitem(last=False)
                else:
                    return

    @property
    def held_bytes(self) -> int:
        """Memory of everything that is loaded."""
        with self._lock:
            return self._held_bytes()

    def sizes(self) -> Mapping[str, int]:
        """Memory of each loaded session in bytes, its study not counted."""
        with self._lock:
            return {name: one.own_bytes for name, one in self._by_session.items()}

    def _known(self, study: str) -> StudyVolume | None:
        with self._lock:
            if study in self._volumes:
                self._volumes.move_to_end(study)
            return self._volumes.get(study)

    def _is_used(self, volume: StudyVolume) -> bool:
        return any(one.volume is volume for one in self._by_session.values())

    def _held_bytes(self) -> int:
        volumes = {id(one): one.array.nbytes for one in self._volumes.values()}
        volumes |= {id(one.volume): one.volume.array.nbytes for one in self._by_session.values()}
        return sum(volumes.values()) + sum(one.own_bytes for one in self._by_session.values())


def result_path(work: Work, job: str) -> Path:
    """File of the 3D result that a job made."""
    return work.folder / "results" / job / "result.npz"
