"""What a PACS can be asked, whichever protocol it speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pydicom

from medsam_planner.errors import PeerError

__all__ = ["FIELDS", "Instance", "Keep", "Level", "Node", "instances_of", "is_uid"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


class Level(StrEnum):
    """What a query looks for."""

    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"


FIELDS: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: (
        "PatientID",
        "PatientName",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "AccessionNumber",
        "StudyInstanceUID",
    ),
    Level.SERIES: ("Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "SeriesInstanceUID"),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
"""Attributes that are asked for; those of the levels above name the parents."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a PACS."""

    study_uid: str
    series_uid: str
    uid: str
    sop_class_uid: str | None = None
    """None where the PACS does not say."""


Keep = Callable[[Instance, bytes], None]
"""Stores an instance that has arrived, as a whole DICOM file."""


class Node(Protocol):
    """A PACS. Every method raises :class:`PeerError`, or :class:`PeerAwayError` where the same may succeed later."""

    def echo(self) -> str:
        """Ask whether it is there and lets this program in; what it answered, in words."""

    def find(self, level: Level, match: Mapping[str, str]) -> list[pydicom.Dataset]:
        """What matches, with the attributes in :data:`FIELDS`; `match` maps keywords to values, ``*`` as wildcard."""

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> None:
        """Give each instance to `keep`, as it arrives."""

    def send(self, files: Sequence[Path]) -> Iterator[Path]:
        """Send DICOM files; each is yielded once the PACS has confirmed it."""


def instances_of(node: Node, study_uid: str, series_uid: str) -> list[Instance]:
    """The instances of a series; answers whose UIDs cannot name a file are refused.

    Raises
    ------
    PeerError
    """
    found = node.find(Level.IMAGE, {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid})
    instances = []
    for one in found:
        uid = str(one.get("SOPInstanceUID") or "")
        if not is_uid(uid):
            raise PeerError(f"Expected instances with a SOPInstanceUID, the PACS answered {uid[:80]!r}.")
        instances.append(Instance(study_uid, series_uid, uid, str(one.get("SOPClassUID") or "") or None))
    return list({one.uid: one for one in instances}.values())


def is_uid(text: str) -> bool:
    """Whether a text is a UID as PS3.5 has it, leading zeros aside: then it can also name a file."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None
