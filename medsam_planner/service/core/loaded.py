"""Studies and 3D results in the server's memory, bounded in bytes. Eviction loses nothing: all of it is on the disk.

What the models need is in the memory of their workers, see :mod:`medsam_planner.service.core.worker_memory`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import highdicom

from medsam_planner.io.intensity import normalisation_for
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.mapped_study import STUDIES_KEPT
from medsam_planner.service.core.study_store import StoredStudy, StudyStore
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.display import display_windows
from medsam_planner.service.saved_result import read_result
from medsam_planner.volumes import StudyVolume

__all__ = ["LoadedWorks", "result_bytes", "result_path"]


class LoadedWorks:
    """The studies and 3D results that were used last.

    Parameters
    ----------
    studies : StudyStore
    most_bytes : int
        Of results together. The one used last stays, however large it is.
    """

    def __init__(self, studies: StudyStore, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._studies = studies
        self._volumes: OrderedDict[str, StudyVolume] = OrderedDict()
        """By study."""
        self._windows: dict[str, Mapping[str, Mapping[str, float]]] = {}
        """Display windows by study."""
        self._results: OrderedDict[tuple[str, str], SegmentationResult] = OrderedDict()
        """By session and job."""
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        """Held while a study or result is read, so that none is read twice at once."""

    def volume(self, study: StoredStudy) -> StudyVolume:
        """The voxels of a study, shared with the workers and not to be written to.

        Raises
        ------
        StudyError
            If the server's copy is gone or damaged.
        """
        found = self._known_volume(study)
        if found is not None:
            return found
        with self._reading:
            found = self._known_volume(study)  # another thread may have read it meanwhile
            if found is None:
                found = self._studies.load(study)
                with self._lock:
                    self._volumes[study.identifier] = found
                    if len(self._volumes) > STUDIES_KEPT:
                        self._volumes.popitem(last=False)
        return found

    def windows(self, study: StoredStudy) -> Mapping[str, Mapping[str, float]]:
        """The display windows of a study by name, the one that it is first shown with first.

        Raises
        ------
        StudyError
            As :meth:`volume`.
        """
        if study.identifier not in self._windows:  # of MR it is a percentile of all voxels
            volume = self.volume(study)
            self._windows[study.identifier] = display_windows(volume, normalisation_for(volume, None, "full"))
        return self._windows[study.identifier]

    def result(self, work: Work, structure: str, stored: StoredResult) -> SegmentationResult:
        """A 3D result.

        Raises
        ------
        MedsamPlannerError
            If it cannot be read.
        """
        found = self._result(work, stored)
        return found if found.structure == structure else replace(found, structure=structure)  # it was renamed since

    def _result(self, work: Work, stored: StoredResult) -> SegmentationResult:
        key = (work.identifier, stored.job)
        found = self._known_result(key)
        if found is not None:
            return found
        volume = self.volume(work.study)
        with self._reading:
            found = self._known_result(key)
            if found is None:
                found = read_result(result_path(work, stored.job), volume)
                with self._lock:
                    self._results[key] = found
                    while self._held_bytes() > self.most_bytes and len(self._results) > 1:
                        self._results.popitem(last=False)
        return found

    def forget(self, session: str) -> None:
        """Free the memory of the results of a session that was deleted."""
        with self._lock:
            for key in [key for key in self._results if key[0] == session]:
                del self._results[key]

    def forget_volume(self, study: str) -> None:
        """Free the memory of a study that was deleted."""
        with self._lock:
            self._volumes.pop(study, None)
            self._windows.pop(study, None)

    @property
    def held_bytes(self) -> int:
        """Memory of the results; studies are mapped files."""
        with self._lock:
            return self._held_bytes()

    def _known_volume(self, study: StoredStudy) -> StudyVolume | None:
        with self._lock:
            if study.identifier in self._volumes:
                self._volumes.move_to_end(study.identifier)
            return self._volumes.get(study.identifier)

    def _known_result(self, key: tuple[str, str]) -> SegmentationResult | None:
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def _held_bytes(self) -> int:
        return sum(map(result_bytes, self._results.values()))


def result_bytes(result: SegmentationResult) -> int:
    """Memory of the volumes of a result."""
    volumes = (getattr(result, one.name) for one in fields(SegmentationResult))
    return sum(one.array.nbytes for one in volumes if isinstance(one, highdicom.Volume))


def result_path(work: Work, job: str) -> Path:
    """File of the 3D result that a job made."""
    return work.folder / "results" / job / "result.npz"
