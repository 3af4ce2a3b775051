"""What all routes use."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Header
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.http.models import JobBegun

__all__ = ["LeaseHeader", "TheService", "begun", "model_of"]

_Model = TypeVar("_Model", bound=BaseModel)


def _service(request: Request) -> OnBehalf:
    return OnBehalf(request.app.state.service, actor_of(request.scope))


TheService = Annotated[OnBehalf, Depends(_service)]
"""The service as whoever asks may use it."""
LeaseHeader = Annotated[str | None, Header(alias="Lease", description="Of the client that acts on the session")]


def model_of(kind: type[_Model], body: bytes) -> _Model:
    """A JSON body that the framework does not read itself.

    Raises
    ------
    RequestValidationError
        If it does not follow the schema.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


def begun(response: Response, job: str) -> JobBegun:
    """The answer to a request that began a job; its header ``Location`` says where the job is."""
    response.headers["Location"] = f"/api/v1/jobs/{job}"
    return JobBegun(job=job)
