"""Sort the files of a folder by content, never by name."""

from __future__ import annotations

import os
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import UID, UID_dictionary

from medsam_planner.errors import StudyError
from medsam_planner.progress import Progress, track

__all__ = [
    "DicomFile",
    "StudyFiles",
    "file_kind",
    "file_meta",
    "header_text",
    "is_dicomdir",
    "iterate_files",
    "name_files",
    "plain_copy",
    "quiet_pydicom",
    "scan_files",
    "stated_class",
    "walk_files",
]

_MAX_FILES = 100_000
"""More files than any one study has: a home folder or a disk was meant for a study."""

PIXEL_DATA = 0x7FE00010
STANDARD_ROOT = "1.2.840.10008."
_DICOMDIR_UID = "1.2.840.10008.1.3.10"
_DERIVED_MODALITIES = frozenset(
    {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "REG", "FID", "PR", "SR", "KO", "DOC"}
)
_DERIVED_SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
READ_ERRORS = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
)
"""What pydicom and its decoders raise on damaged bytes."""

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Endings of DICOM files: other content under such a name is a lost slice, not a file to ignore."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One image file: where it lies, what to call it in a message, and its header without pixels."""

    path: Path
    name: str
    header: pydicom.Dataset = field(repr=False)


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The files of a folder or archive, sorted by what they hold."""

    images: tuple[DicomFile, ...] = ()
    niftis: tuple[tuple[Path, str], ...] = ()
    """Path and name of each NIfTI file."""
    damaged: tuple[tuple[str, str], ...] = ()
    """Name and reason of each DICOM file whose header cannot be read."""
    ignored_count_by_kind: dict[str, int] = field(default_factory=dict)
    """Files that hold no image (``"RTSTRUCT"``, ``"DICOMDIR"``, ``"not DICOM"``, ...)."""

    def ignored_text(self) -> str:
        """``"3 RTSTRUCT, 1 not DICOM"``, or an empty string; NIfTI files beside DICOM images are ignored too."""
        counts = dict(self.ignored_count_by_kind)
        if self.images and self.niftis:
            counts["NIfTI"] = len(self.niftis)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def name_files(names: Iterable[str], *, most: int = 4) -> str:
    """List `names` for a message; after `most` of them only how many more there are."""
    listed = list(names)
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def header_text(header: pydicom.Dataset, keyword: str, *, join: str | None = None) -> str:
    """A header value as text, also if it is invalid for its VR; several joined as asked."""
    try:
        value = header.get(keyword)
    except READ_ERRORS as error:
        return f"unreadable ({error})"
    if join is not None and isinstance(value, MultiValue):
        return join.join(str(one).strip() for one in value)
    return "" if value is None else str(value).strip()


def file_meta(header: pydicom.Dataset) -> pydicom.Dataset:
    """The file meta information; empty where the file has none."""
    meta: pydicom.Dataset = getattr(header, "file_meta", pydicom.Dataset())
    return meta


def stated_class(header: pydicom.Dataset) -> str:
    """UID of the SOP class that the dataset, or else the file meta information, states; empty if neither does."""
    return str(header.get("SOPClassUID") or file_meta(header).get("MediaStorageSOPClassUID") or "")


def is_dicomdir(header: pydicom.Dataset) -> bool:
    """Whether a file is the index of a medium."""
    return stated_class(header) == _DICOMDIR_UID or "DirectoryRecordSequence" in header


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Suppress warnings of pydicom on odd but harmless values; harmful ones are raised as errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield


def iterate_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """All files below `folder` with their relative names, in the same order on every machine, however many."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            # A broken link is a lost slice; a pipe, socket or device would block, also behind a link.
            if path.is_file() or (path.is_symlink() and not path.exists()):
                yield path, path.relative_to(folder).as_posix()


def walk_files(folder: Path) -> list[tuple[Path, str]]:
    """The files of one study, as :func:`iterate_files` gives them.

    Raises
    ------
    StudyError
        If there are more than any study has.
    """
    found: list[tuple[Path, str]] = []
    for file in iterate_files(folder):
        found.append(file)
        if len(found) > _MAX_FILES:
            raise StudyError(
                f"Expected the folder of one study, but {folder} holds more than {_MAX_FILES} files. "
                "Name the folder of the series."
            )
    return found


