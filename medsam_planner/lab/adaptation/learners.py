"""Which learner a model has."""

from __future__ import annotations

from medsam_planner.engine.adapted_weights import ADAPTED_FORMAT
from medsam_planner.engine.memory_model import MemoryModel
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.lab.adaptation.decoder import CompactLearner
from medsam_planner.lab.adaptation.learner import Learner

__all__ = ["learner_of"]


def learner_of(base: PromptableModel, *, batches: int = 24) -> Learner:
    """The learner for a loaded model; `batches` of samples are cached for the compact one.

    Raises
    ------
    ConfigError
        If the model cannot be adapted; says which can.
    """
    if base.metadata.get("format") == ADAPTED_FORMAT:
        raise ConfigError(
            f"Expected base weights, got {base.name}: adapt the base on all cases together, with --base compact."
        )
    if isinstance(base, MemoryModel):
        return CompactLearner(base, batches=batches)
    from medsam_planner.engine.medsam import MedSam
    from medsam_planner.lab.adaptation.low_rank import MedSamLearner

    if isinstance(base, MedSam):
        return MedSamLearner(base)
    raise ConfigError(
        f"Expected the compact model with a memory, or MedSAM, got {base.name}. Adapt `compact` or `medsam-vit-b`."
    )
