"""Formats of data sets that a project exports and imports."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format"]


class Format(StrEnum):
    """Formats of a data set."""

    NNUNET = "nnunet"
    MONAI = "monai"
    """As the Medical Segmentation Decathlon."""
    BIDS = "bids"
    """Derivatives: segmentations alone."""
    COCO = "coco"
    """Run lengths per slice: segmentations alone."""
    DICOM_SEG = "dicom-seg"
    """One Segmentation for each DICOM study: segmentations alone."""
