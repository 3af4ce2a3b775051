"""Values of a query, checked before anything is sent: matching keys as PS3.4 C.2.2.2 has them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from medsam_planner.errors import ConfigError
from medsam_planner.network.node import is_uid

__all__ = ["matching_keys"]

_DATE = r"\d{8}|\d{4}-\d{2}-\d{2}"
_DATES = re.compile(rf"({_DATE})?\s*([-/])?\s*({_DATE})?")
_LONGEST = {"PatientID": 64, "PatientName": 64, "AccessionNumber": 16, "ModalitiesInStudy": 16, "Modality": 16}
_CODE = re.compile(r"[A-Z0-9_]+")
_NAMES = {
    "PatientID": "a patient ID",
    "PatientName": "a patient's name",
    "AccessionNumber": "an accession number",
    "StudyDate": "a date",
    "ModalitiesInStudy": "a modality",
    "Modality": "a modality",
    "StudyInstanceUID": "the UID of a study",
}


def matching_keys(asked: Mapping[str, str | None]) -> dict[str, str]:
    """What to search for, by keyword; what is None is left out.

    Parameters
    ----------
    asked : mapping
        Value by keyword. A date is ``20260131`` or ``2026-01-31``, or a range: ``20260101-20260131``,
        ``2026-01-01/2026-01-31``, open at one end with the separator alone. ``*`` and ``?`` are wildcards in names,
        patient IDs and accession numbers.

    Raises
    ------
    ConfigError
        If a value is empty or cannot be one, or there is none. Values are not repeated: they may name a patient.
    """
    match = {keyword: _value(keyword, text) for keyword, text in asked.items() if text is not None}
    if not match:
        raise ConfigError("Expected something to search for, got nothing: name a patient, a date, a study, ...")
    return match


def _value(keyword: str, text: str) -> str:
    what, value = _NAMES[keyword], text.strip()
    if not value:
        raise ConfigError(f"Expected {what} to search for, got an empty text. Leave it out to search for any.")
    if keyword == "StudyDate":
        return _dates(value)
    if keyword == "StudyInstanceUID":
        if not is_uid(value):
            raise ConfigError(f"Expected {what} of digits and dots, at most 64 characters. `pacs query` lists UIDs.")
        return value
    longest = _LONGEST[keyword]
    if len(value) > longest or not value.isprintable() or "\\" in value:
        raise ConfigError(f"Expected {what} of at most {longest} printable characters without a backslash.")
    if keyword in ("ModalitiesInStudy", "Modality"):
        value = value.upper()
        if not _CODE.fullmatch(value):
            raise ConfigError(f"Expected {what} such as CT or MR, one of them, got '{value}'.")
    return value


def _dates(text: str) -> str:
    """A date or a range as DICOM has it."""
    match = _DATES.fullmatch(text)
    first, separator, last = match.groups() if match else (None, None, None)
    if match is None or not (first or last) or (last and not separator):
        raise ConfigError(
            f"Expected a date as 20260131 or 2026-01-31, or a range as 20260101-20260131, 20260101- or -20260131, got "
            f"'{text}'."
        )
    begins, ends = (None if one is None else _day(one) for one in (first, last))
    if begins and ends and ends < begins:
        raise ConfigError(f"Expected a range of dates whose first is not after its last, got '{text}'.")
    written = ["" if one is None else f"{one:%Y%m%d}".rjust(8, "0") for one in (begins, ends)]
    return "-".join(written) if separator else written[0]


def _day(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text.replace("-", ""), "%Y%m%d").date()
    except ValueError as error:
        raise ConfigError(f"Expected a day that there is, got '{text}'.") from error
