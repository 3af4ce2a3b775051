"""All errors of the program, as one tree.

::

    MedsamPlannerError (Exception)
    ├── PromptError (ValueError)
    ├── GeometryError (ValueError)
    ├── OutputError (OSError)            results that cannot be written: no space, no permission, or not replaceable
    ├── EmptyStructureError (ValueError)
    ├── UncertaintyError (ValueError)    samples or probabilities from which no uncertainty can be computed
    │   └── TooFewPatientsError          a confidence that is impossible with so few calibration patients
    ├── ZeroVarianceError (RuntimeError)
    ├── SaliencyError (ValueError)
    ├── StudyError (ValueError)          files that are not one regular scalar volume
    │   ├── AmbiguousSeriesError         several series, of which one must be chosen
    │   └── GantryTiltError              a sheared stack, which must be resampled
    ├── WeightsError (RuntimeError)      weights that are absent, damaged or of another model
    ├── PlanningError (ValueError)       an invalid plan request (that no trajectory exists is a result)
    ├── ConfigError (ValueError)         a TOML or JSON file with a wrong or missing entry
    ├── MissingDependencyError (ImportError)
    │                                    an absent optional package or system library; says how to install it
    └── OperationCancelledError (RuntimeError)
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from prompts.errors import GeometryError, MedsamPlannerError, OutputError, PromptError
from xai.errors import EmptyStructureError, SaliencyError, TooFewPatientsError, UncertaintyError, ZeroVarianceError

__all__ = [
    "EXTRAS",
    "AmbiguousSeriesError",
    "ConfigError",
    "EmptyStructureError",
    "GantryTiltError",
    "GeometryError",
    "MedsamPlannerError",
    "MissingDependencyError",
    "OperationCancelledError",
    "OutputError",
    "PlanningError",
    "PromptError",
    "SaliencyError",
    "StudyError",
    "TooFewPatientsError",
    "UncertaintyError",
    "WeightsError",
    "ZeroVarianceError",
    "require_extra",
]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "ui": ("fastapi", "gradio", "uvicorn"),
    "train": ("tensorboard",),
    "medsam": ("huggingface_hub", "transformers"),
}
"""Modules that each extra of the distribution installs in addition."""


class StudyError(MedsamPlannerError, ValueError):
    """Files that cannot be read as one regular scalar volume."""


class AmbiguousSeriesError(StudyError):
    """Several series where one was expected; the message lists them."""


class GantryTiltError(StudyError):
    """A stack whose slices are shifted sideways against their normal."""


class WeightsError(MedsamPlannerError, RuntimeError):
    """Weights that are absent, damaged, or of another model."""


class PlanningError(MedsamPlannerError, ValueError):
    """An invalid plan request. That no safe trajectory exists is a result and not an error."""


class ConfigError(MedsamPlannerError, ValueError):
    """A configuration file with a wrong or missing entry."""


class MissingDependencyError(MedsamPlannerError, ImportError):
    """An optional package or a system library is absent."""


class OperationCancelledError(MedsamPlannerError, RuntimeError):
    """The user cancelled the work."""


def require_extra(extra: str, purpose: str) -> None:
    """Check, before anything is computed, whether an extra is installed; nothing is imported.

    Parameters
    ----------
    extra : str
        A key of :data:`EXTRAS`.
    purpose : str
        What needs the extra, as the subject of the message.

    Raises
    ------
    MissingDependencyError
        If it is not installed; the message says how to install it.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"{purpose} needs the extra '{extra}', whose {', '.join(missing)} cannot be imported. Install it: "
            f"pip install 'medsam-planner[{extra}]' (in a copy of the repository: pip install -e '.[{extra}]')."
        )
