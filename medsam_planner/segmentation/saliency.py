"""The Grad-CAM volume of a mask, and its faithfulness.

Each slice of the mask is explained on its own crop, with its own prompt, for the logits summed inside the frozen mask.
Faithfulness is measured on the slice with the largest cross-section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, SaliencyGraph
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.engine.threads import compute_threads
from medsam_planner.engine.zoom import extract, paste
from medsam_planner.errors import SaliencyError, StudyError
from medsam_planner.geometry import slice_across, zeros_by_slice
from medsam_planner.io.body import body_mask
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.structure import PropagatedStructure
from xai.faithfulness import measure_infidelity, overlap_with_structure
from xai.saliency import grad_cam, grad_cam_on_embedding, normalise_saliency
from xai.weight_randomisation import run_weight_randomisation

__all__ = ["ExplainedSlice", "cam_of", "explain", "explained_slices", "graph_of"]

_PERTURBATIONS = 32


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedSlice:
    """One slice of the mask in the pixels of the crop on which it was predicted."""

    index: int
    prediction: SlicePrediction
    crop: Crop
    frozen: NDArray[np.bool_]
    """(size, size) the mask."""


def explain(
    segmenter: SliceSegmenter,
    propagated: PropagatedStructure,
    mask: NDArray[np.bool_],
    *,
    seed: int,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Saliency of a mask across its main axis.

    Parameters
    ----------
    segmenter : SliceSegmenter
        The study under the model.
    propagated : PropagatedStructure
        The propagation that led to the mask.
    mask : (K, J, I) bool
        The structure; not empty.
    seed : int
        Seed of the perturbations and of the weight randomisation.
    progress : Progress, optional
        Told the slices; may cancel.

    Returns
    -------
    (K, J, I) float32
        Scaled to [0, 1] over the whole volume; 0 outside the model's crops and outside the body.
    dict
        ``overlap`` (with its chance level), ``infidelity`` beside ``infidelity_of_chance`` (shares in [0, 1], smaller
        is better; None where the output never changed), ``randomisation_rank_correlation`` (near 0 when the map depends
        on the weights; absent where a map is the same everywhere).

    Raises
    ------
    SaliencyError
        If no slice of the mask has evidence.
    """
    axis = propagated.axis
    slices = explained_slices(propagated, mask)
    saliency, region = zeros_by_slice(mask.shape, axis, np.float32), zeros_by_slice(mask.shape, axis, bool)
    shape, side = segmenter.slice_shape(axis), segmenter.model.size
    with compute_threads(1):
        for part in track(slices, "Grad-CAM", progress):
            cam = cam_of(graph_of(segmenter, axis, part), part.frozen, (side, side))[0]
            slice_across(saliency, axis, part.index)[...] = paste(cam, part.crop, shape, 0.0)
            in_crop = paste(np.ones_like(cam), part.crop, shape, 0.0)
            slice_across(region, axis, part.index)[...] = in_crop > 0.5
        region &= _body(segmenter.volume) | mask
        saliency[~region] = 0.0  # the map is coarse, and reaches into the air when it is upsampled
        # The other slices are zero and left out, because copies of whole volumes take much memory.
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        saliency_part, region_part, mask_part = (
            np.moveaxis(one, axis, 0)[filled[0] : filled[-1] + 1] for one in (saliency, region, mask)
        )
        if not (saliency_part > 0).any():
            raise SaliencyError("Grad-CAM found no positive evidence on any slice of the mask: the map would be blank.")
        metrics = _faithfulness(segmenter, axis, max(slices, key=lambda part: int(part.frozen.sum())), seed)
    in_crop_or_mask = region_part | mask_part
    overlap = overlap_with_structure(saliency_part[in_crop_or_mask], mask_part[in_crop_or_mask])
    metrics["overlap"] = {
        "energy_inside": overlap.energy_inside,
        "top_inside": overlap.top_inside,
        "top_share": overlap.top_share,
        "chance": overlap.chance,
    }
    saliency_part[...] = normalise_saliency(saliency_part)
    return saliency, metrics


def _body(study: highdicom.Volume) -> NDArray[np.bool_]:
    """(K, J, I) the body; all voxels where body and air cannot be told apart, as in a study of one value."""
    try:
        return np.asarray(body_mask(study).array, dtype=bool)
    except StudyError:
        return np.ones(study.spatial_shape, dtype=bool)


def explained_slices(propagated: PropagatedStructure, mask: NDArray[np.bool_]) -> list[ExplainedSlice]:
    """The slices of a mask that were predicted across its main axis, each in the pixels of its crop."""
    across = np.moveaxis(mask, propagated.axis, 0)
    found = []
    for index, prediction in sorted(propagated.by_axis[propagated.axis].predictions.items()):
        if prediction.crop is None or not across[index].any():
            continue
        frozen = extract(across[index].astype(np.float32), prediction.crop) > 0.5
        if frozen.any():
            found.append(ExplainedSlice(index, prediction, prediction.crop, frozen))
    if not found:
        raise SaliencyError("Expected a slice of the mask inside the crop on which it was predicted, got none.")
    return found


def graph_of(
    segmenter: SliceSegmenter, axis: int, part: ExplainedSlice, *, weights: Any | None = None
) -> SaliencyGraph:
    """The graph from the model's input on a slice to the logits; `weights` replaces the explained part."""
    return segmenter.model.saliency_graph(
        segmenter.crop_image(axis, part.index, part.crop),
        segmenter.embedding(axis, part.index, part.crop),
        segmenter.prompt_in_crop(axis, part.index, part.prediction, part.crop),
        previous_logits=part.prediction.previous_logits,
        part=weights,
    )


def cam_of(graph: SaliencyGraph, frozen: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """(1, *size) Grad-CAM."""
    if graph.layer is None:
        return grad_cam_on_embedding(graph.forward, graph.inputs, frozen[None], size=size)
    return grad_cam(graph.forward, graph.layer, graph.inputs, frozen[None], size=size)


def _faithfulness(segmenter: SliceSegmenter, axis: int, part: ExplainedSlice, seed: int) -> dict[str, Any]:
    graph = graph_of(segmenter, axis, part)
    side = segmenter.model.size
    on_inputs = cam_of(graph, part.frozen, (int(graph.inputs.shape[-2]), int(graph.inputs.shape[-1])))
    infidelity = measure_infidelity(
        graph.forward, graph.inputs, on_inputs, part.frozen[None], seed=seed, perturbations=_PERTURBATIONS
    )
    randomised = run_weight_randomisation(
        segmenter.model.explained_part,
        lambda weights: cam_of(graph_of(segmenter, axis, part, weights=weights), part.frozen, (side, side)),
        seed=seed,
    )
    shares = {"infidelity": infidelity.relative[0], "infidelity_of_chance": infidelity.relative_of_chance[0]}
    compared = {
        "randomisation_rank_correlation": randomised.rank_correlation[-1],
        "randomisation_ssim": randomised.ssim[-1],
    }
    return {
        "slice_index": part.index,
        **{name: float(value) if np.isfinite(value) else None for name, value in shares.items()},
        **{name: float(value) for name, value in compared.items() if np.isfinite(value)},
    }
