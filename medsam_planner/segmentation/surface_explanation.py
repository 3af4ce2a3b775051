"""Explanation of one piece of a structure's surface, for example where it limits a plan.

The explained output is the sum of the logits over a band of the surface around one place, on the slice on which it was
predicted; larger logits move the surface outward there. Grad-CAM shows where the evidence lies, KernelSHAP which image
regions move the surface outward or inward. Both maps are tested in the same way: squares of the image are removed, and
the change of the output is compared with the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.engine.protocol import Crop
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.threads import compute_threads
from medsam_planner.engine.zoom import crop_to_slice
from medsam_planner.errors import SaliencyError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.segmentation.saliency import ExplainedSlice, cam_of, explained_slices, graph_of
from xai.faithfulness import Infidelity, measure_infidelity
from xai.saliency import normalise_saliency
from xai.shap import kernel_shap, supervoxels
from xai.surface import surface_voxels

if TYPE_CHECKING:
    import torch

__all__ = ["WhyHere", "explain_here", "nearest_surface_lps_mm"]

PATCH_RADIUS_MM = 8.0
"""Radius of the explained piece of the surface."""
_BAND_MM = 2.0
_PIECES = 48
_SAMPLES = 256
_PERTURBATIONS = 24


@dataclass(frozen=True, slots=True, eq=False)
class WhyHere:
    """Explanation of the surface at one place, in the pixels of the model's crop."""

    structure: str
    place_lps_mm: tuple[float, float, float]
    """The surface point nearest to the requested position."""
    axis: int
    """Array axis across which the slice lies."""
    slice_index: int
    crop: Crop
    image: NDArray[np.float32]
    """(size, size) the model's input, in [0, 1]."""
    mask: NDArray[np.bool_]
    """(size, size) the predicted mask."""
    patch: NDArray[np.bool_]
    """(size, size) the explained piece of the surface."""
    grad_cam: NDArray[np.float32]
    """(size, size) in [0, 1]."""
    shap: NDArray[np.float32]
    """(size, size) in [−1, 1]: positive where a region moves the surface outward, negative where it moves it inward."""
    metrics: dict[str, dict[str, float | None]]
    """For ``grad_cam`` and ``shap``: ``infidelity`` and ``infidelity_of_chance``, shares in [0, 1], smaller is better;
    None where no square changed the output."""


def nearest_surface_lps_mm(
    mask: NDArray[np.bool_], affine: ArrayLike, position_lps_mm: ArrayLike
) -> NDArray[np.float64]:
    """Centre of the outermost voxel of a mask that lies nearest to a position, LPS mm.

    Raises
    ------
    SaliencyError
        If the mask is empty.
    """
    surface = np.argwhere(surface_voxels(mask))
    if not len(surface):
        raise SaliencyError("Expected a mask with a surface to explain, got an empty one or one that fills its volume.")
    places = lps_from_index(affine, surface)
    nearest: NDArray[np.float64] = places[np.linalg.norm(places - np.asarray(position_lps_mm), axis=1).argmin()]
    return nearest


def explain_here(
    segmenter: SliceSegmenter,
    propagated: PropagatedStructure,
    mask: NDArray[np.bool_],
    position_lps_mm: ArrayLike,
    *,
    structure: str,
    seed: int,
    progress: Progress | None = None,
) -> WhyHere:
    """Explain the surface of a mask nearest to a position.

    Parameters
    ----------
    segmenter : SliceSegmenter
        The study under the model.
    propagated : PropagatedStructure
        The propagation that led to the mask.
    mask : (K, J, I) bool
        The structure.
    position_lps_mm : (3,) float
        For example the point of a trajectory with the smallest clearance.
    structure : str
        Name of the structure.
    seed : int
        Seed of KernelSHAP's combinations and of the removed squares.
    progress : Progress, optional
        Told the stages; may cancel.

    Raises
    ------
    SaliencyError
        If the mask is empty, no slice near the place was predicted by the model, or there is no evidence.
    """
    affine = segmenter.volume.affine
    place = nearest_surface_lps_mm(mask, affine, position_lps_mm)
    index = index_from_lps(affine, place)
    axis = propagated.axis
    part = min(explained_slices(propagated, mask), key=lambda one: abs(one.index - index[axis]))
    patch = _patch(part, np.delete(index, axis), np.delete(spacing_mm(affine), axis))
    image = segmenter.crop_image(axis, part.index, part.crop)
    output = _ImageOutput(segmenter, axis, part)
    side = segmenter.model.size
    pieces = supervoxels(image, _PIECES)
    with compute_threads(1):
        stages = track(("Grad-CAM", "KernelSHAP", "faithfulness"), "why here", progress)
        next(stages)
        cam = cam_of(graph_of(segmenter, axis, part), patch, (side, side))[0]
        next(stages)
        shap = kernel_shap(
            lambda images: (output.logits(images) * patch).sum(axis=(1, 2)), image, pieces, samples=_SAMPLES, seed=seed
        ).per_pixel
        next(stages)
        metrics = {
            name: _metrics(
                measure_infidelity(
                    output.forward,
                    image[None, None],
                    saliency[None],
                    patch[None],
                    seed=seed,
                    perturbations=_PERTURBATIONS,
                )
            )
            for name, saliency in (("grad_cam", cam), ("shap", shap))
        }
        next(stages, None)
    return WhyHere(
        structure=structure,
        place_lps_mm=(float(place[0]), float(place[1]), float(place[2])),
        axis=axis,
        slice_index=part.index,
        crop=part.crop,
        image=image,
        mask=part.frozen,
        patch=patch,
        grad_cam=normalise_saliency(cam),
        shap=normalise_saliency(shap),
        metrics=metrics,
    )


def _patch(part: ExplainedSlice, centre_rc: NDArray[np.float64], pixel_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A band of the surface around the place, in the pixels of the crop."""
    size = part.crop.size
    rows, columns = np.indices((size, size))
    on_slice = crop_to_slice(np.stack([rows, columns], axis=-1), part.crop)
    distance = np.linalg.norm((on_slice - centre_rc) * pixel_mm, axis=-1)
    step_mm = np.asarray(part.crop.side_rc) / size * pixel_mm
    outward = ndimage.distance_transform_edt(~part.frozen, sampling=step_mm)
    inward = ndimage.distance_transform_edt(part.frozen, sampling=step_mm)
    band = (outward <= _BAND_MM) & (inward <= _BAND_MM)
    # The predicted slice may not be the slice of the place; then its nearest surface is explained.
    patch: NDArray[np.bool_] = band & (distance <= max(PATCH_RADIUS_MM, float(distance[band].min()) + _BAND_MM))
    return patch


class _ImageOutput:
    """The logits of one slice as a function of its image, with a constant prompt, for every model of the engine."""

    def __init__(self, segmenter: SliceSegmenter, axis: int, part: ExplainedSlice) -> None:
        self.model = segmenter.model
        self.prompt = segmenter.prompt_in_crop(axis, part.index, part.prediction, part.crop)
        self.previous = part.prediction.previous_logits

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, size, size) → (n, size, size)."""
        return np.stack(
            [
                self.model.decode(self.model.encode(image[None]), self.prompt, previous_logits=self.previous).logits[0]
                for image in images
            ]
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The same on tensors (n, 1, size, size)."""
        import torch

        return torch.from_numpy(self.logits(rows[:, 0].detach().numpy()))


def _metrics(measured: Infidelity) -> dict[str, float | None]:
    shares = {"infidelity": measured.relative[0], "infidelity_of_chance": measured.relative_of_chance[0]}
    return {name: None if np.isnan(share) else float(share) for name, share in shares.items()}
