"""Whether a saliency map tells the truth about the network: each figure beside what chance would give.

Infidelity asks whether removing what the map calls important changes the answer, the overlap whether the evidence lies
on the structure. That the map depends on the weights at all is checked in :mod:`xai.weight_randomisation`.
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
    """Infidelity of a map, beside two maps that know nothing. Units: (summed logits)²; smaller is better."""

    value: NDArray[np.float64]
    """(B,) of the map."""
    uniform: NDArray[np.float64]
    """(B,) chance level: of a map that is the same everywhere, under the same perturbations."""
    zero: NDArray[np.float64]
    """(B,) of an empty map: the mean squared change of the answer."""

    @property
    def relative(self) -> NDArray[np.float64]:
        """(B,) in [0, 1]: share of the answer's change that the map does not explain. NaN where nothing changed."""
        return self._share(self.value)

    @property
    def relative_of_chance(self) -> NDArray[np.float64]:
        """(B,) the same for the uniform map."""
        return self._share(self.uniform)

    def _share(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        changed = self.zero > 0
        return np.where(changed, np.clip(value / np.where(changed, self.zero, 1.0), 0.0, 1.0), np.nan)


@dataclass(frozen=True, slots=True)
class StructureOverlap:
    """How much of the evidence lies on a structure, beside the chance level."""

    top_inside: float
    """Share of the most salient voxels that lie inside (voxels of equal saliency count as drawn at random)."""
    top_share: float
    """Which share of the field counted as most salient."""
    energy_inside: float
    """Share of the positive saliency that lies inside (energy-based pointing game)."""
    chance: float
    """Share of the field that the structure fills: the value of both for a map that is the same everywhere."""


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

    A perturbation replaces one square of all channels by the channel's mean over the item. The square's side is uniform
    from an eighth to a third of the shorter side, its place uniform. The map's claim is the saliency inside the square;
    what it is held against is the fall of the logits summed inside the frozen mask. Claims are scaled by the best
    single factor, as Grad-CAM has no units.

    Parameters
    ----------
    network_forward
        Maps (n, C, H, W) to logits (n, H', W') for any n; rows belong to the items of `inputs` in their order, each
        repeated.
    inputs : (B, C, H, W) float array or tensor
        An image, or a cached embedding with saliency on its grid.
    saliency : (B, H, W) float
    frozen_mask : (B, H', W') bool
    seed
        Draws the squares.
    perturbations
        Squares per item.
    batch
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
    answers: list[torch.Tensor] = []

    def score(attribution: torch.Tensor) -> NDArray[np.float64]:
        generator = np.random.default_rng(seed)  # anew for each map: all see the same squares
        asked = 0

        def answer(rows: torch.Tensor, row_mask: torch.Tensor) -> torch.Tensor:
            nonlocal asked
            asked += 1
            if asked > len(answers):  # the two reference maps replay the answers the first map has paid for
                logits = network_forward(rows)
                if logits.shape != row_mask.shape:
                    raise SaliencyError(f"Expected logits {tuple(row_mask.shape)}, got {tuple(logits.shape)}.")
                answers.append((logits * row_mask).flatten(1).sum(1).double())
            return answers[asked - 1]

        def remove_squares(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            removed = torch.from_numpy(_squares(len(rows), tuple(rows.shape[2:]), generator)).to(rows)[:, None]
            return removed.expand_as(rows), torch.where(removed > 0, rows.mean((2, 3), keepdim=True), rows)

        spread = (attribution / channels)[:, None].expand_as(tensor).contiguous()
        values = infidelity(
            answer,
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
    saliency: ArrayLike, mask: ArrayLike, *, field: ArrayLike | None = None, top_share: float | None = None
) -> StructureOverlap:
    """How much of a saliency map lies inside a structure, beside what a map without knowledge would reach.

    Parameters
    ----------
    saliency : (...) float
        Negative values count as none.
    mask : (...) bool
    field : (...) bool, optional
        Voxels the model could look at (its crops). Without it voxels it never saw lower the chance level and flatter
        the map.
    top_share
        Share of the field that counts as most salient; by default as much as the structure fills, so that 1 is
        reachable.

    Raises
    ------
    SaliencyError
        If shapes differ, the mask is empty inside the field, no saliency is positive there, or the share is out of
        (0, 1].

    References
    ----------
    .. [1] Wang et al., Score-CAM (energy-based pointing game), CVPR Workshops 2020, arXiv 1910.01279.
    """
    values, inside = np.maximum(np.asarray(saliency, dtype=np.float64), 0.0), np.asarray(mask, dtype=bool)
    where = np.ones(inside.shape, dtype=bool) if field is None else np.asarray(field, dtype=bool)
    if not values.shape == inside.shape == where.shape:
        raise SaliencyError(f"Expected arrays of one shape, got {values.shape}, {inside.shape} and {where.shape}.")
    values, inside = values[where], inside[where]
    if not inside.any() or not values.sum() > 0:
        raise SaliencyError("Expected a structure and positive saliency inside the field; one of them is missing.")
    chance = float(inside.mean())
    share = chance if top_share is None else top_share
    if not 0.0 < share <= 1.0:
        raise SaliencyError(f"Expected top_share in (0, 1], got {share}.")
    wanted = max(round(share * values.size), 1)
    threshold = np.partition(values, values.size - wanted)[values.size - wanted]
    above, tied = values > threshold, values == threshold
    drawn = (wanted - above.sum()) / tied.sum()  # expected share of the ties that a random draw would take
    return StructureOverlap(
        top_inside=float((inside[above].sum() + drawn * inside[tied].sum()) / wanted),
        top_share=wanted / values.size,
        energy_inside=float(values[inside].sum() / values.sum()),
        chance=chance,
    )


def _squares(count: int, sides: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
    """(count, H, W) masks of one square each."""
    height, width = sides
    shorter = min(height, width)
    masks = np.zeros((count, height, width), dtype=np.float32)
    for mask in masks:
        side = int(generator.integers(max(shorter // 8, 1), max(shorter // 3, 1) + 1))
        row, column = generator.integers(height - side + 1), generator.integers(width - side + 1)
        mask[row : row + side, column : column + side] = 1.0
    return masks
