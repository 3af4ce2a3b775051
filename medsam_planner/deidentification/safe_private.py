"""Private elements that are known to hold only numbers."""

from __future__ import annotations

import re

import pydicom
from pydicom.multival import MultiValue

from medsam_planner.deidentification.profile import SAFE_PRIVATE

__all__ = ["is_safe_private"]

_NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})
_TEXT_NUMBERS = frozenset({"DS", "IS"})
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?")


def is_safe_private(element: pydicom.DataElement, dataset: pydicom.Dataset) -> bool:
    """Whether a private element is a known number, or the name of a block that has one."""
    group, place = element.tag.group, element.tag.element
    if 0x10 <= place <= 0xFF:
        kept = SAFE_PRIVATE.get(str(element.value).strip(), {}).get(group, frozenset())
        return any((group << 16 | place << 8 | low) in dataset for low in kept)
    # Not element.private_creator: the block may have been removed by now.
    creator = str(dataset.get((group, place >> 8), pydicom.DataElement(0x00090010, "LO", "")).value).strip()
    if place & 0xFF not in SAFE_PRIVATE.get(creator, {}).get(group, frozenset()):
        return False
    if element.VR in _TEXT_NUMBERS:
        values = element.value if isinstance(element.value, list | MultiValue) else [element.value]
        return all(_NUMBER.fullmatch(str(value).strip()) for value in values)
    return element.VR in _NUMBERS
