"""Codes of what this program writes that the standard has no code for, under one private scheme.

They are listed in the conformance statement (:mod:`medsam_planner.io.objects.conformance`). A code is added here and
nowhere else.
"""

from __future__ import annotations

from highdicom.sr import CodedConcept

__all__ = ["PRIVATE", "SCHEME", "private"]

SCHEME = "99MEDSAMPLANNER"

PRIVATE: dict[str, str] = {
    # quantities of maps
    "PredictEntropy": "Predictive entropy",
    "MutualInfo": "Mutual information of prediction and model",
    "BoundarySpread": "Standard deviation of the signed distance to the surface",
    # the planned path
    "PlannedTool": "Planned tool",
    "PlacementMargin": "Placement error allowed around a planned tool",
    "TrajectoryPlan": "Planned straight trajectory",
    "Path": "Planned straight path from entry to target",
    "Entry": "Entry point",
    "Target": "Target point",
    "LimitingPoint": "Place on the path with the least clearance",
    "LimitingStruct": "Structure with the least clearance",
    "Clearance": "Certified clearance beyond margins, tool radius and tool error",
    "HitProbability": "Largest probability that the tool touches a structure",
    "AxisDensity": "Mean CT value on the path",
    "ToolDensity": "Mean CT value in the tool",
    "Reason": "Why this path",
    "Notice": "Restriction of use",
    "Margins": "What the safety margins are and what holds",
    "PlanSHA256": "SHA-256 of the JSON twin",
    "Decision": "Acceptance or rejection by a person, or that there is none",
}
"""Meaning by code value."""


def private(value: str) -> CodedConcept:
    """The concept of a private code."""
    return CodedConcept(value, SCHEME, PRIVATE[value])
