"""Clean one dataset: every attribute on every level, by the profile's table or else by its kind of value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import pydicom
from pydicom.datadict import dictionary_has_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.uid import UID_dictionary

from medsam_planner.deidentification.identifiers import Identifiers
from medsam_planner.deidentification.profile import (
    BINARY,
    DESCRIPTORS,
    TECHNICAL,
    Action,
    Dates,
    Profile,
    actions,
)
from medsam_planner.deidentification.pseudonyms import Pseudonyms
from medsam_planner.deidentification.safe_private import is_safe_private
from medsam_planner.deidentification.words import cleaned_text, is_technical
from medsam_planner.io.objects.concepts import SCHEME
from medsam_planner.io.study_files import READ_ERRORS, STANDARD_ROOT

__all__ = ["Cleaner", "mark"]

_TEXT = frozenset({"LO", "SH", "LT", "ST", "UC", "UT"})
_TEMPORAL = {
    "DA": re.compile(r"\d{4}[.]?\d{2}[.]?\d{2}"),
    "TM": re.compile(r"\d{2}(:?\d{2}(:?\d{2}([.]\d{1,6})?)?)?"),
    "DT": re.compile(r"\d{8,14}([.]\d{1,6})?([+-]\d{4})?"),
}
_CHECKED = {"CS": re.compile(r"[A-Za-z0-9_ ]{0,16}"), "AS": re.compile(r"\d{3}[DWMY]")}
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
_BYTES = frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})
_NEVER_DATED = frozenset({0x0010, 0x0012, 0x0400})
"""Groups whose dates no option keeps: the patient's birth, clinical trials, digital signatures."""
_CLEANED_ITEMS = frozenset({"ContentSequence", "GraphicAnnotationSequence"})
"""Sequences that the table replaces, and whose items are cleaned one by one instead."""
_CHARACTER_SET = 0x00080005
_REMOVED = "REMOVED"
_DUMMIES = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "http://removed.invalid",
    "DS": "0",
    "IS": "0",
}


