"""Predictions on single slices of a volume: choose a crop, embed it once, decode prompts, and paste the result back.

The work on one slice is deterministic: the same volume, weights, prompt and seed give the same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.cache import EmbeddingCache, EmbeddingKey
from medsam_planner.engine.logits import OUTSIDE_LOGIT, SUREST_LOGIT, logit, sigmoid
from medsam_planner.engine.prediction import SlicePrediction
from medsam_planner.engine.protocol import Crop, ModelWithMemory, PromptableModel, SlicePrompt, box_around
from medsam_planner.engine.slice_memory import PredictedSlice, SliceMemory
from medsam_planner.engine.stochastic_passes import PromptInCrop, StochasticPass, decode_passes
from medsam_planner.engine.threads import compute_threads
from medsam_planner.engine.zoom import best_crop, extract, paste, prompt_to_crop, slice_to_crop
from medsam_planner.errors import PromptError
from medsam_planner.geometry import slice_across, spacing_mm
from medsam_planner.io.intensity import Normalisation
from medsam_planner.progress import Progress, track
from medsam_planner.volumes import volume_sha256

__all__ = ["SlicePrediction", "SliceSegmenter", "holds"]

_IMAGES_KEPT = 8
_SUREST_REFINED = 13.8155
"""Logits of a prediction that is refined are clipped to this: a probability of 1e-6."""


class SliceSegmenter:
    """A volume under one model and one intensity normalisation, slice by slice across any array axis.

    Parameters
    ----------
    volume : highdicom.Volume
        The study; stored values, HU for CT.
    model : PromptableModel
        The model that predicts.
    normalisation : Normalisation
        Maps stored values to [0, 1].
    cache : EmbeddingCache
        May be shared between segmenters: its keys hold the study, normalisation, crop and weights.
    """

    def __init__(
        self,
        volume: highdicom.Volume,
        model: PromptableModel,
        normalisation: Normalisation,
        cache: EmbeddingCache,
    ) -> None:
        self.volume = volume
        self.model = model
        self.normalisation = normalisation
        self.study_sha256 = volume_sha256(volume)
        self._cache = cache
        self._images: OrderedDict[tuple[int, int], NDArray[np.float32]] = OrderedDict()
        self._slice_memory = (
            SliceMemory(model, self.embedding, self.crop_image) if isinstance(model, ModelWithMemory) else None
        )
        self._spacing_mm = spacing_mm(volume.affine)

    def slice_shape(self, axis: int) -> tuple[int, int]:
        """(H, W) of a slice across `axis`."""
        height, width = (size for other, size in enumerate(self.volume.spatial_shape) if other != axis)
        return height, width

    def slice_spacing_mm(self, axis: int) -> tuple[float, float]:
        """Pixel spacing in mm along the rows and the columns axis of a slice across `axis`."""
        first, second = (float(mm) for other, mm in enumerate(self._spacing_mm) if other != axis)
        return first, second

    def segment(
        self,
        axis: int,
        index: int,
        prompt: SlicePrompt,
        *,
        previous: SlicePrediction | None = None,
        logit_shift: float = 0.0,
        memory: Sequence[PredictedSlice] = (),
        crop: Crop | None = None,
    ) -> SlicePrediction:
        """Predict one slice.

        Parameters
        ----------
        axis : int
            Array axis across which the slice lies.
        index : int
            Number of the slice along that axis.
        prompt : SlicePrompt
            All prompts on the slice, earlier ones included.
        previous : SlicePrediction, optional
            Prediction on the same slice that `prompt` refines; its crop is kept while it contains all points.
        logit_shift : float
            Added to the logits: above 0 the mask grows, below 0 it shrinks.
        memory : sequence of PredictedSlice
            Other slices of the axis that a model with a memory attends to.
        crop : Crop, optional
            The crop to predict on. By default the model proposes crops, and :func:`best_crop` chooses among their
            predictions.

        Raises
        ------
        PromptError
            If the prompt is empty, the slice does not exist, or `memory` is given to a model without one.
        """
        self._require(axis, index, prompt)
        if not self.model.reads_reference_slice:
            prompt = replace(prompt, reference_slice=None)
        shape = self.slice_shape(axis)
        predictions: list[SlicePrediction] = []
        known = None if previous is None else np.clip(logit(previous.probability), -_SUREST_REFINED, _SUREST_REFINED)
        with compute_threads(1):
            for one in self._crops(axis, prompt, previous) if crop is None else (crop,):
                before = None if known is None else extract(known, one)
                decoded = self.model.decode(
                    self.embedding(axis, index, one),
                    self._prompt_in_crop(axis, index, prompt, one, memory),
                    previous_logits=before,
                )
                probability = sigmoid(paste(decoded.logits[0] + np.float32(logit_shift), one, shape, OUTSIDE_LOGIT))
                quality = float(decoded.quality[0])
                predictions.append(
                    SlicePrediction(probability, quality, one, prompt, before, logit_shift, tuple(memory))
                )
        if not predictions:
            raise PromptError(f"The model '{self.model.name}' proposed no crop for this prompt.")
        return predictions[best_crop([one.quality for one in predictions], [one.mask() for one in predictions])]

    def candidate_masks(
        self, axis: int, index: int, prompt: SlicePrompt, *, memory: Sequence[PredictedSlice] = ()
    ) -> tuple[SlicePrediction, ...]:
        """Every candidate prediction for an ambiguous prompt, by predicted IoU, best first.

        The first one is what :meth:`segment` returns; the others are predicted on the same crop. A model without
        candidates returns its one prediction.
        """
        own = self.segment(axis, index, prompt, memory=memory)
        if not isinstance(self.model, ModelWithMemory):
            return (own,)
        offered = [
            self.segment(axis, index, replace(prompt, candidate=number), memory=memory, crop=own.crop)
            for number in range(self.model.candidates)
        ]
        return tuple(sorted(offered, key=lambda one: -one.quality))

    def prompt_in_crop(self, axis: int, index: int, prediction: SlicePrediction, crop: Crop) -> SlicePrompt:
        """The prompt of a prediction in model pixels of its crop, with the memory that was attended to."""
        with compute_threads(1):
            return self._prompt_in_crop(axis, index, prediction.prompt, crop, prediction.memory)

    def sample(
        self,
        axis: int,
        index: int,
        prediction: SlicePrediction,
        window: tuple[slice, slice],
        passes: Sequence[StochasticPass],
    ) -> NDArray[np.float32]:
        """Decode the prompt of a prediction once more for each stochastic pass.

        The cached embedding is used where a pass leaves the image unchanged.

        Parameters
        ----------
        axis, index : int
            The slice.
        prediction : SlicePrediction
            The deterministic prediction on it.
        window : (slice, slice)
            Rows and columns to return.
        passes : sequence of StochasticPass
            T passes.

        Returns
        -------
        (T, h, w) float32
            Logits in the pixels of `window`; :data:`OUTSIDE_LOGIT` outside the crop. Where no model was needed, all
            passes have those of the prediction.
        """
        shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        crop = prediction.crop
        if crop is None:
            return np.broadcast_to(logit(prediction.probability[window]), (len(passes), *shape))
        with compute_threads(1):
            logits = decode_passes(
                self.model,
                self.embedding(axis, index, crop),
                lambda: self.crop_image(axis, index, crop),
                _with_extent(prediction, crop, self.prompt_in_crop(axis, index, prediction, crop)),
                passes,
            )
            row, column = crop.centre_rc
            in_window = replace(crop, centre_rc=(row - window[0].start, column - window[1].start))
            pasted = paste(logits, in_window, shape, np.nan)
        weight = np.array([one.deterministic_weight() for one in passes], dtype=np.float32)[:, None, None]
        pasted += (1 - weight) * np.float32(prediction.logit_shift)
        if weight.any():
            deterministic = np.clip(logit(prediction.probability[window]), -SUREST_LOGIT, SUREST_LOGIT)
            pasted += weight * deterministic
        return np.where(np.isnan(pasted), np.float32(OUTSIDE_LOGIT), pasted)

    def image(self, axis: int, index: int) -> NDArray[np.float32]:
        """(H, W) normalised intensities of one slice. The last few are kept: neighbouring slices follow each other."""
        if (axis, index) not in self._images:
            self._images[axis, index] = self.normalisation.apply(slice_across(self.volume.array, axis, index))
            if len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return self._images[axis, index]

    def crop_image(self, axis: int, index: int, crop: Crop) -> NDArray[np.float32]:
        """(size, size) normalised intensities of one crop, as the model gets them."""
        return extract(self.image(axis, index), crop)

    def _crops(self, axis: int, prompt: SlicePrompt, previous: SlicePrediction | None) -> tuple[Crop, ...]:
        shape, pixel_mm = self.slice_shape(axis), self.slice_spacing_mm(axis)
        if previous is None:
            return self.model.crops(prompt, shape, pixel_mm)
        if previous.crop is not None and (prompt.points is None or holds(previous.crop, prompt.points)):
            return (previous.crop,)
        return self.model.crops(replace(prompt, box=None, mask=previous.probability), shape, pixel_mm)

    def embedding(self, axis: int, index: int, crop: Crop) -> Any:
        """Embedding of one crop, from the cache where it is kept."""
        key = EmbeddingKey(
            study_sha256=self.study_sha256,
            normalisation=self.normalisation.key(),
            axis=axis,
            index=index,
            crop=crop,
            weights_sha256=self.model.weights_sha256,
            engine=self.model.engine,
        )
        return self._cache.get_or_encode(
            key,
            lambda: self.model.encode(self.crop_image(axis, index, crop)[None]),
            on_disk=self.model.encodes_slowly,
        )

    def encode_outward(
        self, axis: int, index: int, prompt: SlicePrompt, *, reach: int, progress: Progress | None = None
    ) -> None:
        """Compute the embeddings that slices around a prompted one will need, the nearest first.

        Only for a model that encodes slowly, whose crops do not depend on the prompt's place; others need nothing.

        Parameters
        ----------
        axis, index : int
            The prompted slice.
        prompt : SlicePrompt
            The prompt on it.
        reach : int
            How many slices to either side.
        progress : Progress, optional
            Told the slices; may cancel, between two of them.

        Raises
        ------
        OperationCancelledError
            If cancellation was requested; what was computed is kept.
        """
        if not self.model.encodes_slowly:
            return
        (crop,) = self.model.crops(prompt, self.slice_shape(axis), self.slice_spacing_mm(axis))
        around = [index + side * step for step in range(reach + 1) for side in ((1, -1) if step else (1,))]
        inside = [one for one in around if 0 <= one < self.volume.spatial_shape[axis]]
        with compute_threads(1):  # as where a slice is asked for
            for one in track(inside, "encoding slices ahead", progress):
                self.embedding(axis, one, crop)

    def _prompt_in_crop(
        self, axis: int, index: int, prompt: SlicePrompt, crop: Crop, memory: Sequence[PredictedSlice]
    ) -> SlicePrompt:
        if not memory:
            return prompt_to_crop(prompt, crop)
        if self._slice_memory is None:
            raise PromptError(f"The model '{self.model.name}' has no memory: it predicts every slice alone.")
        others = [float(mm) for other, mm in enumerate(self._spacing_mm) if other != axis]
        step_px = float(self._spacing_mm[axis]) / others[0]
        remembered = self._slice_memory.remembered(axis, index, crop, step_px, memory)
        return prompt_to_crop(replace(prompt, memory=remembered), crop)

    def _require(self, axis: int, index: int, prompt: SlicePrompt) -> None:
        count = self.volume.spatial_shape[axis]
        if not 0 <= index < count:
            raise PromptError(f"Expected a slice index from 0 to {count - 1} across axis {axis}, got {index}.")
        if prompt.is_empty():
            raise PromptError("Expected a box, a click, a scribble or a mask on the slice, got none.")


def _with_extent(prediction: SlicePrediction, crop: Crop, prompt: SlicePrompt) -> PromptInCrop:
    """The prompt in model pixels, and where its structure lies: by the predicted mask, else by the box."""
    mask = prediction.mask()
    box = prediction.prompt.box
    low, high = np.array(crop.centre_rc), np.array(crop.centre_rc)
    if mask.any():
        found = box_around(mask).reshape(2, 2)
        low, high = found[0] - 0.5, found[1] + 0.5
    elif box is not None:
        low, high = np.reshape(box, (2, 2)).min(0), np.reshape(box, (2, 2)).max(0)
    return PromptInCrop(
        prompt,
        prediction.previous_logits,
        crop.size,
        slice_to_crop((low + high) / 2, crop),
        (high - low) / np.asarray(crop.side_rc) * crop.size,
    )


def holds(crop: Crop, points: NDArray[np.float64]) -> bool:
    """Whether all points lie in the crop and not in its outermost twentieth."""
    offset = np.abs(np.asarray(points) - np.asarray(crop.centre_rc)) / np.asarray(crop.side_rc)
    return bool((offset <= 0.45).all())
