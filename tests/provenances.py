"""Provenance of results that tests build by hand."""

from __future__ import annotations

from typing import Any

from medsam_planner.provenance import SegmentationProvenance


def provenance(**stated: Any) -> SegmentationProvenance:
    """Provenance of a mask of the compact model, with any entry replaced."""
    entries: dict[str, Any] = {
        "structure": "vessel",
        "image_sha256": "ab" * 32,
        "mask_sha256": "0",
        "window": None,
        "model": "compact",
        "weights_sha256": "cd" * 32,
        "normalisation": {},
        "temperature": 1.0,
        "seed": 0,
        "rules": {},
        "samples": 16,
        "saliency": False,
        "triplanar": False,
        "modality": "CT",
        "modality_is_inferred": False,
        "operations": [],
        "versions": {},
    }
    return SegmentationProvenance(**entries | stated)
