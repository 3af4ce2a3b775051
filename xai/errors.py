"""Errors of the uncertainty and saliency layer; the roots are in :mod:`prompts.errors`."""

from __future__ import annotations

from prompts.errors import MedsamPlannerError

__all__ = ["EmptyStructureError", "SaliencyError", "TooFewPatientsError", "UncertaintyError", "ZeroVarianceError"]


class EmptyStructureError(MedsamPlannerError, ValueError):
    """A mask without a voxel, which has no surface."""


class UncertaintyError(MedsamPlannerError, ValueError):
    """Samples, probabilities or settings from which no uncertainty or calibration can be computed."""


class TooFewPatientsError(UncertaintyError):
    """Fewer calibration patients than the requested confidence needs; the message states the number."""


class ZeroVarianceError(MedsamPlannerError, RuntimeError):
    """Stochastic passes that are all equal to the last bit, so that no uncertainty was measured."""


class SaliencyError(MedsamPlannerError, ValueError):
    """A layer or target for which the attribution would be wrong without any other sign."""
