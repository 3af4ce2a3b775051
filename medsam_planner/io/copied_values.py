"""What a new DICOM object may copy from a study's header: anonymisers leave values there that are none.

An object is refused by readers, and by the libraries that write it, for one date of ``ANON``. Such a value is left out
of the copy; the study itself is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.valuerep import DA, DT, TM, validate_value

from medsam_planner.io.study_files import READ_ERRORS

__all__ = ["SINGLE_VALUES", "copy_note", "without_invalid_values"]

_ALLOWED = {"PatientSex": ("M", "F", "O"), "PatientSexNeutered": ("ALTERED", "UNALTERED")}
_PATIENT_GROUP = 0x0010
_NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
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
"""Values of patient and study of which every object has one, if an empty one."""
_TOLD = {*SINGLE_VALUES, "PatientAge", "PatientWeight", "PatientSize", "StudyDescription"}
"""Values about which a person is told."""
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
            dropped.append(pydicom.datadict.keyword_for_tag(tag) or str(tag))
    return copy, tuple(dropped)


def copy_note(headers: Sequence[pydicom.Dataset]) -> str | None:
    """What a person should know before DICOM results of these headers are passed on, or None."""
    if not headers:
        return None
    told = [f"{name} ({_shown(headers[0], name)})" for name in without_invalid_values(headers[0])[1] if name in _TOLD]
    if not told:
        return None
    return f"Values that DICOM does not allow are left empty in DICOM results: {', '.join(told)}."


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
    if several and element.keyword in SINGLE_VALUES:
        return False
    for one in value if several else (value,):
        if element.keyword in _ALLOWED and str(one) not in _ALLOWED[element.keyword]:
            return False
        if not (isinstance(one, bytes) or (element.VR in _NUMBERS and element.tag.group != _PATIENT_GROUP)):
            validate_value(element.VR, str(one), config.RAISE)
        if element.VR in _MOMENTS:
            _MOMENTS[element.VR](str(one))
    return True
