"""Sanity check of a saliency method: its maps must change when the weights of the network are randomised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import SaliencyError

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = ["WeightRandomisation", "randomise_weights", "run_weight_randomisation"]


@dataclass(frozen=True, slots=True)
class WeightRandomisation:
    """Similarity of maps before and after weights are randomised, beginning with the last layers."""

    randomised_share: tuple[float, ...]
    """Share of the parameter tensors that were randomised at each stage; the last is 1."""
    rank_correlation: tuple[float, ...]
    """Spearman's correlation at each stage; 0 where a map is constant."""
    ssim: tuple[float, ...]
    """Structural similarity of the maps, each scaled to its own largest magnitude."""


def randomise_weights(network: Module, *, seed: int, share: float = 1.0) -> Module:
    """Copy a network and shuffle the entries of its parameters, beginning with the last registered ones.

    Shuffling within each tensor removes what was learnt and keeps the scale of the weights, so that activations neither
    saturate nor vanish. Buffers (batch-norm statistics) are kept.

    Parameters
    ----------
    network : torch.nn.Module
        Not changed.
    seed : int
        Seed of the permutations; a tensor gets the same permutation for every share.
    share : float
        Share of the parameter tensors to shuffle, counted from the last, in (0, 1].

    Raises
    ------
    SaliencyError
        If the share is out of range.
    """
    from copy import deepcopy

    import torch

    if not 0.0 < share <= 1.0:
        raise SaliencyError(f"Expected a share in (0, 1], got {share}.")
    copy = deepcopy(network)
    parameters = list(copy.parameters())[::-1]
    with torch.no_grad():
        for number, parameter in enumerate(parameters[: int(np.ceil(share * len(parameters)))]):
            order = np.random.default_rng((seed, number)).permutation(parameter.numel())
            shuffled = parameter.flatten()[torch.from_numpy(order).to(parameter.device)]
            parameter.copy_(shuffled.view_as(parameter))
    return copy


def run_weight_randomisation(
    network: Module, explain: Callable[[Module], ArrayLike], *, seed: int, stages: int = 1
) -> WeightRandomisation:
    """Sanity check [1]_: a map that does not change with the weights shows the image and not the network.

    Parameters
    ----------
    network : torch.nn.Module
        Not changed; each stage randomises a copy (:func:`randomise_weights`).
    explain : callable
        Maps a network to a saliency map (..., H, W). It must use its argument, and the frozen mask of the original
        network.
    seed : int
        Seed of the permutations.
    stages : int
        1 randomises all tensors at once; more randomise them step by step, beginning with the last.

    Raises
    ------
    SaliencyError
        If `stages` is below 1, or the original map is constant.

    References
    ----------
    .. [1] Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv 1810.03292.
    """
    if stages < 1:
        raise SaliencyError(f"Expected at least one stage, got {stages}.")
    original = np.asarray(explain(network), dtype=np.float64)
    if original.ndim < 2 or np.ptp(original) == 0:
        raise SaliencyError(
            f"Expected a map (..., H, W) that varies, got shape {original.shape}, constant or too flat."
        )
    shares = tuple((stage + 1) / stages for stage in range(stages))
    maps = [np.asarray(explain(randomise_weights(network, seed=seed, share=share)), dtype=float) for share in shares]
    return WeightRandomisation(
        randomised_share=shares,
        rank_correlation=tuple(_rank_correlation(original, other) for other in maps),
        ssim=tuple(_ssim(original, other) for other in maps),
    )


def _rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second, axis=None).statistic)


def _ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean over the slices, in windows of 7 × 7 (fewer on tiny maps)."""
    from skimage.metrics import structural_similarity

    scaled = [m / np.abs(m).max() if np.abs(m).max() > 0 else m for m in (first, second)]
    height, width = first.shape[-2:]
    window = min(7, height, width)
    window -= 1 - window % 2
    span = 2.0 if min(m.min() for m in scaled) < 0 else 1.0
    slices = zip(*(m.reshape(-1, height, width) for m in scaled), strict=True)
    return float(np.mean([structural_similarity(a, b, win_size=window, data_range=span) for a, b in slices]))
