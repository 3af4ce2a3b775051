"""What is known of a structure in a plan: its mask, its uncertainty, and how the mask was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import highdicom

from medsam_planner.planning.mask_coverage import KnownPart
from medsam_planner.planning.structures import SampledMasks
from medsam_planner.provenance import made_by_hand
from prompts.by_hand import notes_on_initial_mask

if TYPE_CHECKING:
    from medsam_planner.provenance import PropagationTrace, SegmentationProvenance
    from medsam_planner.segmentation.result import SegmentationResult
    from prompts import PromptLog

__all__ = ["StructureEvidence"]


@dataclass(frozen=True, slots=True, eq=False)
class StructureEvidence:
    """Mask of one structure with what is known of its accuracy. Only the mask is required."""

    mask: highdicom.Volume
    """bool, on the study's grid."""
    boundary_spread_mm: highdicom.Volume | None = None
    """Standard deviation over stochastic passes of the signed distance to the surface, mm."""
    entropy_bits: highdicom.Volume | None = None
    """Predictive entropy, bits."""
    mask_samples: Sequence[highdicom.Volume] | SampledMasks = ()
    """Masks of stochastic passes."""
    provenance: SegmentationProvenance | None = None
    """How the mask was made; None where that is not known."""
    log: PromptLog | None = None
    trace: PropagationTrace | None = None
    """How the mask was propagated; None where it was not propagated, or was changed since."""
    known_part: KnownPart | None = None
    """Where its file covers only part of the study."""
    given: highdicom.Volume | None = None
    """The mask as its file stores it."""
    planned: highdicom.Volume | None = None
    """The mask on the grid to plan on, where that differs from the study's."""
    result: SegmentationResult | None = None
    """The segmentation of this process that produced the mask, if one did."""
    file_notes: tuple[str, ...] = ()
    """What is not known of the mask as its file holds it, in sentences."""

    @classmethod
    def of_result(cls, result: SegmentationResult, log: PromptLog | None = None) -> StructureEvidence:
        """Evidence of a structure that was segmented in this process."""
        return cls(
            mask=result.mask,
            boundary_spread_mm=result.boundary_spread_mm,
            entropy_bits=result.uncertainty,
            mask_samples=result.mask_samples or (),
            provenance=result.provenance,
            log=result.log if log is None else log,
            trace=result.trace,
            result=result,
        )

    @property
    def by_hand(self) -> str:
        """See :func:`~medsam_planner.provenance.made_by_hand`."""
        return made_by_hand(self.log, self.trace)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of the mask, or of the one from which it begins."""
        return (*self.file_notes, *(() if self.log is None else notes_on_initial_mask(self.log)))

    @property
    def is_empty(self) -> bool:
        """Whether no voxel belongs to it."""
        return not self.mask.array.any()
