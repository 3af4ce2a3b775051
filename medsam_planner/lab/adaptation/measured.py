"""3D Dice after one box, with a network that is still in memory."""

from __future__ import annotations

from collections.abc import Sequence

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.evaluation.protocols import Protocol, first_prompts, simulate
from medsam_planner.segmentation.session import Session

__all__ = ["dice_after_box"]


def dice_after_box(
    model: PromptableModel, structures: Sequence[Structure], *, seed: int = 0, cache: EmbeddingCache | None = None
) -> list[float]:
    """3D Dice of each structure after the box of the evaluation's protocol ``box``; 0 where the model fails.

    Parameters
    ----------
    model : PromptableModel
    structures : sequence of Structure
        With their references.
    seed : int
        Of the boxes.
    cache : EmbeddingCache, optional
        Shared by models with one encoder and one ``weights_sha256``.
    """
    found = []
    for structure in structures:
        session = Session(structure.volume, model, seed=seed, cache=cache)
        opening = first_prompts(structure, Protocol.BOX, seed)
        scores, _, _ = simulate(session, structure, opening, corrections=0)
        found.append(scores.steps[0].scores.dice)
    return found
