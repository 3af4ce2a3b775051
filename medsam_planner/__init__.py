"""Few-click segmentation of CT and MR with uncertainty maps, and straight trajectories with safety margins.

Research use only; not a medical device.

The names below are imported when they are first used, so that ``import medsam_planner`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsam_planner.io import load_volume, save_dicom_seg, save_nifti, save_parametric_map
    from medsam_planner.planning.request import PlanRequest
    from medsam_planner.segmentation.result import SegmentationResult
    from medsam_planner.segmentation.session import Session
    from medsam_planner.workflow.plan import Plan, plan

__all__ = [
    "Plan",
    "PlanRequest",
    "SegmentationResult",
    "Session",
    "load_volume",
    "plan",
    "save_dicom_seg",
    "save_nifti",
    "save_parametric_map",
]

_HOMES = {
    "Plan": "medsam_planner.workflow.plan",
    "PlanRequest": "medsam_planner.planning.request",
    "SegmentationResult": "medsam_planner.segmentation.result",
    "Session": "medsam_planner.segmentation.session",
    "load_volume": "medsam_planner.io",
    "plan": "medsam_planner.workflow.plan",
    "save_dicom_seg": "medsam_planner.io",
    "save_nifti": "medsam_planner.io",
    "save_parametric_map": "medsam_planner.io",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'medsam_planner' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
