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
    ├── RegistrationError (ValueError)   two series that could not be registered plausibly
    ├── PlanningError (ValueError)       an invalid plan request (that no trajectory exists is a result)
    ├── ConfigError (ValueError)         a TOML or JSON file with a wrong or missing entry
    ├── MissingDependencyError (ImportError)
    │                                    an absent optional package or system library; says how to install it
    ├── OperationCancelledError (RuntimeError)
    ├── PeerError (RuntimeError)         a PACS refuses, or answers what it should not
    │   └── PeerAwayError                it does not answer, or is too busy: the same may succeed later
    └── ServiceError (RuntimeError)      a request that the service cannot carry out as things stand
        ├── NotThereError
        ├── ForbiddenError               the role of whoever asks does not allow it
        ├── LeaseHeldError               another client acts on the session
        ├── LeaseLostError               the lease has ended, or was taken over
        ├── AtCapacityError              as many sessions are held as the server allows
        ├── StaleError                   a result of other prompts than the present ones
        ├── ReadOnlyError                a session whose journal is damaged
        ├── WorkerDiedError              the process that computed something has ended
        └── ModelServerError             another server runs the model, and it is away, full, or refuses
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from prompts.errors import GeometryError, MedsamPlannerError, OutputError, PromptError
from xai.errors import EmptyStructureError, SaliencyError, TooFewPatientsError, UncertaintyError, ZeroVarianceError

__all__ = [
    "ERROR_BY_CODE",
    "EXTRAS",
    "AmbiguousSeriesError",
    "AtCapacityError",
    "ConfigError",
    "EmptyStructureError",
    "ForbiddenError",
    "GantryTiltError",
    "GeometryError",
    "LeaseHeldError",
    "LeaseLostError",
    "MedsamPlannerError",
    "MissingDependencyError",
    "ModelServerError",
    "NotThereError",
    "OperationCancelledError",
    "OutputError",
    "PeerAwayError",
    "PeerError",
    "PlanningError",
    "PromptError",
    "ReadOnlyError",
    "RegistrationError",
    "SaliencyError",
    "ServiceError",
    "StaleError",
    "StudyError",
    "TooFewPatientsError",
    "UncertaintyError",
    "WeightsError",
    "WorkerDiedError",
    "ZeroVarianceError",
    "code_of",
    "require_extra",
]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "serve": ("argon2", "authlib", "blosc2", "fastapi", "httpx", "joserfc", "python_multipart", "uvicorn"),
    "ui": ("argon2", "authlib", "blosc2", "fastapi", "gradio", "httpx", "joserfc", "python_multipart", "uvicorn"),
    "train": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "remote": ("nnInteractive",),
    "medsam": ("huggingface_hub", "transformers"),
    "openvino": ("onnx", "onnxruntime", "openvino"),
    "onnx": ("onnx", "onnxruntime"),
    "deid": ("dicomanonymizer",),
    "pacs": ("dicomweb_client", "pynetdicom"),
    "readers": ("statsmodels",),
    "fhir": ("fhir", "requests"),
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


class RegistrationError(MedsamPlannerError, ValueError):
    """Two series whose registration is not plausible; no transform is returned then."""


class PlanningError(MedsamPlannerError, ValueError):
    """An invalid plan request. That no safe trajectory exists is a result and not an error."""


class ConfigError(MedsamPlannerError, ValueError):
    """A configuration file with a wrong or missing entry."""


class MissingDependencyError(MedsamPlannerError, ImportError):
    """An optional package or a system library is absent."""


class OperationCancelledError(MedsamPlannerError, RuntimeError):
    """The user cancelled the work."""


class PeerError(MedsamPlannerError, RuntimeError):
    """A PACS refuses what was asked, or answers what it should not; the message has its own words."""


class PeerAwayError(PeerError):
    """A PACS does not answer, or is too busy: the same may succeed later."""


class ServiceError(MedsamPlannerError, RuntimeError):
    """A request that the service cannot carry out as things stand."""


class NotThereError(ServiceError):
    """A study, session, job, structure or result of that name does not exist."""


class ForbiddenError(ServiceError):
    """The role of whoever asks does not allow it."""


class LeaseHeldError(ServiceError):
    """Only the client that holds the session's lease may act, and this one does not hold it."""


class LeaseLostError(ServiceError):
    """The lease has ended: it was idle for too long, was given back, or another client took the session over."""


class AtCapacityError(ServiceError):
    """As many sessions are held as the server allows; one must be given back first."""


class StaleError(ServiceError):
    """A result of other prompts than the present ones, or none at all."""


class ReadOnlyError(ServiceError):
    """A session whose journal is damaged: it can be read and no longer changed."""


class WorkerDiedError(ServiceError):
    """The process that computed something has ended, and so has the one that tried again."""


class ModelServerError(ServiceError):
    """Another server runs the model, and it does not answer, refuses, has no place, or has ended the session."""


ERROR_BY_CODE: Mapping[str, type[MedsamPlannerError]] = {
    "at-capacity": AtCapacityError,
    "forbidden": ForbiddenError,
    "lease-held": LeaseHeldError,
    "lease-lost": LeaseLostError,
    "not-there": NotThereError,
    "read-only": ReadOnlyError,
    "model-server": ModelServerError,
    "worker-died": WorkerDiedError,
    "stale": StaleError,
    "cancelled": OperationCancelledError,
    "prompt": PromptError,
    "geometry": GeometryError,
    "study": StudyError,
    "plan": PlanningError,
    "config": ConfigError,
    "empty-structure": EmptyStructureError,
    "zero-variance": ZeroVarianceError,
    "saliency": SaliencyError,
    "uncertainty": UncertaintyError,
    "weights": WeightsError,
    "output": OutputError,
    "missing-dependency": MissingDependencyError,
}
"""Errors that cross the network, by the ``code`` of the service's problem documents: the client raises what the service
raised. Of a subclass that is not listed its nearest listed base is sent."""


def code_of(error: BaseException) -> str:
    """The code of an error in :data:`ERROR_BY_CODE`, or of its nearest base there; else ``"fault"``."""
    codes = {kind: code for code, kind in ERROR_BY_CODE.items()}
    return next((codes[kind] for kind in type(error).__mro__ if kind in codes), "fault")


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
