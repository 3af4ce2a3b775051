"""Errors of the uncertainty and saliency layer; the roots are in :mod:`prompts.errors`."""

from __future__ import annotations

from prompts.errors import MedsamPlannerError

__all__ = ["EmptyStructureError", "SaliencyError", "TooFewPatientsError", "UncertaintyError", "ZeroVarianceError"]


class EmptyStructureError(MedsamPlannerError, ValueError):
    """A mask without a voxel: its surface is nowhere."""


class UncertaintyError(MedsamPlannerError, ValueError):
    """Samples, probabilities or settings from which no uncertainty or calibration can be computed."""


class TooFewPatientsError(UncertaintyError):
    """Fewer calibration patients than the confidence asked for needs; the message says how many it needs."""


class ZeroVarianceError(MedsamPlannerError, RuntimeError):
    """Stochastic runs that all agree to the last bit: no active dropout, so no uncertainty was measured."""


class SaliencyError(MedsamPlannerError, ValueError):
    """A layer or target for which the attribution would be silently wrong."""
