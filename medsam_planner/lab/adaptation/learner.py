"""What a learner of a model must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.progress import Progress

__all__ = ["Changes", "Check", "Learner"]

Changes = dict[str, Tensor]
"""Differences to tensors of the base, or their low-rank factors; see ``engine/adapted_weights.py``."""
Check = Callable[[int, Changes], bool]
"""Told the step and the changes so far; training ends where it says False."""


class Learner(Protocol):
    """Trains a few tensors of one model on cached features."""

    kind: Literal["compact", "medsam"]
    trained: str
    """What is trained, in words."""
    base: PromptableModel

    def samples(self, structures: Sequence[Structure], *, seed: int, progress: Progress | None = None) -> Any:
        """Samples of the structures with the features of the frozen encoder."""

    def train(
        self,
        samples: Any,
        steps: int,
        *,
        seed: int,
        check_every: int | None = None,
        check: Check | None = None,
        progress: Progress | None = None,
    ) -> Changes:
        """Train on samples; `check` is called every `check_every` steps."""

    def model_with(self, changes: Changes) -> PromptableModel:
        """The base with changes. It has the base's ``weights_sha256``, so that embeddings are shared."""
