"""The roots of the error tree.

::

    MedsamPlannerError (Exception)
    ├── PromptError (ValueError)         an invalid click, box, scribble or prompt file
    ├── GeometryError (ValueError)       an affine, shape or frame of reference that does not fit
    ├── OutputError (OSError)            a result that cannot be written: no space, no permission, or not replaceable
    └── ... see ``xai.errors`` and ``medsam_planner.errors``

They are in the lowest layer because every layer raises them. A message states what was expected, what was found, and
what to do; the command line prints it unchanged and ends with exit code 2.
"""

from __future__ import annotations

__all__ = ["GeometryError", "MedsamPlannerError", "OutputError", "PromptError"]


class MedsamPlannerError(Exception):
    """Base class of all errors that a user can cause and correct."""


class PromptError(MedsamPlannerError, ValueError):
    """An invalid prompt, prompt log or prompt file."""


class GeometryError(MedsamPlannerError, ValueError):
    """An affine, shape, spacing or frame of reference that does not fit."""


class OutputError(MedsamPlannerError, OSError):
    """A result that cannot be written to the requested place."""
