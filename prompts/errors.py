"""The roots of the error tree.

::

    MedsamPlannerError (Exception)
    ├── PromptError (ValueError)         a click, box, scribble or prompt file that cannot be right
    ├── GeometryError (ValueError)       an affine, shape or frame of reference that does not fit
    ├── OutputError (OSError)            a result that cannot be written: no room, not allowed, not ours to replace
    └── ... see ``xai.errors`` and ``medsam_planner.errors``

They live in the lowest layer because every layer raises them. A message says what was expected, what came, and what to
do; the command line prints it as it stands and ends with exit code 2.
"""

from __future__ import annotations

__all__ = ["GeometryError", "MedsamPlannerError", "OutputError", "PromptError"]


class MedsamPlannerError(Exception):
    """Every error a user can cause and mend."""


class PromptError(MedsamPlannerError, ValueError):
    """A prompt, prompt log or prompt file that cannot be right."""


class GeometryError(MedsamPlannerError, ValueError):
    """An affine, shape, spacing or frame of reference that does not fit."""


class OutputError(MedsamPlannerError, OSError):
    """A result that cannot be written where it was asked for."""
