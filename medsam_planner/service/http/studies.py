"""Routes of studies."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service.http.answers import study_answer
from medsam_planner.service.http.models import PathRequest, StudyAnswer
from medsam_planner.service.http.shared import TheService
from medsam_planner.service.http.uploading import uploaded_study

__all__ = ["router"]

router = APIRouter(prefix="/studies", tags=["studies"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": PathRequest.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "series": {"type": "string"},
                        "resample_tilt": {"type": "string", "enum": ["true", "false"]},
                    },
                }
            },
        },
    }
}


@router.post("", status_code=201, openapi_extra=_BODY)
async def open_study(request: Request, response: Response, service: TheService) -> StudyAnswer:
    """Open a study: an uploaded file, or a path within the folders that the server may read."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        study = await uploaded_study(request, service)
    else:
        try:
            asked = PathRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
        study = await run_in_threadpool(
            service.open_path, asked.path, series=asked.series, resample_tilt=asked.resample_tilt
        )
    response.headers["Location"] = f"{request.url.path}/{study.identifier}"
    return study_answer(study)


@router.get("")
def list_studies(service: TheService) -> list[StudyAnswer]:
    """Every study of the server, the oldest first."""
    return [study_answer(study) for study in service.studies.all()]


@router.get("/{study}")
def get_study(study: str, service: TheService) -> StudyAnswer:
    """One study with its grid."""
    return study_answer(service.studies.find(study))
