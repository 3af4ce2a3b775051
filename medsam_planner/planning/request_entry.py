"""A plan request read back from ``plan.json``, so that its plan can be reviewed later."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medsam_planner.errors import PlanningError
from medsam_planner.planning.request import PlanRequest

__all__ = ["request_from_entry"]


def request_from_entry(entry: Mapping[str, Any]) -> PlanRequest:
    """The request that :meth:`PlanRequest.as_entry` has written.

    Parameters
    ----------
    entry : mapping
        Plain JSON values.

    Returns
    -------
    PlanRequest
        Whose entry is this one.

    Raises
    ------
    PlanningError
        If it cannot be read, or names a file (a calibration, landmarks, a registration): an entry has its name alone.
    """
    try:
        named = [name for name in ("landmarks", "registration") if entry.get(name) is not None]
        named += ["calibration"] * any("calibration" in one["margin"] for one in entry["structures"])
        request: PlanRequest | None = None if named else _requests().validate_python(dict(entry))
    except (AttributeError, KeyError, TypeError, ValidationError) as error:
        raise PlanningError(_OTHER_VERSION) from error
    if request is None:
        raise PlanningError(
            f"Expected a plan without a file of its own ({', '.join(named)}), which is known only where the plan was "
            "made. Review it there."
        )
    if request.as_entry() != dict(entry):
        raise PlanningError(_OTHER_VERSION)
    return request


_OTHER_VERSION = "Expected the request of a plan of this version. Plan again, then review the new plan."


@cache
def _requests() -> TypeAdapter[PlanRequest]:
    return TypeAdapter(PlanRequest)
