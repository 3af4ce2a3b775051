"""3D results that a test gives to a structure, as if a job had made them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index
from medsam_planner.provenance import PropagationTrace
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import volume_like
from prompts import Click
from tests.provenances import provenance
from tests.ui.test_planning import put
from ui import structure_handlers

__all__ = ["give_ball"]


def give_ball(workbench: Workbench, name: str, centre_lps_mm: tuple[float, float, float], radius_mm: float) -> None:
    """Begin a structure that is a ball."""
    structure_handlers.begin(workbench, name)
    study = workbench.snapshot.study
    assert study is not None
    index = np.stack(np.meshgrid(*map(np.arange, study.spatial_shape), indexing="ij"), axis=-1)
    distance: NDArray[np.float64] = np.linalg.norm(lps_from_index(study.affine, index) - centre_lps_mm, axis=-1)
    workbench.change_steps("prompt", entry_of(Click(centre_lps_mm)))
    result = SegmentationResult(
        structure=name,
        mask=volume_like(study, distance < radius_mm),
        probability=volume_like(study, (1 / (1 + np.exp(2 * (distance - radius_mm)))).astype(np.float32)),
        trace=PropagationTrace(0, ()),
        provenance=provenance(),
    )
    put(workbench, result)
