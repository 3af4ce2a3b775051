"""Low-rank factors in the mask decoder of MedSAM (LoRA: Hu et al. 2022, arXiv 2106.09685), on cached embeddings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from medsam_planner.engine.adapted_weights import apply_changes
from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.protocol import PromptableModel, SlicePrompt
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.zoom import extract
from medsam_planner.geometry import acquisition_axis, slice_across
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.lab.adaptation.learner import Changes, Check
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.training.losses import prediction_losses
from medsam_planner.lab.training.simulated_prompts import training_box
from medsam_planner.progress import Progress, track

__all__ = ["MedSamLearner"]

_RANK = 4
_PROJECTIONS = ("q_proj", "v_proj")
_SLICES_PER_CASE = 6
_SMALLEST_PX = 16
"""Pixels of the model's input that a structure must have on a slice that is trained on."""
_PER_STEP = 4
"""Slices whose gradients are summed in one step."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    embedding: Tensor
    """(1, C, h, w)"""
    reference: NDArray[np.bool_]
    """(N, N) in model pixels."""
    step_mm: float


class _LowRank(nn.Module):
    """weight → weight + up @ down, which is the weight itself at first."""

    def __init__(self, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        out, inner = weight.shape
        self.down = nn.Parameter(torch.randn(_RANK, inner, generator=generator) / inner**0.5)
        self.up = nn.Parameter(torch.zeros(out, _RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


class MedSamLearner:
    """Rank-4 factors on the query and value projections of every attention in the mask decoder."""

    kind: Literal["compact", "medsam"] = "medsam"
    trained = f"rank-{_RANK} factors on the query and value projections of the mask decoder (image encoder frozen)"

    def __init__(self, base: MedSam, *, learning_rate: float = 1e-3) -> None:
        self.base: PromptableModel = base
        self._model = base
        self._learning_rate = learning_rate

    def samples(self, structures: Sequence[Structure], *, seed: int, progress: Progress | None = None) -> list[_Sample]:
        """A few slices of each case with their embeddings; see :class:`~.learner.Learner`."""
        found = []
        for structure in track(structures, "preparing samples", progress):
            volume, axis = structure.volume, acquisition_axis(structure.volume.affine)
            normalisation = normalisation_for(volume, None, self._model.default_window)
            segmenter = SliceSegmenter(volume, self._model, normalisation, EmbeddingCache(10**8))
            shape, pixel_mm = segmenter.slice_shape(axis), segmenter.slice_spacing_mm(axis)
            others = tuple(other for other in range(3) if other != axis)
            filled = np.flatnonzero(structure.reference.any(axis=others))
            for number in np.unique(np.linspace(0, len(filled) - 1, _SLICES_PER_CASE).round().astype(int)):
                index = int(filled[number])
                mask = slice_across(structure.reference, axis, index)
                (crop,) = self._model.crops(SlicePrompt(mask=mask.astype(np.float32)), shape, pixel_mm)
                reference = extract(mask.astype(np.float32), crop) > 0.5
                if reference.sum() >= _SMALLEST_PX:
                    step_mm = max(pixel_mm) * max(crop.side_rc) / crop.size
                    found.append(_Sample(segmenter.embedding(axis, index, crop), reference, step_mm))
        return found

    def train(
        self,
        samples: list[_Sample],
        steps: int,
        *,
        seed: int,
        check_every: int | None = None,
        check: Check | None = None,
        progress: Progress | None = None,
    ) -> Changes:
        """Train the factors; see :class:`~.learner.Learner`."""
        decoder = copy.deepcopy(self._model.network.mask_decoder).requires_grad_(False)
        factors = _with_factors(decoder, seed)
        optimizer = torch.optim.AdamW(
            [parameter for factor in factors.values() for parameter in factor.parameters()], lr=self._learning_rate
        )
        rng = np.random.default_rng([seed, 7])
        for step in track(range(1, steps + 1), "adapting", progress, total=steps):
            optimizer.zero_grad(set_to_none=True)
            for number in rng.integers(len(samples), size=_PER_STEP):
                sample = samples[int(number)]
                prompt = SlicePrompt(box=training_box(sample.reference, rng, step_mm=sample.step_mm))
                logits = self._model.embedding_logits(sample.embedding.clone(), prompt, decoder=decoder)
                losses = prediction_losses(logits[:, None], torch.from_numpy(sample.reference)[None])
                (losses.sum() / _PER_STEP).backward()
            optimizer.step()
            if check is not None and check_every and step % check_every == 0 and not check(step, _changes(factors)):
                break
        return _changes(factors)

    def model_with(self, changes: Changes) -> PromptableModel:
        """The base with changes; see :class:`~.learner.Learner`."""
        model = self._model.with_own_module()
        network: Any = model.network
        network.mask_decoder = copy.deepcopy(network.mask_decoder)
        apply_changes(network, changes, source="the adaptation")
        return model


def _with_factors(decoder: nn.Module, seed: int) -> dict[str, _LowRank]:
    """Low-rank factors on the decoder's projections, by the name of the weight in the whole network."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name, module in list(decoder.named_modules()):
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in _PROJECTIONS:
            factor = _LowRank(module.weight, generator)
            parametrize.register_parametrization(module, "weight", factor)
            factors[f"mask_decoder.{name}.weight"] = factor
    return factors


def _changes(factors: dict[str, _LowRank]) -> Changes:
    """The factors, rounded as they are stored."""
    changes = {}
    for name, factor in factors.items():
        changes[f"{name}:down"] = factor.down.detach().half().float()
        changes[f"{name}:up"] = factor.up.detach().half().float()
    return changes
