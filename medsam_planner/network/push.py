"""Send DICOM files to a PACS, and check what it then holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom

from medsam_planner.errors import PeerError, StudyError
from medsam_planner.io.study_files import READ_ERRORS, file_kind, iterate_files, quiet_pydicom
from medsam_planner.network.node import Instance, Node, instances_of, is_uid
from medsam_planner.network.retries import retried, retried_while_it_advances
from medsam_planner.progress import Progress

__all__ = ["Outgoing", "Pushed", "outgoing", "push", "send_missing"]

_PAYLOADS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "EncapsulatedDocument")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send."""

    path: Path
    instance: Instance


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a call sent."""

    sent: int
    already_there: int
    """Instances that the PACS had before."""
    checked: int
    """Instances that were read back, and whose voxels or documents are those of the file."""
    changed: tuple[str, ...]
    """Attributes that the PACS changed, which it may: names of patients, for example."""


def outgoing(paths: Sequence[Path]) -> list[Outgoing]:
    """The DICOM files at some paths; folders are searched to the bottom, and other files left out.

    Raises
    ------
    StudyError
        If there is none, one cannot be read, or two are one instance with different content.
    """
    found: dict[str, Outgoing] = {}
    for path in paths:
        if not path.exists():
            raise StudyError(f"Expected a DICOM file or a folder to send; {path} does not exist.")
        for file, _ in [(path, path.name)] if path.is_file() else iterate_files(path):
            if file_kind(file) != "dicom":
                continue
            one = Outgoing(file, _instance(file))
            twin = found.setdefault(one.instance.uid, one)
            if twin is not one and twin.path.read_bytes() != one.path.read_bytes():
                raise StudyError(f"Expected one file for each instance, got {twin.path} and {one.path}, which differ.")
    if not found:
        raise StudyError(f"Expected DICOM files to send, found none in {', '.join(map(str, paths))}.")
    return list(found.values())


def push(node: Node, files: Sequence[Outgoing], *, read_back: bool = True, progress: Progress | None = None) -> Pushed:
    """Send what the PACS does not have yet, and check that it then has everything.

    Parameters
    ----------
    node : Node
    files : sequence of Outgoing
    read_back : bool
        Whether each instance is fetched again and compared; otherwise the PACS is only asked whether it is there.
    progress : Progress, optional

    Raises
    ------
    PeerError
        If the PACS refuses an instance, lacks one afterwards, holds another content under its UID, or stays away
        after several attempts. A repeated call sends only the rest.
    """
    sent = send_missing(node, files, progress=progress)
    there = _present(node, files)
    if lacking := [one for one in files if one.instance.uid not in there]:
        raise PeerError(
            f"The PACS confirmed {len(files)} instances but lacks {len(lacking)} of them, the first "
            f"{lacking[0].instance.uid} ({lacking[0].path.name}). Ask its administrator."
        )
    changed: set[str] = set()
    checked = 0
    if read_back:
        left = {one.instance.uid: one for one in files}

        def compare(instance: Instance, content: bytes) -> None:
            nonlocal checked
            changed.update(_differences(left.pop(instance.uid), content))
            checked += 1
            if progress is not None:
                progress.update("Reading back", checked, len(files))

        retried_while_it_advances(lambda: node.fetch([there[uid] for uid in left], compare), lambda: len(left))
    return Pushed(sent, len(files) - sent, checked, tuple(sorted(changed)))


def send_missing(
    node: Node,
    files: Sequence[Outgoing],
    *,
    progress: Progress | None = None,
    tell: Callable[[Outgoing], None] | None = None,
) -> int:
    """Send the instances that the PACS does not have, and tell of each that it has; how many were sent.

    Raises
    ------
    PeerError
        As :func:`push`.
    """
    there = _present(node, files)
    for one in files:
        if one.instance.uid in there and tell is not None:
            tell(one)
    left = {one.path: one for one in files if one.instance.uid not in there}
    count = len(left)

    def send() -> None:
        for path in node.send(list(left)):
            one = left.pop(path)
            if tell is not None:
                tell(one)
            if progress is not None:
                progress.update("Sending", count - len(left), count)

    retried_while_it_advances(send, lambda: len(left))
    return count


def _present(node: Node, files: Sequence[Outgoing]) -> dict[str, Instance]:
    """Which of the instances the PACS has, with the class that it states."""
    series = dict.fromkeys((one.instance.study_uid, one.instance.series_uid) for one in files)
    asked = {one.instance.uid: one.instance for one in files}
    return {
        found.uid: asked[found.uid]
        for study_uid, series_uid in series
        for found in retried(lambda: instances_of(node, study_uid, series_uid))  # noqa: B023 - called at once
        if found.uid in asked
    }


def _instance(path: Path) -> Instance:
    try:
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True)
        uids = [str(header.get(f"{of}InstanceUID") or "") for of in ("Study", "Series", "SOP")]
        sop_class = str(header.SOPClassUID)
    except READ_ERRORS as error:
        raise StudyError(f"Expected a DICOM file to send, {path} cannot be read: {error}.") from error
    if not all(is_uid(uid) for uid in (*uids, sop_class)):
        raise StudyError(f"Expected a DICOM file with UIDs of study, series and instance, {path} has {uids}.")
    return Instance(uids[0], uids[1], uids[2], sop_class)


def _differences(one: Outgoing, content: bytes) -> set[str]:
    """Attributes of the sent file that came back otherwise.

    Raises
    ------
    PeerError
        If the voxels or the document are others, or the object is another one.
    """
    with quiet_pydicom():
        sent, got = pydicom.dcmread(one.path), pydicom.dcmread(BytesIO(content))
        if not _same_payload(sent, got):
            raise PeerError(
                f"The PACS holds other content than {one.path} under its UID {one.instance.uid}: the file was changed "
                "after it had been sent, or the PACS has altered it. Nothing was replaced."
            )
        return {
            element.keyword or str(element.tag)
            for element in sent
            if element.keyword not in _PAYLOADS and element.tag.element and got.get(element.tag) != element
        }


def _same_payload(sent: pydicom.Dataset, got: pydicom.Dataset) -> bool:
    if sent.get("SOPInstanceUID") != got.get("SOPInstanceUID") or sent.get("SOPClassUID") != got.get("SOPClassUID"):
        return False
    stored_alike = sent.file_meta.TransferSyntaxUID == got.file_meta.TransferSyntaxUID
    for keyword in _PAYLOADS:
        if (keyword in sent) != (keyword in got):
            return False
        if keyword in sent and sent[keyword].value != got[keyword].value:
            if stored_alike or keyword != "PixelData":
                return False
            if (sent.pixel_array != got.pixel_array).any():
                return False
    return True
