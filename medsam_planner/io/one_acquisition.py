"""Check that the files of a series are of one patient and one acquisition.

Slices at regular positions need not be one volume: magnitude and phase, two echoes or two tube voltages may alternate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pydicom

from medsam_planner.io.slice_stack import Problem, ProblemKind
from medsam_planner.io.study_files import READ_ERRORS, DicomFile, header_text, name_files

__all__ = [
    "ACQUISITION",
    "MEASURED",
    "SAME_NUMBER",
    "acquisition_notes",
    "acquisition_problems",
    "identity_problems",
    "stated_by_frame",
]

_IDENTITY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "Modality")
"""What all files of one volume have in common."""

_NOTED = ("StudyDate", "SeriesDate", "AcquisitionDate", "StudyDescription", "SeriesDescription", "ProtocolName")
"""What they usually have in common. A scan past midnight or a corrected text is no other acquisition, so a difference
is only noted."""

_NOTED_NUMBERS = ("AcquisitionNumber", "RescaleIntercept")
"""Numbers with the same meaning. Scanners may count the slices in them: one value per file is not noted."""

ACQUISITION = ("ImageType", "ComplexImageComponent", "EchoTime", "KVP", "ConvolutionKernel", "PatientPosition")
"""What decides the values or places of slices, and is the same for all slices of one volume."""

_MR_ONLY = ("EchoTime",)
MEASURED = ("EchoTime", "KVP")
"""Those of them that are numbers, equal within :data:`SAME_NUMBER`."""
SAME_NUMBER = 0.02
"""Relative difference up to which two numbers are one setting: scanners write what they reached, not what was set."""

_IN_GROUPS = {
    "ImageType": (("CTImageFrameTypeSequence", "FrameType"), ("MRImageFrameTypeSequence", "FrameType")),
    "ComplexImageComponent": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "KVP": (("CTXRayDetailsSequence", "KVP"),),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "AcquisitionTime": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
}
"""Where files with many frames state it: sequence of a functional group, and element in it."""

_SCREENSHOT = "SCREEN SAVE"


def identity_problems(files: Sequence[DicomFile]) -> tuple[Problem, ...]:
    """Files of several patients, studies or scanners under one series UID."""
    problems = []
    for keyword in _IDENTITY:
        names_by_value = _by_value((header_text(file.header, keyword), file.name) for file in files)
        if len(names_by_value) > 1:
            text = f"its files have {_listed(names_by_value, keyword, 'is of one patient and study')}"
            problems.append(Problem(ProblemKind.MIXED, text))
    return tuple(problems)


def acquisition_problems(files: Sequence[DicomFile]) -> tuple[Problem, ...]:
    """Slices of several acquisitions, echoes or kernels in one series, and pictures of a screen.

    A slice that does not state a value agrees with every one.
    """
    shots = [file.name for file in files if _SCREENSHOT in header_text(file.header, "ImageType").upper()]
    if len(shots) == len(files):
        text = (
            f"its files are pictures of a screen (ImageType {_SCREENSHOT}): {name_files(shots)}. Their values are "
            "shades of grey, not those of a scan: use the original series."
        )
        return (Problem(ProblemKind.SCREENSHOT, text),)
    is_mr = header_text(files[0].header, "Modality") == "MR"
    problems = []
    for keyword in ACQUISITION:
        if keyword in _MR_ONLY and not is_mr:
            continue
        stated = [pair for file in files for pair in _stated(file, keyword) if pair[0]]
        names_by_value = _merged(_by_value(stated)) if keyword in MEASURED else _by_value(stated)
        if len(names_by_value) > 1:
            text = f"its slices have {_listed(names_by_value, keyword, 'is of one acquisition')}"
            problems.append(Problem(ProblemKind.MIXED, text))
    return tuple(problems)


def acquisition_notes(files: Sequence[DicomFile]) -> tuple[str, ...]:
    """Differences that are reported and not refused."""
    notes = []
    for keyword in (*_NOTED, *_NOTED_NUMBERS):
        stated = [(header_text(file.header, keyword), file.name) for file in files]
        if keyword in _NOTED_NUMBERS:
            stated = [(_number_text(text), name) for text, name in stated if text]
        names_by_value = _by_value(stated)
        is_count = keyword in _NOTED_NUMBERS and len(names_by_value) == len(files) > 2
        if len(names_by_value) > 1 and not is_count:
            notes.append(
                f"Its files have {len(names_by_value)} different values of {keyword} ({_values(names_by_value)}) and "
                "are read as one volume all the same; make sure that they belong together."
            )
    burned = [file.name for file in files if header_text(file.header, "BurnedInAnnotation").upper() == "YES"]
    if burned:
        notes.append(
            f"{len(burned)} of {len(files)} files say that text is drawn into their pixels (BurnedInAnnotation): "
            f"{name_files(burned)}."
        )
    return tuple(notes)


def _by_value(stated: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    names_by_value: dict[str, list[str]] = {}
    for value, name in stated:
        names_by_value.setdefault(value, []).append(name)
    return names_by_value


def _values(names_by_value: dict[str, list[str]]) -> str:
    return "; ".join(f"'{value}' in {name_files(names, most=2)}" for value, names in list(names_by_value.items())[:4])


def _listed(names_by_value: dict[str, list[str]], keyword: str, one: str) -> str:
    count = len(names_by_value)
    return f"{count} different values of {keyword} where one volume {one}: {_values(names_by_value)}. Separate them."


def _number_text(text: str) -> str:
    """One spelling for each number; a text that is no number stays as it is."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


def _merged(names_by_value: dict[str, list[str]]) -> dict[str, list[str]]:
    """Merge numbers that are one setting; texts that are no number are ignored."""
    merged: dict[str, list[str]] = {}
    for text, names in names_by_value.items():
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            known = next((other for other in merged if math.isclose(float(other), number, rel_tol=SAME_NUMBER)), text)
            merged.setdefault(known, []).extend(names)
    return merged


def stated_by_frame(file: DicomFile, keyword: str) -> Iterator[str]:
    """What each frame of a file states, as text; empty where it does not."""
    return (text for text, _ in _stated(file, keyword))


def _stated(file: DicomFile, keyword: str) -> Iterator[tuple[str, str]]:
    """What each frame of a file states, and the name of the frame."""
    try:
        frames = file.header.get("PerFrameFunctionalGroupsSequence")
        shared = (file.header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    except READ_ERRORS:
        frames = None
    if not frames:
        yield _kind_of(header_text(file.header, keyword, join="\\"), keyword), file.name
        return
    for number, frame in enumerate(frames, start=1):
        found = (
            header_text(group[sequence][0], element, join="\\")
            for sequence, element in _IN_GROUPS.get(keyword, ())
            for group in (frame, shared)
            if group.get(sequence)
        )
        text = next((value for value in found if value), "") or header_text(file.header, keyword, join="\\")
        yield _kind_of(text, keyword), f"{file.name} frame {number}"


def _kind_of(text: str, keyword: str) -> str:
    """Of an image type only what the image shows: its first two values say how it was made."""
    return "\\".join(text.split("\\")[2:4]) if keyword == "ImageType" else text
