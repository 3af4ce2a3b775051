"""The PACS of a page: a worklist, a series that is fetched and opened, results that are shown before they are sent.

Off unless the server was started with a pacs file. Every question and every sending is in the audit log, without a
patient's name.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom

from medsam_planner.errors import NotThereError, PlanningError, StaleError
from medsam_planner.io.files import file_sha256
from medsam_planner.io.study_files import header_text, quiet_pydicom
from medsam_planner.network.connecting import connect
from medsam_planner.network.matching import matching_keys
from medsam_planner.network.node import FIELDS, Level
from medsam_planner.network.pacs_file import PacsFile
from medsam_planner.network.pull import pull
from medsam_planner.network.push import Outgoing, outgoing, push
from medsam_planner.progress import Progress
from medsam_planner.service import results
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.uploads import SHOWN_AS, UploadKind, require_free, safe_name
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.export_archive import Content

__all__ = [
    "MOST_ROWS",
    "Consignment",
    "FoundSeries",
    "FoundStudy",
    "Receipt",
    "consign",
    "fetch",
    "find_series",
    "find_studies",
    "send",
]

MOST_ROWS = 200
"""Studies of a worklist that are shown; a search that finds more is to be narrowed."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A row of the worklist."""

    node: str
    uid: str
    texts: Mapping[str, str]
    """By keyword of :data:`medsam_planner.network.node.FIELDS`."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series of a study of the worklist."""

    node: str
    study_uid: str
    uid: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Consignment:
    """What will be sent, exactly."""

    node: str
    session: str
    files: tuple[Outgoing, ...]
    sha256: tuple[str, ...]
    descriptions: tuple[str, ...]
    """Of each file's series."""
    patient: tuple[tuple[str, str], ...]
    """Name and value of what the objects say of patient and study."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a PACS has."""

    node: str
    sent: int
    already_there: int
    checked: int
    """Read back, and equal to what was sent."""
    changed: tuple[str, ...]
    """Attributes that the PACS changed."""
    at: str


def find_studies(workbench: Workbench, node: str, match: Mapping[str, str]) -> tuple[FoundStudy, ...]:
    """Search a node for studies; the newest first.

    Parameters
    ----------
    workbench : Workbench
    node : str
        Its name in the pacs file.
    match : mapping
        Value by keyword: ``PatientID``, ``PatientName``, ``StudyDate``, ``ModalitiesInStudy``, ``AccessionNumber``.
        As of :func:`medsam_planner.network.matching.matching_keys`; empty values are left out.

    Raises
    ------
    ConfigError
        If there is no such node, nothing to search for, or a value is none.
    ForbiddenError
        If the actor may open no study.
    PeerError
        If the node refuses, or does not answer.
    """
    wanted = matching_keys({keyword: text for keyword, text in match.items() if text and text.strip()})
    workbench.own.ask_pacs(f"studies of {node}")
    found = connect(_pacs(workbench), node).find(Level.STUDY, wanted)
    rows = [FoundStudy(node, header_text(one, "StudyInstanceUID"), _texts(one, Level.STUDY)) for one in found]
    rows.sort(key=lambda one: one.texts["StudyDate"], reverse=True)
    return tuple(rows)


def find_series(workbench: Workbench, study: FoundStudy) -> tuple[FoundSeries, ...]:
    """The series of a study, by their numbers; errors as :func:`find_studies`."""
    workbench.own.ask_pacs(f"series of {study.node}")
    found = connect(_pacs(workbench), study.node).find(Level.SERIES, {"StudyInstanceUID": study.uid})
    rows = [
        FoundSeries(study.node, study.uid, header_text(one, "SeriesInstanceUID"), _texts(one, Level.SERIES))
        for one in found
    ]
    return tuple(sorted(rows, key=lambda one: (len(one.texts["SeriesNumber"]), one.texts["SeriesNumber"])))