def file_kind(path: Path) -> str:
    """``"dicom"``, ``"nifti"``, ``"zip"`` or ``"other"``, from the first bytes."""
    with path.open("rb") as stream:
        head = stream.read(352)
    if head[128:132] == b"DICM" or _looks_like_bare_dicom(head):
        return "dicom"
    if head[:4] == b"PK\x03\x04" or head[:4] == b"PK\x05\x06":
        return "zip"
    if head[:2] == b"\x1f\x8b":
        head = _inflate_head(path)
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti"
    return "other"


def _looks_like_bare_dicom(head: bytes) -> bool:
    """Whether data elements of group 2 or 8 start at once, as in files older than the 128-byte preamble."""
    if len(head) <= 132 or head[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    if head[2:4] not in (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00"):
        return False
    length = int.from_bytes(head[4:8], "little")
    return head[4:6] in (b"UL", b"UI", b"OB", b"CS", b"SH") or (0 < length <= 128 and length % 2 == 0)


def _inflate_head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return zlib.decompressobj(wbits=31).decompress(stream.read(4096), 352)
    except zlib.error:
        return b""


def scan_files(files: Iterable[tuple[Path, str]], *, progress: Progress | None = None) -> StudyFiles:
    """Read the headers of `files` (path and name) and sort them by content."""
    images: list[DicomFile] = []
    niftis: list[tuple[Path, str]] = []
    damaged: list[tuple[str, str]] = []
    ignored: Counter[str] = Counter()
    for path, name in track(list(files), "Reading headers", progress):
        try:
            kind = file_kind(path)
        except OSError as error:
            damaged.append((name, f"cannot be opened ({error.strerror or error})"))
            continue
        if kind == "nifti":
            niftis.append((path, name))
            continue
        if kind != "dicom" and _is_named_dicom(name):
            damaged.append((name, "by its content it is no DICOM file"))
            continue
        if kind != "dicom":
            ignored["not DICOM"] += 1
            continue
        try:
            with quiet_pydicom():
                header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
                other = _non_image_kind(header)
        except READ_ERRORS as error:
            damaged.append((name, f"the header cannot be read ({error})"))
            continue
        if other is not None:
            ignored[other] += 1
        elif not (header.get("Rows") and header.get("Columns")):
            damaged.append((name, "the header ends before Rows and Columns"))
        else:
            images.append(DicomFile(path, name, header))
    return StudyFiles(tuple(images), tuple(niftis), tuple(damaged), dict(ignored))


def _is_named_dicom(name: str) -> bool:
    """Whether a name ends as those of DICOM files do; not for the ``._`` companions that macOS writes."""
    file = name.rsplit("/", 1)[-1].lower()
    return file.endswith(_DICOM_SUFFIXES) and not file.startswith("._")


def _non_image_kind(header: pydicom.Dataset) -> str | None:
    """Name of the kind of object when it is not an acquired image, else None."""
    sop_class = stated_class(header)
    if is_dicomdir(header):
        return "DICOMDIR"
    if sop_class in _DERIVED_SOP_CLASSES:
        return _DERIVED_SOP_CLASSES[sop_class]
    modality = str(header.get("Modality") or "")
    if modality in _DERIVED_MODALITIES:
        return modality
    if header.get("Rows"):
        return None
    # No pixels: an object that never has any, or an image that was cut short? A cut image has a standard class or none.
    if sop_class in UID_dictionary and "Image" not in UID(sop_class).name:
        return UID(sop_class).name
    if sop_class and not sop_class.startswith(STANDARD_ROOT) and header.get("SOPInstanceUID"):
        return "private object"
    return None


def plain_copy(dataset: pydicom.Dataset, *, without_pixels: bool = False) -> pydicom.Dataset:
    """A dataset of its own with the same elements (``Dataset(dataset)`` would share them)."""
    result = pydicom.Dataset()
    if hasattr(dataset, "file_meta"):
        result.file_meta = dataset.file_meta
    for tag in list(dataset.keys()):
        if without_pixels and tag == PIXEL_DATA:
            continue
        try:
            result.add(dataset[tag])
        except READ_ERRORS:  # a value that is invalid for its VR, such as a weight of "ANON"
            continue
    return result
