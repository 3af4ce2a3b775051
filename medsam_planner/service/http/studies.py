"""Routes of studies."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service.core.actors import Right
from medsam_planner.service.http.answers import study_answer
from medsam_planner.service.http.models import PathRequest, RightsAnswer, RightsRequest, StudyAnswer
from medsam_planner.service.http.shared import TheService, model_of
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
                        "volume": {"type": "integer", "minimum": 1},
                        "resample_tilt": {"type": "string", "enum": ["true", "false"]},
                        "modality": {"type": "string", "enum": ["CT", "MR"]},
                    },
                }
            },
        },
    }
}


@router.post("", status_code=201, openapi_extra=_BODY)
async def open_study(request: Request, response: Response, service: TheService) -> StudyAnswer:
    """Open a study: an uploaded file, or a path within the folders that the server may read."""
    service.require_annotator()
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        study = await uploaded_study(request, service)
    else:
        asked = model_of(PathRequest, await request.body())
        study = await run_in_threadpool(service.open_path, asked.path, reading=asked.reading)
    response.headers["Location"] = f"{request.url.path}/{study.identifier}"
    return study_answer(study)


@router.get("")
def list_studies(service: TheService) -> list[StudyAnswer]:
    """Your studies, the oldest first."""
    return [study_answer(study) for study in service.studies()]


@router.get("/{study}")
def get_study(study: str, service: TheService) -> StudyAnswer:
    """One study with its grid."""
    return study_answer(service.study(study))


@router.delete("/{study}", status_code=204)
def delete_study(study: str, service: TheService) -> None:
    """Delete a study with its sessions; of one opened by path only what the server keeps. For its owner and admins."""
    service.delete_study(study)


@router.get("/{study}/rights")
def get_rights(study: str, service: TheService) -> RightsAnswer:
    """Who owns a study, and who else may do what on it."""
    stored, grants = service.rights_on(study)
    return RightsAnswer(owner=stored.owner, grants={user: right.role for user, right in grants.items()})


@router.put("/{study}/rights")
def put_rights(study: str, asked: RightsRequest, service: TheService) -> RightsAnswer:
    """Replace what is granted on a study; for its owner and administrators."""
    stored = service.grant(study, {user: Right.of_role(role) for user, role in asked.root.items()})
    return RightsAnswer(owner=stored.owner, grants=asked.root)
