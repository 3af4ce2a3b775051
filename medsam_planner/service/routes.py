"""HTTP routes of a workbench, named by its token: slices, files, uploads."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import ClientDisconnect, Request

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.display import Plane
from medsam_planner.service.headers import REPORT_POLICY
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.results import archive_path, report_path
from medsam_planner.service.sessions import ElsewhereError, Sessions
from medsam_planner.service.slice_layers import slice_view
from medsam_planner.service.slice_view import Overlay, ViewRequest
from medsam_planner.service.uploads import UploadKind, UploadRefusedError
from medsam_planner.service.workbench import Workbench

__all__ = ["add_routes"]


def add_routes(app: FastAPI, sessions: Sessions) -> None:
    """Add the routes of slices, files and uploads; a request names its workbench by its token.

    Parameters
    ----------
    app : FastAPI
    sessions : Sessions
    """

    def find(token: str) -> Workbench:
        try:
            return sessions.find(token)
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/views/{token}")
    def views(
        token: str, plane: Plane, index: int, centre: float = 0.0, width: float = 1.0, overlay: Overlay = "outline"
    ) -> JSONResponse:
        """One slice as a JSON document."""
        try:
            request = ViewRequest(index, centre - width / 2, centre + width / 2, overlay)
            return JSONResponse(slice_view(sessions.find(token), plane, request))
        except MedsamPlannerError as error:
            raise HTTPException(404, without_folders(str(error), sessions.settings)) from error

    @app.get("/alive/{token}")
    def alive(token: str) -> JSONResponse:
        """Whether the page's workbench is in memory, and its version; the page asks every few seconds."""
        try:
            workbench = sessions.peek(token)
        except ElsewhereError as error:
            raise HTTPException(409, str(error)) from error
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error
        if workbench is None:
            return JSONResponse({"is_evicted": True})
        return JSONResponse({"version": workbench.snapshot.version, "is_computing": workbench.is_computing})

    @app.get("/files/{token}/{name}")
    def files(token: str, name: str) -> FileResponse:
        """The report or the archive; no other file of the disk can be named."""
        workbench = find(token)
        if name == "report.html" and workbench.snapshot.has_report:
            headers = {"Content-Security-Policy": REPORT_POLICY}
            return FileResponse(report_path(workbench), media_type="text/html", headers=headers)
        if name == "run.zip" and workbench.snapshot.has_archive:
            return FileResponse(archive_path(workbench), media_type="application/zip", filename=name)
        raise HTTPException(404, "That file has not been written yet.")

    @app.post("/uploads/{token}/{kind}")
    async def upload(token: str, kind: UploadKind, name: str, request: Request) -> JSONResponse:
        """Store an uploaded file; the body is the file."""
        length = request.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else None
        try:
            kept = await find(token).uploads.receive(kind, name, request.stream(), declared_bytes=declared)
        except UploadRefusedError as error:
            return JSONResponse({"detail": str(error)}, status_code=error.status)
        except ClientDisconnect:
            return JSONResponse({"detail": "The upload ended early. Try again."}, status_code=400)
        return JSONResponse({"name": kept})

    @app.delete("/uploads/{token}/{kind}")
    def forget(token: str, kind: UploadKind) -> JSONResponse:
        """Delete the uploaded file of that kind."""
        find(token).uploads.remove(kind)
        return JSONResponse({})
