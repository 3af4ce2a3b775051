"""HTTP routes of a workbench, named by its token: slices, files, uploads."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect, Request

from medsam_planner.errors import MedsamPlannerError, NotThereError
from medsam_planner.service.core.packing import ARCHIVE
from medsam_planner.service.display import Plane
from medsam_planner.service.headers import REPORT_POLICY
from medsam_planner.service.page_requests import find_workbench, refusal
from medsam_planner.service.pages import Pages
from medsam_planner.service.results import archive_path, report_path
from medsam_planner.service.slice_layers import slice_values, slice_view
from medsam_planner.service.slice_view import Overlay, ViewRequest
from medsam_planner.service.uploads import UploadKind, UploadRefusedError

__all__ = ["add_routes"]


def add_routes(app: FastAPI, pages: Pages) -> None:
    """Add the routes of slices, files and uploads; a request names its workbench by its token.

    Parameters
    ----------
    app : FastAPI
    pages : Pages
    """

    @app.get("/views/{token}", include_in_schema=False)
    def views(
        token: str,
        plane: Plane,
        index: int,
        request: Request,
        overlay: Overlay = "outline",
    ) -> JSONResponse:
        """What is drawn over one slice, as a JSON document."""
        workbench = find_workbench(pages, token, request)
        try:
            return JSONResponse(slice_view(workbench, plane, ViewRequest(index, overlay)))
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error

    @app.get("/slices/{token}", include_in_schema=False)
    def slices(token: str, plane: Plane, index: int, request: Request) -> Response:
        """Stored values of one slice, row by row; the browser applies the window."""
        workbench = find_workbench(pages, token, request)
        try:
            values = slice_values(workbench, plane, index)
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error
        headers = {"X-Value-Type": values.dtype.name}
        return Response(values.tobytes(), media_type="application/octet-stream", headers=headers)

    @app.get("/alive/{token}", include_in_schema=False)
    def alive(token: str, request: Request) -> JSONResponse:
        """Sign of life of a page, and the version of its session; the page asks every few seconds."""
        workbench = find_workbench(pages, token, request)
        return JSONResponse({"version": workbench.version, "is_computing": workbench.is_computing})

    @app.get("/files/{token}/{name}", include_in_schema=False)
    def files(token: str, name: str, request: Request) -> FileResponse:
        """The report or the archive; no other file of the disk can be named."""
        workbench = find_workbench(pages, token, request)
        if name == "report.html" and workbench.snapshot.has_report:
            workbench.own.tell_exported(workbench.require_work(), f"plan {workbench.snapshot.plan_job}")
            headers = {"Content-Security-Policy": REPORT_POLICY}
            return FileResponse(report_path(workbench), media_type="text/html", headers=headers)
        if name == ARCHIVE and workbench.snapshot.has_archive:
            try:
                return FileResponse(archive_path(workbench), media_type="application/zip", filename=name)
            except NotThereError as error:
                raise refusal(error, pages) from error
        raise HTTPException(404, "That file has not been written yet.")

    @app.post("/uploads/{token}/{kind}", include_in_schema=False)
    async def upload(token: str, kind: UploadKind, name: str, request: Request) -> JSONResponse:
        """Store an uploaded file; the body is the file."""
        length = request.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else None
        uploads = find_workbench(pages, token, request).uploads
        try:
            kept = await uploads.receive(kind, name, request.stream(), declared_bytes=declared)
        except UploadRefusedError as error:
            return JSONResponse({"detail": str(error)}, status_code=error.status)
        except ClientDisconnect:
            return JSONResponse({"detail": "The upload ended early. Try again."}, status_code=400)
        return JSONResponse({"name": kept})

    @app.delete("/uploads/{token}/{kind}", include_in_schema=False)
    def forget(token: str, kind: UploadKind, request: Request) -> JSONResponse:
        """Delete the uploaded file of that kind."""
        find_workbench(pages, token, request).uploads.remove(kind)
        return JSONResponse({})