@dataclass(slots=True)
class Cleaner:
    """Cleans the datasets of one patient.

    Parameters
    ----------
    profile : Profile
    pseudonyms : Pseudonyms
    identifiers : Identifiers
        Of the patient, from all files.
    patient : str
        What identifies the patient: all dates of one patient move by the same number of days.
    """

    profile: Profile
    pseudonyms: Pseudonyms
    identifiers: Identifiers
    patient: str
    counts: Counter[str] = field(default_factory=Counter)
    """How many attributes were removed, emptied, replaced, cleaned and so on."""
    keeps_private: bool = False
    """Whether a safe private element was kept."""

    def clean(self, dataset: pydicom.Dataset) -> None:
        """Clean `dataset` and its sequences in place; pixel data stay as they are."""
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
                kept = self._clean(element, dataset)
            except READ_ERRORS:  # a value that is invalid for its kind may hold anything
                kept = False
            if not kept:
                del dataset[tag]
                self.counts["removed"] += 1

    def _clean(self, element: pydicom.DataElement, dataset: pydicom.Dataset) -> bool:
        """Clean an element in place; whether it stays."""
        tag = element.tag
        if tag.is_private:
            safe = is_safe_private(element, dataset)
            self.keeps_private |= safe
            return safe
        is_repeating = tag.group & 0xFF00 in (0x5000, 0x6000)
        if is_repeating or tag == _CHARACTER_SET or tag.element == 0 or not dictionary_has_tag(tag):
            return False
        if element.is_empty:
            return True
        action = actions().get(int(tag))
        if element.VR in _TEMPORAL:
            return self._temporal(element, action)
        if self.profile.dates is not Dates.REMOVE and element.keyword == "TimezoneOffsetFromUTC":
            return re.fullmatch(r"[+-]\d{4}", str(element.value)) is not None
        if self.profile.keeps_descriptors and element.keyword in DESCRIPTORS:
            self._texts(element, self._words)
            return not element.is_empty
        if action is None or (action is Action.CLEAN_ITEMS and element.VR == "SQ"):
            return self._by_kind(element, dataset)
        return self._act(element, action, dataset)

    def _act(self, element: pydicom.DataElement, action: Action, dataset: pydicom.Dataset) -> bool:
        if action is Action.UID:
            return self._uids(element)
        if action is Action.EMPTY and element.keyword != "ROIName":
            self.counts["emptied"] += 1
            element.value = Sequence() if element.VR == "SQ" else b"" if element.VR in (*_BYTES, "UN") else ""
            return True
        if action is Action.REMOVE or action is Action.CLEAN_ITEMS:
            return False
        if element.keyword in _CLEANED_ITEMS:
            return self._by_kind(element, dataset)
        self.counts["replaced"] += 1
        if element.VR == "SQ":
            element.value = Sequence([_unnamed_code()]) if element.keyword.endswith("CodeSequence") else Sequence()
        elif element.VR == "UI":
            return self._uids(element)
        elif element.VR in _BYTES or element.VR == "UN":
            element.value = b""
        elif element.VR in _NUMBERS:
            element.value = 0
        else:
            element.value = _DUMMIES.get(element.VR) or _numbered(dataset)
        return True

    def _by_kind(self, element: pydicom.DataElement, dataset: pydicom.Dataset) -> bool:
        """What the table does not name."""
        kind = element.VR
        if kind == "SQ":
            for item in element.value:
                self.clean(item)
            return True
        if kind == "UI":
            return self._uids(element)
        if kind in _TEXT:
            self._texts(element, self._rule(element, dataset), instead=_numbered(dataset))
            return True
        if kind in _CHECKED:
            self._texts(element, lambda text: self._checked(text, _CHECKED[kind]))
            return True
        if kind in ("DS", "IS"):
            for value in _values(element):
                float(str(value))
            if kind == "IS":  # an integer may be the patient's number
                self._texts(element, lambda text: "" if self.identifiers.is_one(text) else text)
            return True
        if kind in ("PN", "AE", "UR"):
            element.value = ""
            self.counts["emptied"] += 1
            return True
        return set(kind.split(" or ")) <= _NUMBERS or element.keyword in BINARY

    def _rule(self, element: pydicom.DataElement, dataset: pydicom.Dataset) -> Callable[[str], str]:
        is_own = element.keyword == "CodeMeaning" and str(dataset.get("CodingSchemeDesignator")) == SCHEME
        if element.keyword in TECHNICAL or is_own:
            return lambda text: text if is_technical(text, self.identifiers) else ""
        return self._words

    def _words(self, text: str) -> str:
        return cleaned_text(text, self.identifiers)

    def _checked(self, text: str, pattern: re.Pattern[str]) -> str:
        return text if pattern.fullmatch(text) and not self.identifiers.in_text(text.replace("_", " ")) else ""

    def _texts(self, element: pydicom.DataElement, rule: Callable[[str], str], *, instead: str = "") -> None:
        """Apply `rule` to each value; what nothing is left of becomes `instead`."""
        before = [str(value) for value in _values(element)]
        after = [rule(text) or (instead if text.strip() else "") for text in before]
        if after != before:
            self.counts["cleaned"] += 1
            element.value = after if any(after) and len(after) > 1 else after[0]

    def _uids(self, element: pydicom.DataElement) -> bool:
        before = [str(value) for value in _values(element)]
        names_class = "SOPClass" in element.keyword or "TransferSyntax" in element.keyword
        after = [uid if _is_registered(uid, names_class) else self.pseudonyms.uid(uid) for uid in before]
        if after != before:
            self.counts["UIDs replaced"] += 1
            element.value = after if len(after) > 1 else after[0]
        return True

    def _temporal(self, element: pydicom.DataElement, action: Action | None) -> bool:
        if self.profile.dates is Dates.REMOVE or element.tag.group in _NEVER_DATED:
            if action is Action.REMOVE:
                return False
            is_dummy = action is Action.REPLACE
            element.value = _DUMMIES[element.VR] if is_dummy else ""
            self.counts["replaced" if is_dummy else "emptied"] += 1
            return True
        before = [str(value).strip() for value in _values(element)]
        if not all(_TEMPORAL[element.VR].fullmatch(text) for text in before if text):
            element.value = ""
            self.counts["emptied"] += 1
            return True
        if self.profile.dates is Dates.SHIFT and element.VR != "TM":
            after = [self.pseudonyms.moved(text, self.patient) for text in before]
            element.value = after if len(after) > 1 else after[0]
            self.counts["dates moved"] += 1
        return True


def mark(dataset: pydicom.Dataset, cleaner: Cleaner, *, is_masked: bool) -> None:
    """Name the patient by a pseudonym and state what was done, as PS3.15 asks."""
    name = cleaner.pseudonyms.name("patient", cleaner.patient)
    dataset.PatientName = name
    dataset.PatientID = name
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"medsam-planner {version('medsam-planner')}, PS3.15 2026c"
    taken = cleaner.profile.codes(is_masked=is_masked, keeps_private=cleaner.keeps_private)
    dataset.DeidentificationMethodCodeSequence = Sequence([_code_item(code) for code in taken])
    dataset.LongitudinalTemporalInformationModified = {
        Dates.REMOVE: "REMOVED",
        Dates.KEEP: "UNMODIFIED",
        Dates.SHIFT: "MODIFIED",
    }[cleaner.profile.dates]


def _values(element: pydicom.DataElement) -> list[object]:
    return list(element.value) if isinstance(element.value, MultiValue | list) else [element.value]


def _is_registered(uid: str, names_class: bool) -> bool:
    """Whether a UID is one of the standard's, and so no identifier; also a class that pydicom does not know yet."""
    return not uid or uid in UID_dictionary or (names_class and uid.startswith(STANDARD_ROOT))


def _numbered(dataset: pydicom.Dataset) -> str:
    number = dataset.get("SegmentNumber") or dataset.get("ROINumber") or dataset.get("ReferencedROINumber")
    return _REMOVED if number is None else f"{_REMOVED} {int(number)}"


def _code_item(code: Code) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _unnamed_code() -> pydicom.Dataset:
    return _code_item(Code(_REMOVED, "99REMOVED", "Removed"))
