"""Transfer syntaxes that this program negotiates; it can read all of them."""

from __future__ import annotations

from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

__all__ = ["COMPRESSED", "FETCHED", "UNCOMPRESSED"]

UNCOMPRESSED: tuple[UID, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Not the deflated one: whatever is accepted unasked is read at once, and a few of its bytes inflate to any size."""
COMPRESSED: tuple[UID, ...] = (
    JPEGLosslessSV1,
    JPEGLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    HTJ2KLossless,
)
FETCHED: tuple[UID, ...] = (DeflatedExplicitVRLittleEndian, *COMPRESSED)
"""What a PACS may send when it is asked, beside the uncompressed ones; our maps are deflated."""