def fetch(workbench: Workbench, series: FoundSeries, *, progress: Progress | None = None) -> str:
    """Fetch a series as if it had been uploaded to the page, and give the path under which it is opened.

    Raises
    ------
    ForbiddenError, PeerError, UploadRefusedError, OutputError
        If the actor may open no study, the node refuses, or there is no room. Nothing of it is kept.
    """
    workbench.own.ask_pacs(f"a series of {series.node}")
    node = connect(_pacs(workbench), series.node)
    name = safe_name(f"{series.texts['Modality']} series {series.texts['SeriesNumber']}")
    with workbench.uploads.placing(UploadKind.STUDY, name, 0) as path:
        arriving = path.with_name("arriving")
        watched = _WithRoom(path.parent, progress)
        done = pull(node, series.study_uid, arriving, series_uids=[series.uid], progress=watched)
        done.folders[0].rename(path)
        shutil.rmtree(arriving)
    return f"{SHOWN_AS}{path.name}"


def consign(workbench: Workbench, node: str, *, progress: Progress | None = None) -> Consignment:
    """Write the results, and say what of them would be sent where; nothing is sent.

    Raises
    ------
    PlanningError
        If there is no result, or none that is a DICOM object.
    ConfigError
        If there is no such node.
    """
    _pacs(workbench).node(node)
    work = workbench.require_work()
    results.pack(workbench, ExportChoice((Content.RESULTS,)), progress=progress)
    packed = results.packed_path(workbench)
    folder = packed.with_name("objects")
    with zipfile.ZipFile(packed) as archive:
        objects = [name for name in archive.namelist() if name.endswith(".dcm")]
        archive.extractall(folder, objects)
    if not objects:
        raise PlanningError(
            "Nothing can be sent: results are DICOM objects where the study was opened from DICOM files with UIDs of "
            "their own. The download has all results."
        )
    files = tuple(outgoing([folder]))
    headers = [_header(one.path) for one in files]
    return Consignment(
        node,
        work.identifier,
        files,
        tuple(file_sha256(one.path) for one in files),
        tuple(header_text(one, "SeriesDescription") for one in headers),
        tuple((label, header_text(headers[0], keyword)) for label, keyword in _PATIENT),
        sum(one.path.stat().st_size for one in files),
    )


def send(workbench: Workbench, consignment: Consignment, *, progress: Progress | None = None) -> Receipt:
    """Send what was shown, read it back, and compare.

    Raises
    ------
    StaleError
        If the files are no longer those that were shown.
    PeerError
        If the node refuses, or has something else afterwards. A repeated call sends only the rest.
    """
    work = workbench.require_work()
    try:
        now = tuple(file_sha256(one.path) for one in consignment.files)
    except OSError:
        now = ()
    if work.identifier != consignment.session or now != consignment.sha256:
        raise StaleError("The results are no longer those that were shown. Nothing was sent. Look at them again.")
    told = f"{len(consignment.files)} objects to the PACS node {consignment.node}"
    workbench.own.tell_exported(work, told)
    done = push(connect(_pacs(workbench), consignment.node), consignment.files, progress=progress)
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    return Receipt(consignment.node, done.sent, done.already_there, done.checked, done.changed, at)


_PATIENT = (
    ("Patient", "PatientName"),
    ("Patient ID", "PatientID"),
    ("Born", "PatientBirthDate"),
    ("Accession", "AccessionNumber"),
    ("Study date", "StudyDate"),
    ("Study", "StudyDescription"),
)


class _WithRoom:
    """A progress that stops a transfer before it fills the disk."""

    def __init__(self, folder: Path, inner: Progress | None) -> None:
        self._folder, self._inner = folder, inner

    def update(self, stage: str, done: int, total: int) -> None:
        """Report, if there is room for more."""
        require_free(self._folder, 0)
        if self._inner is not None:
            self._inner.update(stage, done, total)

    @property
    def is_cancelled(self) -> bool:
        """Whether the person stopped it."""
        return self._inner is not None and self._inner.is_cancelled


def _pacs(workbench: Workbench) -> PacsFile:
    pacs = workbench.service.settings.pacs
    if pacs is None:
        raise NotThereError("This server was started without a PACS. Restart it with --pacs FILE.")
    return pacs


def _texts(found: pydicom.Dataset, level: Level) -> dict[str, str]:
    return {keyword: header_text(found, keyword, join=" ") for keyword in FIELDS[level]}


def _header(path: Path) -> pydicom.Dataset:
    with quiet_pydicom():
        return pydicom.dcmread(path, stop_before_pixels=True)
