"""One structure under a model that segments volumes as a whole, with the interface of a structure tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import OUTSIDE_LOGIT, SUREST_LOGIT
from medsam_planner.engine.prediction import SlicePrediction
from medsam_planner.engine.protocol import SlicePrompt, VolumeSegmenter
from medsam_planner.engine.stochastic_passes import Jitter
from medsam_planner.errors import PromptError, UncertaintyError
from medsam_planner.geometry import index_from_lps, lps_from_index, slice_across, spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.anchors import SliceEvent, slice_events
from medsam_planner.propagation.front import Anchor
from medsam_planner.propagation.sampling import SampledPasses, SurfaceBand, sample_box
from medsam_planner.propagation.sources import PromptJitter, UncertaintySource
from medsam_planner.propagation.structure import CandidateMasks, PropagatedStructure, prompted_axes, require_located
from medsam_planner.propagation.volume import PropagatedVolume
from medsam_planner.provenance import PropagationTrace, SliceRecord, SliceRole
from prompts import Box, Click, Prompt, Scribble
from prompts.masks import mask_box

__all__ = ["VolumeTracker"]


@dataclass(frozen=True, slots=True, eq=False)
class VolumeTracker:
    """Asks the model for the mask of all prompts; it keeps nothing, the model may."""

    segmenter: VolumeSegmenter
    volume: highdicom.Volume

    def anchors(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> dict[int, dict[int, Anchor]]:
        """Sections of the mask on the prompted slices, by axis and slice index."""
        mask, axis = self._mask(prompts, progress), self._axis(prompts)
        indices = self._prompted(prompts, axis)
        return {axis: {index: Anchor(index, _prediction(slice_across(mask, axis, index)), "") for index in indices}}

    def candidate_masks(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> CandidateMasks:
        """The one prediction for the last prompt, on its slice.

        Raises
        ------
        PromptError
            If there is no prompt that says where the structure is, or the last one is neither a box nor a click.
        """
        if not prompts or not isinstance(prompts[-1], Box | Click):
            raise PromptError("Expected a box or a click as the last prompt: others have no candidates.")
        axis = self._axis(prompts)
        (index,) = self._prompted(prompts[-1:], axis)
        section = slice_across(self._mask(prompts, progress), axis, index)
        return CandidateMasks(axis, index, (_prediction(section),), 0)

    def run(
        self, prompts: Sequence[Prompt], *, triplanar: bool = False, progress: Progress | None = None
    ) -> PropagatedStructure:
        """The mask of all prompts.

        Raises
        ------
        PromptError
            If no prompt says where the structure is, or the model cannot be told one; or if `triplanar`.
        ModelServerError
            If the model cannot be reached.
        """
        if triplanar:
            raise PromptError("The model segments the volume as a whole and not by planes: leave out triplanar.")
        mask, axis = self._mask(prompts, progress), self._axis(prompts)
        prompted = self._prompted(prompts, axis)
        pixel_mm2 = float(np.prod(np.delete(spacing_mm(self.volume.affine), axis)))
        areas = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        indices = sorted({*np.flatnonzero(areas).tolist(), *prompted})
        records = tuple(
            SliceRecord(
                index=index,
                role=SliceRole.ANCHOR if index in prompted else SliceRole.PROPAGATED,
                source_index=None,
                overlap=None,
                area_mm2=float(areas[index]) * pixel_mm2,
                centroid_drift_mm=None,
                quality=None,
                entropy_bits=0.0,
            )
            for index in indices
        )
        predictions = {index: _prediction(slice_across(mask, axis, index)) for index in indices}
        made = PropagatedVolume(predictions, PropagationTrace(axis, records))
        painted = np.empty((0, 3), dtype=np.int64)
        return PropagatedStructure({axis: made}, ((axis, tuple(prompted)),), painted, mask.astype(np.float32))

    def sample(
        self,
        prompts: Sequence[Prompt],
        structure: PropagatedStructure,
        source: UncertaintySource,
        *,
        samples: int,
        seed: int,
        progress: Progress | None = None,
    ) -> SampledPasses:
        """Masks of shifted and scaled prompts; every pass moves all prompts together, as another annotator might.

        Parameters
        ----------
        prompts : sequence of Prompt
            Of which `structure` is the mask.
        structure : PropagatedStructure
        source : UncertaintySource
            The jitter of prompts; the model has no passes of its own.
        samples : int
        seed : int
        progress : Progress, optional
            Told the passes; may cancel.

        Raises
        ------
        UncertaintyError
            If it is another source.
        """
        self.require_source(source)
        mask = structure.probability > 0.5
        affine, shape = self.volume.affine, self.volume.spatial_shape
        draws = [one.jitter for one in source.draws(samples, seed)]
        masks = []
        for jitter in track(draws, "jitter passes", progress):
            assert jitter is not None
            moved = [_moved(one, jitter, mask, structure.axis, affine, shape) for one in prompts]
            masks.append(self.segmenter.segment(moved))
        box = sample_box(np.any([mask, *masks], axis=0).astype(np.float32))
        band = SurfaceBand(box, np.ones(mask[box].shape, dtype=bool))
        inside = np.stack([one[box].ravel() for one in masks])
        logits = np.where(inside, np.float16(SUREST_LOGIT), np.float16(OUTSIDE_LOGIT))
        return SampledPasses(band, logits, structure.probability[box])

    @staticmethod
    def require_source(source: UncertaintySource) -> None:
        """Refuse a source of uncertainty that needs the inside of the model.

        Raises
        ------
        UncertaintyError
        """
        if not isinstance(source, PromptJitter):
            raise UncertaintyError(
                f"The model gives masks only, so its uncertainty can only come from moved prompts, not from "
                f"{source.name!r}: choose jitter (--uncertainty jitter), or no samples (--samples 0)."
            )

    def _mask(self, prompts: Sequence[Prompt], progress: Progress | None) -> NDArray[np.bool_]:
        require_located(prompts)
        return self.segmenter.segment(prompts, progress=progress)

    def _axis(self, prompts: Sequence[Prompt]) -> int:
        """That of the first 2D box, else the acquisition axis."""
        return prompted_axes(prompts, self.volume.affine, self.volume.spatial_shape)[0]

    def _prompted(self, prompts: Sequence[Prompt], axis: int) -> list[int]:
        """Slices with a prompt, ascending."""
        found: set[int] = set()
        for event in slice_events(prompts, self.volume.affine, self.volume.spatial_shape, axis):
            found |= {event.index} if isinstance(event, SliceEvent) else set(event.sections)
        return sorted(found)


def _prediction(section: NDArray[np.bool_]) -> SlicePrediction:
    """A slice of a mask that was predicted as a whole; the model gives no probability and no quality."""
    return SlicePrediction(section.astype(np.float32), 1.0, None, SlicePrompt())


def _moved(
    prompt: Prompt,
    jitter: Jitter,
    mask: NDArray[np.bool_],
    axis: int,
    affine: NDArray[np.float64],
    shape: Sequence[int],
) -> Prompt:
    """A prompt, shifted and scaled within its slice about the structure there; masks and edits stay."""
    if isinstance(prompt, Box):
        corners = index_from_lps(affine, [prompt.corner_lps_mm, prompt.opposite_lps_mm])
        low, high = corners.min(axis=0), corners.max(axis=0)
        moved = _shifted(corners, jitter, axis, (low + high) / 2, high - low, shape)
        return Box(*lps_from_index(affine, moved))
    if not isinstance(prompt, Click | Scribble):
        return prompt
    said = [prompt.position_lps_mm] if isinstance(prompt, Click) else prompt.positions_lps_mm
    places = index_from_lps(affine, said)
    around = mask_box(slice_across(mask, axis, int(np.clip(np.rint(places[0, axis]), 0, shape[axis] - 1))))
    if not around[0].stop:
        return prompt
    centre = np.insert([(side.start + side.stop - 1) / 2 for side in around], axis, 0.0)
    extent = np.insert([float(side.stop - side.start) for side in around], axis, 0.0)
    moved = lps_from_index(affine, _shifted(places, jitter, axis, centre, extent, shape))
    return Click(moved[0], prompt.positive) if isinstance(prompt, Click) else Scribble(moved, prompt.positive)


def _shifted(
    places: NDArray[np.float64],
    jitter: Jitter,
    axis: int,
    centre: NDArray[np.float64],
    extent: NDArray[np.float64],
    shape: Sequence[int],
) -> NDArray[np.float64]:
    """(N, 3) voxel indices within the grid."""
    moved = centre + (places - centre) * jitter.growth + np.insert(np.array(jitter.shift), axis, 0.0) * extent
    moved[:, axis] = places[:, axis]
    return np.clip(moved, 0.0, np.array(shape) - 1.0)
