"""Check that the headers of a series define the meaning of its stored values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pydicom

from medsam_planner.io.study_files import READ_ERRORS, DicomFile, name_files

__all__ = ["rescale_problems"]


def rescale_problems(files: Sequence[DicomFile], modality: str, stated: str | None) -> tuple[str, ...]:
    """Why stored values of `files` cannot become values of `modality`; empty when nothing speaks against it.

    Parameters
    ----------
    files
        Of one series.
    modality
        As the files say.
    stated
        What the person says the values are, or None.
    """
    damaged = [f"{file.name} ({fault})" for file in files if (fault := _fault(file.header)) is not None]
    if damaged:
        return (
            f"{len(damaged)} of {len(files)} files do not say what their values mean, the rescale tags are damaged: "
            f"{name_files(damaged, most=3)}.",
        )
    unscaled = [file.name for file in files if not _is_rescaled(file.header)]
    if 0 < len(unscaled) < len(files):
        return (
            f"{len(unscaled)} of {len(files)} files have no RescaleSlope and RescaleIntercept "
            f"({name_files(unscaled)}), so their values cannot be compared with the others'.",
        )
    if unscaled and modality == "CT" and stated is None:
        return (
            f"a CT without RescaleSlope and RescaleIntercept ({name_files(unscaled)}) does not say "
            "what its values mean. If they are Hounsfield units already, say so with modality='CT'.",
        )
    return ()


def _fault(header: pydicom.Dataset) -> str | None:
    try:
        for holder in _holders(header):
            for keyword in ("RescaleSlope", "RescaleIntercept"):
                value = holder.get(keyword)
                if value is not None and value != "" and not _is_number(value):
                    return f"{keyword} is {value}"
                if keyword == "RescaleSlope" and value is not None and value != "" and float(value) == 0.0:
                    return "RescaleSlope is 0, which makes all values the same"
    except READ_ERRORS as error:
        return str(error)
    return None


def _is_number(value: object) -> bool:
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False


def _holders(header: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """The datasets that may state a rescale."""
    yield header
    groups = (
        *(header.get("SharedFunctionalGroupsSequence") or ()),
        *(header.get("PerFrameFunctionalGroupsSequence") or ()),
    )
    for group in groups:
        yield from group.get("PixelValueTransformationSequence") or ()


def _is_rescaled(header: pydicom.Dataset) -> bool:
    if "ModalityLUTSequence" in header:
        return True
    if "PerFrameFunctionalGroupsSequence" in header:
        shared = header.get("SharedFunctionalGroupsSequence") or ()
        if any("PixelValueTransformationSequence" in group for group in shared):
            return True
        return all("PixelValueTransformationSequence" in group for group in header.PerFrameFunctionalGroupsSequence)
    return header.get("RescaleSlope") is not None and header.get("RescaleIntercept") is not None
