"""De-identify one file: read, clean, check what is left, write."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from medsam_planner.deidentification.cleaning import Cleaner, mark
from medsam_planner.deidentification.file_facts import FileFacts
from medsam_planner.deidentification.identifiers import Identifiers
from medsam_planner.deidentification.pixels import clean_pixels, may_show_text, shows_head
from medsam_planner.deidentification.profile import Profile
from medsam_planner.deidentification.pseudonyms import Pseudonyms
from medsam_planner.errors import OutputError, StudyError
from medsam_planner.io.study_files import READ_ERRORS, header_text, quiet_pydicom
from prompts.whole_file import whole_file

__all__ = ["Outcome", "Task", "deidentify_file"]

_PIXELS = 0x7FE0
HEAD = "images of a head: a face can be rendered from thin slices. Deface the volumes before you pass them on."


@dataclass(frozen=True, slots=True)
class Task:
    """One file, and what is known of its patient from all files."""

    facts: FileFacts
    patient: str
    identifiers: frozenset[str]
    out: Path
    profile: Profile
    pseudonyms: Pseudonyms


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    name: str
    state: str
    """``"written"``, ``"already there"`` or ``"refused"``."""
    reason: str = ""
    is_head: bool = False
    counts: Counter[str] = field(default_factory=Counter)


def deidentify_file(task: Task) -> Outcome:
    """Clean one file and write it under a pseudonym; an input is never touched.

    Raises
    ------
    OutputError
        If the result cannot be written.
    """
    try:
        with quiet_pydicom():
            return _deidentified(task)
    except StudyError as error:
        return Outcome(task.facts.name, "refused", str(error))
    except READ_ERRORS as error:
        if isinstance(error, OutputError):
            raise
        return Outcome(task.facts.name, "refused", "its content cannot be read")


def _deidentified(task: Task) -> Outcome:
    pseudonyms = task.pseudonyms
    dataset = pydicom.dcmread(task.facts.path, force=True)
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    if not header_text(dataset, "SOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    if not header_text(dataset, "SOPInstanceUID"):
        dataset.SOPInstanceUID = pseudonyms.digest("file", str(task.facts.name)).hex()  # replaced like any other
    target = _target(task, dataset)
    is_head = shows_head(dataset)
    if target.is_file():
        return Outcome(task.facts.name, "already there", is_head=is_head)
    shown = may_show_text(dataset) if "PixelData" in dataset else None
    if shown is not None and not task.profile.regions:
        return Outcome(task.facts.name, "refused", f"it {shown}")
    clean_pixels(dataset, task.profile.regions if shown is not None else ())
    cleaner = Cleaner(task.profile, pseudonyms, Identifiers(task.identifiers), task.patient)
    cleaner.clean(dataset)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.preamble = bytes(128)
    dataset.file_meta = _file_meta(dataset)
    if cleaner.identifiers.in_bytes(_header_bytes(dataset)):
        return Outcome(task.facts.name, "refused", "an identifier of the patient is left in it after all rules")
    mark(dataset, cleaner, is_masked=shown is not None)
    with whole_file(target) as stream:
        dataset.save_as(stream, enforce_file_format=True)
    return Outcome(task.facts.name, "written", is_head=is_head, counts=cleaner.counts)


def _target(task: Task, dataset: pydicom.Dataset) -> Path:
    name = task.pseudonyms.name
    patient = name("patient", task.patient)
    study = name("study", header_text(dataset, "StudyInstanceUID"))
    series = name("series", header_text(dataset, "SeriesInstanceUID"))
    return task.out / patient / study / series / f"{name('instance', header_text(dataset, 'SOPInstanceUID'))}.dcm"


def _file_meta(dataset: pydicom.Dataset) -> FileMetaDataset:
    """Only what a file must have; no station, no application title."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return meta


def _header_bytes(dataset: pydicom.Dataset) -> bytes:
    """The dataset as it will be written, without its pixels."""
    header = pydicom.Dataset({element.tag: element for element in dataset if element.tag.group != _PIXELS})
    stream = io.BytesIO()
    syntax = dataset.file_meta.TransferSyntaxUID
    header.save_as(stream, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return stream.getvalue()
