"""Which pieces of an image an answer rests on: KernelSHAP over SLIC supervoxels.

A pixel by itself says nothing; a piece of tissue does. The image is cut into supervoxels that follow its edges, pieces
are replaced by a baseline in many combinations, and each piece is given the part of the answer's change that is due to
it. Unlike a gradient this asks the model itself, and it holds for any model; its price is one forward pass for each
combination.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import SaliencyError

__all__ = ["ShapValues", "kernel_shap", "supervoxels"]

_COMPACTNESS = (0.1, 1.0, 10.0)
"""Weight of place against intensity, for intensities in [0, 1]: the first follows edges; noise falls into crumbs that
are then joined to one, which the later ones hold together."""
_ENOUGH = 1 / 3
"""Share of the pieces wanted that must come out."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapValues:
    """What each piece contributes. In the units of the answer."""

    by_piece: NDArray[np.float64]
    """(S,) for labels 0 to S − 1; their sum is the answer less the baseline's answer."""
    answer: float
    """For the image as it is."""
    baseline_answer: float
    """For the image with every piece replaced."""
    pieces: NDArray[np.intp]
    """Label of each pixel or voxel."""

    @property
    def per_pixel(self) -> NDArray[np.float32]:
        """The contributions spread evenly over the pixels of their pieces."""
        size = np.bincount(self.pieces.ravel(), minlength=len(self.by_piece))
        return (self.by_piece / size)[self.pieces].astype(np.float32)


def supervoxels(image: ArrayLike, count: int, *, spacing_mm: Sequence[float] | None = None) -> NDArray[np.intp]:
    """Cut an image into about `count` connected pieces that follow its edges (SLIC [1]_).

    Parameters
    ----------
    image : (H, W) or (K, H, W) float
        In [0, 1].
    count
        Pieces wanted, at least 2.
    spacing_mm
        Distance between pixel centres along each axis; equal by default.

    Returns
    -------
    labels, 0 to S − 1, of the image's shape

    Raises
    ------
    SaliencyError
        If the image is not 2D or 3D and finite, or comes out as one piece.

    References
    ----------
    .. [1] Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, IEEE TPAMI 2012,
       doi:10.1109/TPAMI.2012.120.
    """
    from skimage.segmentation import slic

    values = np.asarray(image, dtype=np.float32)
    if values.ndim not in (2, 3) or not np.isfinite(values).all() or count < 2:
        raise SaliencyError(
            f"Expected a finite image (H, W) or (K, H, W) and at least 2 pieces, got shape {values.shape} and {count}."
        )
    for compactness in _COMPACTNESS:
        found = slic(
            values, n_segments=count, compactness=compactness, channel_axis=None, spacing=spacing_mm, start_label=0
        )
        _, labels = np.unique(found, return_inverse=True)
        labels = labels.reshape(values.shape)
        if labels.max() + 1 >= _ENOUGH * count:
            break
    if labels.max() < 1:
        raise SaliencyError(f"Expected about {count} pieces, the image of shape {values.shape} came out as one.")
    return labels.astype(np.intp)


def kernel_shap(
    answer: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    image: ArrayLike,
    pieces: ArrayLike,
    *,
    samples: int,
    seed: int,
    baseline: float | ArrayLike | None = None,
    batch: int = 16,
) -> ShapValues:
    """Shapley values of the pieces, estimated by KernelSHAP [1]_ through Captum.

    Parameters
    ----------
    answer
        Maps images (n, ...) float32 to n numbers, for instance the logits summed inside a frozen mask.
    image : (...) float
    pieces : (...) int
        Labels 0 to S − 1, all present.
    samples
        Combinations of pieces that are asked, more than S.
    seed
        Draws the combinations.
    baseline
        What replaces a piece: a number or an image; by default the image's mean.
    batch
        Images asked at once.

    Raises
    ------
    SaliencyError
        If the labels do not fit, the samples do not suffice, or the answer is not one finite number for each image.

    References
    ----------
    .. [1] Lundberg, Lee, A unified approach to interpreting model predictions, NeurIPS 2017, arXiv 1705.07874.
    """
    import torch
    from captum.attr import KernelShap

    values, labels = np.asarray(image, dtype=np.float32), np.asarray(pieces)
    count = int(labels.max()) + 1 if labels.size else 0
    if labels.shape != values.shape or labels.dtype.kind not in "iu" or len(np.unique(labels)) != count or count < 2:
        raise SaliencyError(
            f"Expected a label 0 to S − 1, S >= 2, for every pixel of {values.shape}, got shape {labels.shape} with "
            f"{len(np.unique(labels))} labels up to {count - 1}."
        )
    if samples <= count:
        raise SaliencyError(f"Expected more samples than the {count} pieces, got {samples}.")
    fill = np.broadcast_to(values.mean() if baseline is None else np.asarray(baseline, dtype=np.float32), values.shape)

    def asked(rows: torch.Tensor) -> torch.Tensor:
        numbers = np.asarray(answer(rows.detach().numpy()), dtype=np.float64)
        if numbers.shape != (len(rows),) or not np.isfinite(numbers).all():
            raise SaliencyError(f"Expected {len(rows)} finite numbers for as many images, got shape {numbers.shape}.")
        return torch.from_numpy(numbers)

    inputs, without = torch.from_numpy(values[None].copy()), torch.from_numpy(fill[None].astype(np.float32))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found = KernelShap(asked).attribute(
            inputs,
            baselines=without,
            feature_mask=torch.from_numpy(labels[None].astype(np.int64)),
            n_samples=samples,
            perturbations_per_eval=batch,
            return_input_shape=False,
        )
        ends = asked(torch.cat([inputs, without])).numpy()
    return ShapValues(
        by_piece=found[0].numpy().astype(np.float64),
        answer=float(ends[0]),
        baseline_answer=float(ends[1]),
        pieces=labels.astype(np.intp),
    )
