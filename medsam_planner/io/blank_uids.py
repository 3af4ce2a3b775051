"""Identifiers for DICOM files whose identifiers were blanked, so that results can refer to them.

Anonymised exports sometimes leave Study, Series, SOP or frame-of-reference UIDs empty. The standard, and highdicom,
need them. They are filled in memory only: first from the file's own meta header, else with UIDs made from the content
(version-5 UUIDs under 2.25, DICOM PS3.5 annex B.2), so that the same files get the same UIDs wherever they lie.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.uid import UID, CTImageStorage, MRImageStorage

__all__ = ["content_uid", "fill_blank_uids"]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://dicom.nema.org/medsam-planner/blank-uid")
_SOP_CLASS_BY_MODALITY = {"CT": CTImageStorage, "MR": MRImageStorage}


def content_uid(*parts: str) -> UID:
    """UID that follows from `parts` alone."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(parts)).int}")


def fill_blank_uids(datasets: Sequence[pydicom.Dataset]) -> dict[str, Any] | None:
    """Fill the blank mandatory UIDs of one series in place; returns what was done, or None when nothing was blank.

    `datasets` must be private to the caller and hold their pixels.
    """
    filled: dict[str, int] = {}
    fingerprints = [_fingerprint(dataset) for dataset in datasets]
    own_instances = [_meta_uid(dataset, "MediaStorageSOPInstanceUID") for dataset in datasets]
    are_unique = len(set(own_instances)) == len(datasets)
    whole = hashlib.sha256("".join(sorted(fingerprints)).encode()).hexdigest()
    for dataset, fingerprint, own_instance in zip(datasets, fingerprints, own_instances, strict=True):
        modality = str(dataset.get("Modality") or "")
        for keyword, own, made in (
            (
                "SOPClassUID",
                _meta_uid(dataset, "MediaStorageSOPClassUID"),
                _SOP_CLASS_BY_MODALITY.get(modality, CTImageStorage),
            ),
            ("SOPInstanceUID", own_instance if are_unique else None, content_uid("instance", whole, fingerprint)),
            ("SeriesInstanceUID", None, content_uid("series", whole)),
            ("StudyInstanceUID", None, content_uid("study", whole)),
            ("FrameOfReferenceUID", None, content_uid("frame of reference", whole)),
        ):
            if not dataset.get(keyword):
                setattr(dataset, keyword, own or made)
                filled[keyword] = filled.get(keyword, 0) + 1
    if not filled:
        return None
    return {"name": "fill_blank_uids", "filled_count_by_keyword": dict(sorted(filled.items()))}


def _meta_uid(dataset: pydicom.Dataset, keyword: str) -> str | None:
    """A UID of the file's meta header, or None."""
    return (getattr(dataset, "file_meta", None) or pydicom.Dataset()).get(keyword) or None


def _fingerprint(dataset: pydicom.Dataset) -> str:
    """SHA-256 of a slice's place and pixels as stored."""
    digest = hashlib.sha256()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        digest.update(f"{keyword}={dataset.get(keyword)};".encode())
    digest.update(dataset.get("PixelData") or b"")
    return digest.hexdigest()
