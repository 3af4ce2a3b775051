"""Faithfulness of a saliency map to the network, with the chance level beside each metric.

Infidelity measures whether removing what the map marks as important changes the output; the overlap measures how much
of the saliency lies on the structure. :mod:`xai.weight_randomisation` checks that the map depends on the weights at
all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import SaliencyError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Infidelity",
    "StructureOverlap",
    "measure_infidelity",
    "overlap_with_structure",
]


@dataclass(frozen=True, slots=True, eq=False)
class Infidelity:
    """Infidelity of a map and of two maps without information. Units: (summed logits)²; smaller is better."""

    value: NDArray[np.float64]
    """(B,) infidelity of the map."""
    uniform: NDArray[np.float64]
    """(B,) chance level: infidelity of a constant map under the same perturbations."""
    zero: NDArray[np.float64]
    """(B,) infidelity of a map of zeros: the mean squared change of the output."""

    @property
    def relative(self) -> NDArray[np.float64]:
        """(B,) in [0, 1]: share of the output's change that the map does not explain. NaN where nothing changed."""
        return self._share(self.value)

    @property
    def relative_of_chance(self) -> NDArray[np.float64]:
        """(B,) the same share for the constant map."""
        return self._share(self.uniform)

    def _share(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        changed = self.zero > 0
        return np.where(changed, np.clip(value / np.where(changed, self.zero, 1.0), 0.0, 1.0), np.nan)


@dataclass(frozen=True, slots=True)
class StructureOverlap:
    """Share of the saliency that lies on a structure, and the chance level."""

    top_inside: float
    """Share of the most salient voxels that lie inside (ties are resolved at random)."""
    top_share: float
    """Share of the region that counts as most salient."""
    energy_inside: float
    """Share of the positive saliency that lies inside (energy-based pointing game)."""
    chance: float
    """Share of the region that the structure fills: the value of both metrics for a constant map."""


def measure_infidelity(
    network_forward: Callable[[torch.Tensor], torch.Tensor],
    inputs: Any,
    saliency: ArrayLike,
    frozen_mask: ArrayLike,
    *,
    seed: int,
    perturbations: int = 32,
    batch: int = 8,
) -> Infidelity:
    """Infidelity [1]_ under square removal, with Captum's scale-free normalisation.

    A perturbation replaces one square in all channels by the channel's mean over the item. The square's side is uniform
    between an eighth and a third of the shorter side, and its position is uniform. The saliency inside the square is
    compared with the decrease of the logits summed inside the frozen mask. The saliency is first scaled by the best
    single factor, because Grad-CAM has no units.

    Parameters
    ----------
    network_forward : callable
        Maps (n, C, H, W) to logits (n, H', W') for any n; rows belong to the items of `inputs` in their order, each
        repeated.
    inputs : (B, C, H, W) float array or tensor
        An image, or a cached embedding with saliency on its grid.
    saliency : (B, H, W) float
        The map to test.
    frozen_mask : (B, H', W') bool
        Pixels over which the logits are summed.
    seed : int
        Seed of the squares.
    perturbations : int
        Number of squares per item.
    batch : int
        Rows per forward pass; raised to B where smaller.

    Raises
    ------
    SaliencyError
        If shapes do not fit, or there are fewer than two perturbations.

    References
    ----------
    .. [1] Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv 1901.09392.
    """
    import torch
    from captum.metrics import infidelity

    tensor = torch.as_tensor(inputs).detach().clone().float()
    claims = torch.as_tensor(np.asarray(saliency, dtype=np.float32)).to(tensor.device)
    mask = torch.as_tensor(np.asarray(frozen_mask, dtype=np.float32)).to(tensor.device)
    if tensor.ndim != 4 or claims.shape != (tensor.shape[0], *tensor.shape[2:]) or len(mask) != len(tensor):
        raise SaliencyError(
            f"Expected inputs (B, C, H, W), saliency (B, H, W) and mask (B, H', W'), got {tuple(tensor.shape)}, "
            f"{tuple(claims.shape)} and {tuple(mask.shape)}."
        )
    if perturbations < 2:
        raise SaliencyError(f"Expected at least 2 perturbations, got {perturbations}.")
    items, channels = tensor.shape[:2]
    outputs: list[torch.Tensor] = []

    def score(attribution: torch.Tensor) -> NDArray[np.float64]:
        generator = np.random.default_rng(seed)  # anew for each map: the squares are the same
        calls = 0

        def output(rows: torch.Tensor, row_mask: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls > len(outputs):  # the two other maps reuse the outputs computed for the first one
                logits = network_forward(rows)
                if logits.shape != row_mask.shape:
                    raise SaliencyError(f"Expected logits {tuple(row_mask.shape)}, got {tuple(logits.shape)}.")
                outputs.append((logits * row_mask).flatten(1).sum(1).double())
            return outputs[calls - 1]

        def remove_squares(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            removed = torch.from_numpy(_squares(len(rows), tuple(rows.shape[2:]), generator)).to(rows)[:, None]
            return removed.expand_as(rows), torch.where(removed > 0, rows.mean((2, 3), keepdim=True), rows)

        spread = (attribution / channels)[:, None].expand_as(tensor).contiguous()
        values = infidelity(
            output,
            remove_squares,
            tensor,
            spread,
            additional_forward_args=(mask,),
            n_perturb_samples=perturbations,
            max_examples_per_batch=min(max(batch, items), items * perturbations),
            normalize=True,
        )
        return np.maximum(values.double().cpu().numpy(), 0.0)

    return Infidelity(value=score(claims), uniform=score(torch.ones_like(claims)), zero=score(torch.zeros_like(claims)))


def overlap_with_structure(
    saliency: ArrayLike, mask: ArrayLike, *, region: ArrayLike | None = None, top_share: float | None = None
) -> StructureOverlap:
    """Share of a saliency map that lies inside a structure, and the chance level.

    Parameters
    ----------
    saliency : (...) float
        Negative values count as 0.
    mask : (...) bool
        The structure.
    region : (...) bool, optional
        Voxels inside the model's crops; all by default. Other voxels would lower the chance level and make the map look
        better than it is.
    top_share : float, optional
        Share of the region that counts as most salient; by default the share that the structure fills, so that 1 can be
        reached.

    Raises
    ------
    SaliencyError
        If shapes differ, the mask is empty inside the region, no saliency is positive there, or the share is out of
        (0, 1].

    References
    ----------
    .. [1] Wang et al., Score-CAM (energy-based pointing game), CVPR Workshops 2020, arXiv 1910.01279.
    """
    values, inside = np.maximum(np.asarray(saliency, dtype=np.float64), 0.0), np.asarray(mask, dtype=bool)
    where = np.ones(inside.shape, dtype=bool) if region is None else np.asarray(region, dtype=bool)
    if not values.shape == inside.shape == where.shape:
        raise SaliencyError(f"Expected arrays of one shape, got {values.shape}, {inside.shape} and {where.shape}.")
    values, inside = values[where], inside[where]
    if not inside.any() or not values.sum() > 0:
        raise SaliencyError("Expected a structure and positive saliency inside the region; one of them is missing.")
    chance = float(inside.mean())
    share = chance if top_share is None else top_share
    if not 0.0 < share <= 1.0:
        raise SaliencyError(f"Expected top_share in (0, 1], got {share}.")
    count = max(round(share * values.size), 1)
    threshold = np.partition(values, values.size - count)[values.size - count]
    above, tied = values > threshold, values == threshold
    share_of_ties = (count - above.sum()) / tied.sum()
    return StructureOverlap(
        top_inside=float((inside[above].sum() + share_of_ties * inside[tied].sum()) / count),
        top_share=count / values.size,
        energy_inside=float(values[inside].sum() / values.sum()),
        chance=chance,
    )


def _squares(count: int, sides: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
    """(count, H, W) masks with one square each."""
    height, width = sides
    shorter = min(height, width)
    masks = np.zeros((count, height, width), dtype=np.float32)
    for mask in masks:
        side = int(generator.integers(max(shorter // 8, 1), max(shorter // 3, 1) + 1))
        row, column = generator.integers(height - side + 1), generator.integers(width - side + 1)
        mask[row : row + side, column : column + side] = 1.0
    return masks
