"""Received instances on disk. An instance that was acknowledged is there after `kill -9` and after a power failure.

::

    inbox/<series>/<instance>.dcm      what has arrived; its folder's time is that of the last arrival
    commitments/                       reports of storage commitment that are due, see :mod:`.commitment`
    jobs/<series>.<n>/images/          a complete series, with job.json, results-<m>/ and log.txt
    done/<series>.<n>/                 its results have been sent
    dead/<series>.<n>/                 nothing more is done with it; reason.txt says why

A series moves from folder to folder by renaming, which is one step for the file system.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Set
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement

from medsam_planner.errors import OutputError
from medsam_planner.io.file_lock import NotLockedError, locked
from medsam_planner.io.files import sync_folder, write_whole
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.io.study_files import READ_ERRORS, quiet_pydicom
from medsam_planner.network.node import is_uid
from prompts.whole_file import is_partial

__all__ = ["Inbox", "RefusedInstanceError"]

OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
DUPLICATE = 0x0111
_UNKNOWN_LENGTH = 0xFFFFFFFF


class RefusedInstanceError(Exception):
    """An instance that is not taken.

    Parameters
    ----------
    status : int
        Status of C-STORE (PS3.4, annex B; PS3.7, annex C).
    comment : str
        At most 64 characters, for the sender.
    """

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class Inbox:
    """The folder of a listener.

    Parameters
    ----------
    folder : Path
        Created when absent.
    keep_free_bytes : float
        Space that must be left on the disk after an instance.

    Raises
    ------
    OutputError
        If it cannot be written, or another listener uses it.
    """

    def __init__(self, folder: Path, *, keep_free_bytes: float = 0.0) -> None:
        self._keep_free_bytes = keep_free_bytes
        self._lock = threading.Lock()
        open_run_folder(folder)
        self._owned = _locked(folder)
        self.arriving, self.jobs, self.done, self.dead = (folder / name for name in ("inbox", "jobs", "done", "dead"))
        for place in (self.arriving, self.jobs, self.done, self.dead):
            place.mkdir(exist_ok=True)
        self.commitments = folder / "commitments"
        sync_folder(folder)
        self._clear_up()
        self._series_by_uid = {uid: series for series, images in self._folders() for uid in _uids_in(images)}

    def keep(self, sop_class_uid: str, uid: str, content: bytes) -> None:
        """Keep an instance; when this returns it is on the disk.

        Parameters
        ----------
        sop_class_uid, uid : str
            SOP class and instance as the sender's request states them.
        content : bytes
            The whole DICOM file.

        Raises
        ------
        RefusedInstanceError
            If it is no such instance, another one has its UID, or there is no space.
        """
        series_uid = _checked(sop_class_uid, uid, content)
        with self._lock:
            there = self._found(self._series_by_uid.get(uid, series_uid), uid)
            if there is not None:
                if _dataset_bytes(there.read_bytes()) != _dataset_bytes(content):
                    raise RefusedInstanceError(DUPLICATE, "another instance of this UID was received before")
                return
            folder = self.arriving / series_uid
            try:
                if shutil.disk_usage(self.arriving).free - len(content) < self._keep_free_bytes:
                    raise RefusedInstanceError(OUT_OF_RESOURCES, "too little space is left")
                if not folder.is_dir():
                    folder.mkdir()
                    sync_folder(self.arriving)
                write_whole(folder / f"{uid}.dcm", content)
                sync_folder(folder)
                self._series_by_uid[uid] = series_uid
            except OSError as error:
                raise RefusedInstanceError(
                    OUT_OF_RESOURCES, "it cannot be written: no space, or no permission"
                ) from error

    def sop_classes_of(self, uids: Set[str]) -> dict[str, str]:
        """SOP classes of the instances that are kept, wherever they lie; those that are not there are left out."""
        found = {}
        with self._lock:
            for uid in uids:
                path = self._found(self._series_by_uid.get(uid, ""), uid)
                with contextlib.suppress(*READ_ERRORS):
                    if path is not None:
                        found[uid] = str(pydicom.filereader.read_file_meta_info(path).MediaStorageSOPClassUID)
        return found

    def hurry(self, uids: Set[str], within_s: float, quiet_s: float) -> None:
        """Let series be complete sooner of which every instance is among `uids`, unless something more arrives.

        A sender may ask for commitment after each part of a series; so a short quiet time is kept.

        Parameters
        ----------
        uids : set of str
            Instances that their sender has asked commitment for.
        within_s : float
            Quiet seconds until they are complete.
        quiet_s : float
            What :meth:`take_complete` is called with.
        """
        with self._lock:
            for folder in self.arriving.iterdir():
                if folder.is_dir() and {path.stem for path in folder.glob("*.dcm")} <= uids:
                    quiet_since = time.time() - max(quiet_s - within_s, 0.0)
                    os.utime(folder, (quiet_since, min(quiet_since, folder.stat().st_mtime)))

    def take_complete(self, quiet_s: float) -> list[Path]:
        """Move series for which nothing has come for so long to the jobs; the folders of the new jobs."""
        taken = []
        with self._lock:
            for folder in sorted(self.arriving.iterdir()):
                if not folder.is_dir() or time.time() - folder.stat().st_mtime < quiet_s:
                    continue
                if not any(folder.iterdir()):
                    folder.rmdir()
                    continue
                numbers = [int(one.name.rpartition(".")[2]) for one in self._taken(folder.name)]
                job = self.jobs / f"{folder.name}.{max(numbers, default=0) + 1}"
                job.mkdir()
                folder.rename(job / "images")
                for place in (job, self.jobs, self.arriving):
                    sync_folder(place)
                taken.append(job)
        return taken

    def earlier(self, job: Path) -> list[Path]:
        """Folders of the same series that were taken before this one."""
        series, _, number = job.name.rpartition(".")
        return [one for one in self._taken(series) if int(one.name.rpartition(".")[2]) < int(number)]

    def move(self, job: Path, place: Path) -> Path:
        """Move a job to `done` or `dead`."""
        with self._lock:
            target = place / job.name
            job.rename(target)
            for folder in (job.parent, place):
                sync_folder(folder)
        return target

    def close(self) -> None:
        """Let another listener use the folder."""
        if self._owned is not None:
            os.close(self._owned)
            self._owned = None

    def _found(self, series_uid: str, uid: str) -> Path | None:
        name = f"{uid}.dcm"
        places = [self.arriving / series_uid, *(one / "images" for one in self._taken(series_uid))]
        return next((place / name for place in places if (place / name).is_file()), None)

    def _folders(self) -> Iterator[tuple[str, Path]]:
        """Series and folder of everything that is kept."""
        yield from ((folder.name, folder) for folder in self.arriving.iterdir())
        for place in (self.jobs, self.done, self.dead):
            yield from ((job.name.rpartition(".")[0], job / "images") for job in place.iterdir())

    def _taken(self, series_uid: str) -> list[Path]:
        return [
            one
            for place in (self.jobs, self.done, self.dead)
            for one in place.glob(f"{series_uid}.*")
            if one.name.rpartition(".")[0] == series_uid and one.name.rpartition(".")[2].isdigit()
        ]

    def _clear_up(self) -> None:
        """Remove what a killed process left half done; nothing of it was acknowledged.

        The quiet time of what arrives begins anew: a sender goes on when it notices that the listener is back.
        """
        for folder in self.arriving.iterdir():
            os.utime(folder)
            for file in folder.iterdir() if folder.is_dir() else ():
                if is_partial(file.name):
                    file.unlink()
        for job in self.jobs.iterdir():
            if job.is_dir() and not (job / "images").is_dir():
                with contextlib.suppress(OSError):  # not empty: somebody else's
                    job.rmdir()


def _uids_in(folder: Path) -> list[str]:
    """Instances whose files lie in a folder."""
    names = os.listdir(folder) if folder.is_dir() else ()
    return [name.removesuffix(".dcm") for name in names if name.endswith(".dcm")]


def _checked(sop_class_uid: str, uid: str, content: bytes) -> str:
    """The UID of the series, if the dataset is whole and the instance that was announced."""
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(BytesIO(content))
            stated = {key: str(dataset.get(f"{key}UID") or "") for key in ("SOPClass", "SOPInstance", "SeriesInstance")}
            study_uid = str(dataset.get("StudyInstanceUID") or "")
            is_image = all(keyword in dataset for keyword in ("Rows", "Columns", "PixelData"))
            cut = any(_is_cut(dataset.get_item(tag)) for tag in list(dataset.keys()))
    except (*READ_ERRORS, MemoryError) as error:
        raise RefusedInstanceError(CANNOT_UNDERSTAND, "the dataset cannot be read") from error
    if cut:
        raise RefusedInstanceError(CANNOT_UNDERSTAND, "an element is longer than the dataset")
    if stated["SOPClass"] != sop_class_uid or stated["SOPInstance"] != uid:
        raise RefusedInstanceError(DOES_NOT_MATCH, "SOP class or instance differ from the request")
    if not all(is_uid(one) for one in (*stated.values(), study_uid)):
        raise RefusedInstanceError(CANNOT_UNDERSTAND, "UID of study, series or instance missing or wrong")
    if not is_image:
        raise RefusedInstanceError(DOES_NOT_MATCH, "an image without Rows, Columns or Pixel Data")
    return stated["SeriesInstance"]


def _is_cut(element: object) -> bool:
    return (
        isinstance(element, RawDataElement)
        and element.value is not None
        and element.length != _UNKNOWN_LENGTH
        and len(element.value) != element.length
    )


def _dataset_bytes(content: bytes) -> bytes:
    """A DICOM file without its header, which names the program that wrote it."""
    length = int.from_bytes(content[140:144], "little")  # value of (0002,0000), the first element
    return content[144 + length :]


def _locked(folder: Path) -> int | None:
    try:
        return locked(folder)
    except NotLockedError as error:
        raise OutputError(f"Another listener uses {folder}. End it, or name another folder with --data.") from error
