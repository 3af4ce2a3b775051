"""HTTP routes of a workbench, named by its token: slices, files, uploads."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect, Request

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.display import Plane
from medsam_planner.service.headers import REPORT_POLICY
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.pages import Pages
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.results import archive_path, report_path
from medsam_planner.service.slice_layers import slice_values, slice_view
from medsam_planner.service.slice_view import Overlay, ViewRequest
from medsam_planner.service.uploads import UploadKind, UploadRefusedError
from medsam_planner.service.workbench import Workbench

__all__ = ["add_routes", "refusal", "workbench_of"]


def add_routes(app: FastAPI, pages: Pages) -> None:
    """Add the routes of slices, files and uploads; a request names its workbench by its token.

    Parameters
    ----------
    app : FastAPI
    pages : Pages
    """

    find = partial(workbench_of, pages)

    @app.get("/views/{token}", include_in_schema=False)
    def views(
        token: str,
        plane: Plane,
        index: int,
        request: Request,
        overlay: Overlay = "outline",
    ) -> JSONResponse:
        """What is drawn over one slice, as a JSON document."""
        workbench = find(token, request)
        try:
            return JSONResponse(slice_view(workbench, plane, ViewRequest(index, overlay)))
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error

    @app.get("/slices/{token}", include_in_schema=False)
    def slices(token: str, plane: Plane, index: int, request: Request) -> Response:
        """Stored values of one slice, row by row; the browser applies the window."""
        workbench = find(token, request)
        try:
            values = slice_values(workbench, plane, index)
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error
        headers = {"X-Value-Type": values.dtype.name}
        return Response(values.tobytes(), media_type="application/octet-stream", headers=headers)

    @app.get("/alive/{token}", include_in_schema=False)
    def alive(token: str, request: Request) -> JSONResponse:
        """Sign of life of a page, and the version of its session; the page asks every few seconds."""
        workbench = find(token, request)
        return JSONResponse({"version": workbench.version, "is_computing": workbench.is_computing})

    @app.get("/files/{token}/{name}", include_in_schema=False)
    def files(token: str, name: str, request: Request) -> FileResponse:
        """The report or the archive; no other file of the disk can be named."""
        workbench = find(token, request)
        if name == "report.html" and workbench.snapshot.has_report:
            workbench.own.tell_exported(workbench.require_work(), f"plan {workbench.snapshot.plan_job}")
            headers = {"Content-Security-Policy": REPORT_POLICY}
            return FileResponse(report_path(workbench), media_type="text/html", headers=headers)
        if name == "run.zip" and workbench.snapshot.has_archive:
            workbench.own.tell_exported(workbench.require_work(), name)
            return FileResponse(archive_path(workbench), media_type="application/zip", filename=name)
        raise HTTPException(404, "That file has not been written yet.")

    @app.post("/uploads/{token}/{kind}", include_in_schema=False)
    async def upload(token: str, kind: UploadKind, name: str, request: Request) -> JSONResponse:
        """Store an uploaded file; the body is the file."""
        length = request.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else None
        try:
            kept = await find(token, request).uploads.receive(kind, name, request.stream(), declared_bytes=declared)
        except UploadRefusedError as error:
            return JSONResponse({"detail": str(error)}, status_code=error.status)
        except ClientDisconnect:
            return JSONResponse({"detail": "The upload ended early. Try again."}, status_code=400)
        return JSONResponse({"name": kept})

    @app.delete("/uploads/{token}/{kind}", include_in_schema=False)
    def forget(token: str, kind: UploadKind, request: Request) -> JSONResponse:
        """Delete the uploaded file of that kind."""
        find(token, request).uploads.remove(kind)
        return JSONResponse({})


def workbench_of(pages: Pages, token: str, request: Request) -> Workbench:
    """The workbench that a request names by its token, if it is its sender's.

    Raises
    ------
    HTTPException
        404 where there is none or it is somebody else's, 409 where another client holds its session.
    """
    try:
        workbench = pages.find(token)
    except MedsamPlannerError as error:
        raise refusal(error, pages) from error
    asking = actor_of(request.scope)
    if asking.has_account and asking.name != workbench.own.actor.name:
        raise HTTPException(404, "This page belongs to somebody else. Reload it.")
    return workbench


def refusal(error: MedsamPlannerError, pages: Pages) -> HTTPException:
    """The answer to a request of the page that failed."""
    status = 409 if isinstance(error, ElsewhereError) else 404
    return HTTPException(status, without_folders(str(error), pages.service.settings))
