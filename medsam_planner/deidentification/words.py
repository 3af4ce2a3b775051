"""Cut a free text down to words of DICOM's own vocabulary."""

from __future__ import annotations

import re

from medsam_planner.deidentification.identifiers import Identifiers
from medsam_planner.deidentification.vocabulary import vocabulary

__all__ = ["cleaned_text", "is_technical"]

_TOKEN = re.compile(r"\d+(?:[.]\d+)?\s?(?:mm|cm|ms|kV|mA|T)\b|\b[Tt][12][Ww]?\b|[^\W\d_]+|\S")
_MEASURE = re.compile(r"\d{1,3}([.]\d{1,3})?\s?(mm|cm|ms|kV|mA|T)")
_WEIGHTING = frozenset({"t1", "t2", "t1w", "t2w", "pd"})
_TECHNICAL = re.compile(r"[A-Za-z0-9 .,:;+\-/*()\[\]%#<>=^&_|]{0,64}")


def cleaned_text(text: str, identifiers: Identifiers) -> str:
    """The words of `text` that occur in DICOM's concepts and attribute names and identify nobody, and its measures.

    Numbers without a unit, dates, and words in no vocabulary go. Case and order stay.
    """
    kept = []
    for token in _TOKEN.findall(text):
        folded = token.casefold()
        is_known = folded in vocabulary() or folded in _WEIGHTING or _MEASURE.fullmatch(token) is not None
        if is_known and not identifiers.in_text(token):
            kept.append(token)
    return " ".join(kept)


def is_technical(text: str, identifiers: Identifiers) -> bool:
    """Whether `text` is short plain ASCII and holds no identifier of the patient."""
    return _TECHNICAL.fullmatch(text) is not None and not identifiers.in_text(text)
