"""Routes of results: maps and meshes, slices, plans."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import FileResponse, Response

from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.display import Plane
from medsam_planner.service.http.shared import TheService

__all__ = ["router"]

router = APIRouter(prefix="/sessions/{session}", tags=["results"])
_MEDIA_TYPES = {
    "nii.gz": "application/gzip",
    "dcm": "application/dicom",
    "stl": "model/stl",
    "glb": "model/gltf-binary",
    "ply": "application/octet-stream",
}
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _MEDIA_TYPES.values()}}
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
WindowValue = Annotated[float | None, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
WindowWidth = Annotated[float | None, Query(gt=0, le=1e6, allow_inf_nan=False)]


@router.get("/structures/{structure}/{file}", response_class=FileResponse, responses=_BINARY)
def result_file(
    session: str, structure: str, file: ResultFile, service: TheService, allow_stale: bool = False
) -> FileResponse:
    """A map or mesh of the 3D result of a structure; its ETag is the mask's SHA-256."""
    path, stored = service.result_file(service.session(session), structure, file, allow_stale=allow_stale)
    headers = {"ETag": f'"{stored.summary["mask_sha256"]}"'}
    return FileResponse(path, media_type=_MEDIA_TYPES[file.suffix], headers=headers)


@router.get("/slices/{plane}/{index}.png", response_class=Response, responses=_PICTURE)
def slice_png(
    session: str,
    plane: Plane,
    index: int,
    service: TheService,
    centre: WindowValue = None,
    width: WindowWidth = None,
) -> Response:
    """One slice of the study as a grey picture, seen as a radiologist sees it."""
    picture = service.service.slice_png(service.session(session), plane, index, centre=centre, width=width)
    return Response(picture, media_type="image/png")


@router.get("/structures/{structure}/preview/{plane}/{index}.png", response_class=Response, responses=_PICTURE)
def preview_png(session: str, structure: str, plane: Plane, index: int, service: TheService) -> Response:
    """The prediction on a prompted slice, before any 3D result: probability from 0 to 255, oriented as the slice."""
    picture = service.service.preview_png(service.session(session), structure, plane, index)
    return Response(picture, media_type="image/png")


@router.get("/exports/{job}/export.zip", response_class=FileResponse, responses=_ARCHIVE)
def archive(session: str, job: str, service: TheService) -> FileResponse:
    """The archive that a job has written."""
    path = service.archive(service.session(session), job)
    return FileResponse(path, media_type="application/zip", filename=path.name)
