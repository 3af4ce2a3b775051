"""Words that DICOM itself uses: in the meanings of its coded concepts and in the names of its attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["vocabulary"]


@cache
def vocabulary() -> frozenset[str]:
    """Words of two letters and more, folded; about 9,500."""
    from pydicom.datadict import DicomDictionary
    from pydicom.sr._concepts_dict import concepts

    schemes: Mapping[str, Any] = concepts
    meanings = [
        meaning for by_name in schemes.values() for by_code in by_name.values() for meaning, _ in by_code.values()
    ]
    names = [str(entry[2]) for entry in DicomDictionary.values()]
    return frozenset(word for text in (*meanings, *names) for word in re.findall(r"[a-z]{2,}", text.casefold()))
