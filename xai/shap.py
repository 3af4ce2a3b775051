"""Contributions of image regions to a model's output: KernelSHAP over SLIC supervoxels.

The image is cut into supervoxels that follow its edges. They are replaced by a baseline in many combinations, and each
supervoxel gets the part of the output's change that it causes. Unlike a gradient, the method evaluates the model itself
and works with every model; it costs one forward pass per combination.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import SaliencyError

__all__ = ["ShapValues", "kernel_shap", "supervoxels"]

_COMPACTNESS = (0.1, 1.0, 10.0)
"""Compactness of SLIC (weight of position relative to intensity) for intensities in [0, 1], tried in this order. Small
values follow edges; in noise they give too few regions, and a larger value is tried."""
_ENOUGH = 1 / 3
"""Smallest accepted ratio of the number of regions to the requested number."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapValues:
    """Contribution of each region, in the units of the output."""

    by_piece: NDArray[np.float64]
    """(S,) for labels 0 to S − 1; their sum is the output minus the baseline's output."""
    output: float
    """For the unchanged image."""
    baseline_output: float
    """For the image with every region replaced."""
    pieces: NDArray[np.intp]
    """Label of each pixel or voxel."""

    @property
    def per_pixel(self) -> NDArray[np.float32]:
        """The contributions, divided evenly among the pixels of their regions."""
        size = np.bincount(self.pieces.ravel(), minlength=len(self.by_piece))
        return (self.by_piece / size)[self.pieces].astype(np.float32)


def supervoxels(image: ArrayLike, count: int, *, spacing_mm: Sequence[float] | None = None) -> NDArray[np.intp]:
    """Cut an image into about `count` connected regions that follow its edges (SLIC [1]_).

    Parameters
    ----------
    image : (H, W) or (K, H, W) float
        In [0, 1].
    count : int
        Requested number of regions, at least 2.
    spacing_mm : sequence of float, optional
        Distance between pixel centres along each axis; equal by default.

    Returns
    -------
    int ndarray
        Labels 0 to S − 1, of the image's shape.

    Raises
    ------
    SaliencyError
        If the image is not 2D or 3D and finite, or only one region is found.

    References
    ----------
    .. [1] Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, IEEE TPAMI 2012,
       doi:10.1109/TPAMI.2012.120.
    """
    from skimage.segmentation import slic

    values = np.asarray(image, dtype=np.float32)
    if values.ndim not in (2, 3) or not np.isfinite(values).all() or count < 2:
        raise SaliencyError(
            f"Expected a finite image (H, W) or (K, H, W) and at least 2 regions, got shape {values.shape} and {count}."
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
        raise SaliencyError(f"Expected about {count} regions, got one for the image of shape {values.shape}.")
    return labels.astype(np.intp)


def kernel_shap(
    output: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    image: ArrayLike,
    pieces: ArrayLike,
    *,
    samples: int,
    seed: int,
    baseline: float | ArrayLike | None = None,
    batch: int = 16,
) -> ShapValues:
    """Shapley values of image regions, estimated by KernelSHAP [1]_ with Captum.

    Parameters
    ----------
    output : callable
        Maps images (n, ...) float32 to n numbers, for example the logits summed inside a frozen mask.
    image : (...) float
        The image to explain.
    pieces : (...) int
        Region of each pixel: labels 0 to S − 1, all present.
    samples : int
        Number of combinations of regions to evaluate, more than S.
    seed : int
        Seed of the combinations.
    baseline : float or (...) float, optional
        Replacement of a region: a number or an image; by default the image's mean.
    batch : int
        Images per call of `output`.

    Raises
    ------
    SaliencyError
        If the labels do not fit, there are too few samples, or `output` does not return one finite number per image.

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
        raise SaliencyError(f"Expected more samples than the {count} regions, got {samples}.")
    fill = np.broadcast_to(values.mean() if baseline is None else np.asarray(baseline, dtype=np.float32), values.shape)

    def evaluated(rows: torch.Tensor) -> torch.Tensor:
        numbers = np.asarray(output(rows.detach().numpy()), dtype=np.float64)
        if numbers.shape != (len(rows),) or not np.isfinite(numbers).all():
            raise SaliencyError(f"Expected {len(rows)} finite numbers for as many images, got shape {numbers.shape}.")
        return torch.from_numpy(numbers)

    inputs, without = torch.from_numpy(values[None].copy()), torch.from_numpy(fill[None].astype(np.float32))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found = KernelShap(evaluated).attribute(
            inputs,
            baselines=without,
            feature_mask=torch.from_numpy(labels[None].astype(np.int64)),
            n_samples=samples,
            perturbations_per_eval=batch,
            return_input_shape=False,
        )
        ends = evaluated(torch.cat([inputs, without])).numpy()
    return ShapValues(
        by_piece=found[0].numpy().astype(np.float64),
        output=float(ends[0]),
        baseline_output=float(ends[1]),
        pieces=labels.astype(np.intp),
    )
