"""What a new DICOM object may copy from the header of a study: anonymisers leave invalid values there.

An object is refused by readers, and by the libraries that write it, for one date of ``ANON``. Such a value is left out
of the copy; the study itself is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pydicom
from pydicom import config, datadict
from pydicom.dataelem import DataElement
from pydicom.valuerep import DA, DT, TM, validate_value

from medsam_planner.io.study_files import READ_ERRORS

__all__ = ["SINGLE_VALUES", "copy_note", "without_invalid_values"]

_ALLOWED = {"PatientSex": ("M", "F", "O"), "PatientSexNeutered": ("ALTERED", "UNALTERED")}
_PATIENT_GROUP = 0x0010
_NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
_TEXT_NUMBERS = ("DS", "IS")
_MOMENTS = {"DA": DA, "TM": TM, "DT": DT}
SINGLE_VALUES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Patient and study attributes that every object has, possibly empty."""
_TOLD = {*SINGLE_VALUES, "PatientAge", "PatientWeight", "PatientSize", "StudyDescription"}
"""Attributes whose omission is reported, beside every number, date and time."""
_PIXEL_GROUPS = (0x0028, 0x5200, 0x7FE0)
"""Geometry and pixels, which reading has checked."""


def without_invalid_values(header: pydicom.Dataset) -> tuple[pydicom.Dataset, tuple[str, ...]]:
    """A copy without the elements whose values their kind does not allow, and the names of those."""
    copy = pydicom.Dataset()
    if hasattr(header, "file_meta"):
        copy.file_meta = header.file_meta
    dropped = []
    for tag in list(header.keys()):
        try:
            element = header[tag]
            is_valid = tag.group in _PIXEL_GROUPS or _is_valid(element)
        except READ_ERRORS:
            is_valid = False
        if is_valid:
            copy.add(element)
        else:
            dropped.append(datadict.keyword_for_tag(tag) or str(tag))
    return copy, tuple(dropped)


def copy_note(headers: Sequence[pydicom.Dataset]) -> str | None:
    """What a person should know before DICOM results of these headers are passed on, or None."""
    if not headers:
        return None
    dropped = without_invalid_values(headers[0])[1]
    told = [f"{name} ({_shown(headers[0], name)})" for name in dropped if _is_told(name)]
    if not told:
        return None
    return f"Values that DICOM does not allow are left out of DICOM results: {', '.join(told)}."


def _is_told(name: str) -> bool:
    tag = datadict.tag_for_keyword(name)
    return name in _TOLD or (tag is not None and datadict.dictionary_VR(tag) in (*_TEXT_NUMBERS, *_MOMENTS))


def _shown(header: pydicom.Dataset, name: str) -> str:
    try:
        return repr(str(header.get(name)))[:60]
    except READ_ERRORS:
        return "unreadable"


def _is_valid(element: DataElement) -> bool:
    if element.VR == "SQ":
        return not any(without_invalid_values(item)[1] for item in element.value or ())
    if element.VR == "UI":
        return True  # references must name what is there, however it is spelled
    value = element.value
    if value is None or value == "":
        return True
    several = isinstance(value, pydicom.multival.MultiValue | list | tuple)
    kind = _kind(element)
    is_single = element.keyword in SINGLE_VALUES or (
        kind in _TEXT_NUMBERS
        and datadict.dictionary_has_tag(element.tag)
        and datadict.dictionary_VM(element.tag) == "1"
    )
    if several and is_single:
        return False
    for one in value if several else (value,):
        if kind in _TEXT_NUMBERS and not math.isfinite(float(str(one) or 0)):
            return False
        if element.keyword in _ALLOWED and str(one) not in _ALLOWED[element.keyword]:
            return False
        if not (isinstance(one, bytes) or (element.VR in _NUMBERS and element.tag.group != _PATIENT_GROUP)):
            validate_value(element.VR, str(one), config.RAISE)
        if kind in _MOMENTS:
            _MOMENTS[kind](str(one))
    return True


def _kind(element: DataElement) -> str:
    """VR of the dictionary: a number or date that cannot be read as one is given out as text."""
    if datadict.dictionary_has_tag(element.tag):
        kind = datadict.dictionary_VR(element.tag)
        if kind in (*_TEXT_NUMBERS, *_MOMENTS):
            return kind
    return element.VR
