"""Identifiers that the headers of a patient's files state, to be looked for wherever else they may stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pydicom
from pydicom.multival import MultiValue

from medsam_planner.deidentification.vocabulary import vocabulary
from medsam_planner.io.study_files import READ_ERRORS

__all__ = ["Identifiers", "stated_identifiers"]

_STATING = [
    "PatientID",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "ServiceEpisodeID",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "MedicalRecordLocator",
    "MilitaryRank",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "PerformedProcedureStepID",
    "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest",
    "PatientBirthName",
    "CurrentPatientLocation",
]
_PATIENT = "PatientName"
_BIRTH = "PatientBirthDate"
_DEVICES = ("Manufacturer", "ManufacturerModelName")
_WORD = re.compile(r"[^\W_]+")
_LEAST_NAME = 2
_LEAST_NUMBER = 4
"""Shorter words of numbers, stations and addresses are in every header and identify nobody."""
_LEAST_SUBSTRING = 5
"""An identifier of at least so many characters is found inside a longer word too."""


def stated_identifiers(dataset: pydicom.Dataset) -> frozenset[str]:
    """Words of names, numbers and addresses in a dataset and its sequences, and spellings of the birth date."""
    found: set[str] = set()
    devices = {str(dataset.get(keyword) or "").strip().casefold() for keyword in _DEVICES}
    for element in _elements(dataset):
        is_date = element.keyword == _BIRTH
        if element.VR != "PN" and element.keyword not in _STATING and not is_date:
            continue
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        for value in values:
            text = str(value or "")
            if element.keyword != _PATIENT and text.strip().casefold() in devices:
                continue  # a program that states itself as the creator, a scanner as its station
            if is_date:
                found.update(_spellings(text))
                continue
            words = {word.casefold() for word in _WORD.findall(text)}
            if element.VR == "PN":
                found.update(word for word in words if len(word) >= _LEAST_NAME)
                continue
            found.update(word for word in words - vocabulary() if len(word) >= _LEAST_NUMBER)
            if len(text.strip()) >= _LEAST_SUBSTRING and text.strip().casefold() not in vocabulary():
                found.add(text.strip().casefold())
    return frozenset(found)


def _elements(dataset: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    yield from _elements(item)
            else:
                yield element
        except READ_ERRORS:
            continue


def _spellings(date: str) -> Iterator[str]:
    parts = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", date.strip())
    if parts is None or date.startswith(("1900", "0001")):
        return
    year, month, day = parts.groups()
    for order in ((year, month, day), (day, month, year), (month, day, year)):
        yield from (separator.join(order) for separator in ("", ".", "-", "/"))


class Identifiers:
    """The identifiers of one patient.

    Parameters
    ----------
    words : iterable of str
        As :func:`stated_identifiers` gives them.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(words)
        long = sorted((word for word in self._words if len(word) >= _LEAST_SUBSTRING), key=len, reverse=True)
        self._inside = re.compile("|".join(map(re.escape, long))) if long else None
        self._telling = [word for word in long if any(letter.isalpha() for letter in word)]

    def in_text(self, text: str) -> bool:
        """Whether `text` holds one: short ones as a word, longer ones anywhere."""
        folded = text.casefold()
        if self._inside is not None and self._inside.search(folded):
            return True
        return any(word in self._words for word in _WORD.findall(folded))

    def is_one(self, text: str) -> bool:
        """Whether `text` as a whole is one of five or more characters."""
        return len(text.strip()) >= _LEAST_SUBSTRING and text.strip().casefold() in self._words

    def in_bytes(self, content: bytes) -> bool:
        """Whether written bytes hold one of five or more characters that is not a mere number."""
        folded = content.lower()
        return any(
            word.encode(encoding, "ignore") in folded
            for word in self._telling
            for encoding in ("utf-8", "latin-1")
            if word.encode(encoding, "ignore")
        )
