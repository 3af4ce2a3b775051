"""What segmenting one structure yields; produced by the session, read by the planner, the report and the UI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.provenance import PropagationTrace
from medsam_planner.volumes import BoxedArray, volume_like

__all__ = ["MaskSamples", "SegmentationResult"]


@dataclass(frozen=True, slots=True, eq=False)
class MaskSamples:
    """Masks of T stochastic passes, as :class:`medsam_planner.planning.structures.MaskRuns` has them."""

    boxed: BoxedArray
    """(T, k, j, i) bool, in the box of voxels where any pass can differ from background."""
    reference: highdicom.Volume = field(repr=False)
    """Any volume on the whole grid."""

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(T, k, j, i) in the box."""
        return self.boxed.part

    def volume(self, run: int) -> highdicom.Volume:
        """Mask of one pass on the whole grid, bool."""
        return volume_like(self.reference, self.boxed.whole(run))


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationResult:
    """One structure: its mask and everything that tells how far to trust it. All volumes share the study's grid."""

    structure: str
    mask: highdicom.Volume
    """bool."""
    probability: highdicom.Volume
    """float32 in [0, 1]."""
    trace: PropagationTrace
    uncertainty: highdicom.Volume | None = None
    """Predictive entropy in bits, float32 in [0, 1]; None without samples."""
    mutual_information: highdicom.Volume | None = None
    """The part of the entropy that comes from the model, in bits."""
    boundary_spread_mm: highdicom.Volume | None = None
    """Standard deviation over the runs of the signed distance to the surface, mm."""
    saliency: highdicom.Volume | None = None
    """Grad-CAM of the mask, float32, scaled to [0, 1] over the volume."""
    mask_samples: MaskSamples | None = None
    faithfulness: dict[str, Any] = field(default_factory=dict)
    """Infidelity, randomisation check and overlap of the saliency, each overlap beside its chance level."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Hashes, versions, parameters and seed: with the prompt log enough to rebuild the mask bit by bit."""
