"""The result of segmenting one structure, for the planner, the report and the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.provenance import PropagationTrace, SegmentationProvenance, made_by_hand
from medsam_planner.volumes import BoxedArray, volume_like
from prompts import PromptLog

__all__ = ["MaskSamples", "SegmentationResult"]


@dataclass(frozen=True, slots=True, eq=False)
class MaskSamples:
    """Masks of T stochastic passes, cut to the box in which a pass can differ from background."""

    boxed: BoxedArray
    """(T, k, j, i) bool."""
    reference: highdicom.Volume = field(repr=False)
    """A volume on the whole grid."""

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(T, k, j, i) in the box."""
        return self.boxed.part

    def volume(self, number: int) -> highdicom.Volume:
        """Mask of one pass on the whole grid, bool."""
        return volume_like(self.reference, self.boxed.whole(number))


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SegmentationResult:
    """One structure: its mask, its uncertainty and how it was made. All volumes are on the study's grid."""

    structure: str
    mask: highdicom.Volume
    """bool."""
    probability: highdicom.Volume
    """float32 in [0, 1]."""
    trace: PropagationTrace
    provenance: SegmentationProvenance
    uncertainty: highdicom.Volume | None = None
    """Predictive entropy in bits, float32 in [0, 1]; None without stochastic passes."""
    mutual_information: highdicom.Volume | None = None
    """The part of the entropy that is disagreement between passes, in bits."""
    boundary_spread_mm: highdicom.Volume | None = None
    """Standard deviation over the passes of the signed distance to the surface, mm."""
    saliency: highdicom.Volume | None = None
    """Grad-CAM of the mask, float32, scaled to [0, 1] over the volume."""
    mask_samples: MaskSamples | None = None
    log: PromptLog | None = None
    """Prompts the mask was predicted from; None where they are kept elsewhere."""
    faithfulness: dict[str, Any] = field(default_factory=dict)
    """Infidelity, weight-randomisation check and overlap of the saliency, with chance levels."""

    @property
    def by_hand(self) -> str:
        """See :func:`~medsam_planner.provenance.made_by_hand`."""
        return made_by_hand(self.log, self.trace)
