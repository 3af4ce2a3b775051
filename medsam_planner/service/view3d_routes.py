"""HTTP routes of the 3D view, named by the token of the page: surfaces, pictures without WebGL, and one GLB file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, Response
from starlette.requests import Request

from medsam_planner.drawing.camera import View
from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import view3d
from medsam_planner.service.page_requests import find_workbench, refusal
from medsam_planner.service.pages import Pages

__all__ = ["add_view3d_routes"]


class _From(Enum):
    """Where a picture is taken from."""

    A = "A"
    P = "P"
    L = "L"
    R = "R"
    H = "H"
    F = "F"


_VIEW = {
    _From.A: View.FROM_ANTERIOR,
    _From.P: View.FROM_POSTERIOR,
    _From.L: View.FROM_LEFT,
    _From.R: View.FROM_RIGHT,
    _From.H: View.FROM_SUPERIOR,
    _From.F: View.FROM_INFERIOR,
}


def add_view3d_routes(app: FastAPI, pages: Pages) -> None:
    """Add the routes; each waits in a thread for the worker that draws.

    Parameters
    ----------
    app : FastAPI
    pages : Pages
    """

    @app.get("/surfaces/{token}/results/{job}", include_in_schema=False)
    def result_surface(token: str, job: str, request: Request) -> Response:
        """Surface of a 3D result that the page shows, PLY in LPS mm; nothing of one that it no longer shows."""
        workbench = find_workbench(pages, token, request)
        try:
            content = view3d.structure_surface_path(workbench, job).read_bytes()
            return Response(content, media_type="application/octet-stream")
        except (MedsamPlannerError, FileNotFoundError) as error:
            if not view3d.shows_result(workbench, job):  # a newer one came while the page asked
                return Response(status_code=204)
            if isinstance(error, FileNotFoundError):
                raise
            raise refusal(error, pages) from error

    @app.get("/surfaces/{token}/plans/{job}/{number}", include_in_schema=False)
    def plan_surface(token: str, job: str, number: int, request: Request) -> FileResponse:
        """Surface of the plan that the page shows, PLY in LPS mm."""
        workbench = find_workbench(pages, token, request)
        try:
            path = view3d.plan_surface_path(workbench, job, number)
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error
        if not path.is_file():
            raise HTTPException(404, "That surface could not be drawn. Find paths again.")
        return _ply(path)

    @app.get("/surfaces/{token}/from/{side}.png", include_in_schema=False)
    def picture(token: str, side: _From, request: Request) -> Response:
        """The scene from one side, for a browser without WebGL 2."""
        workbench = find_workbench(pages, token, request)
        try:
            return Response(view3d.scene_file(workbench, _VIEW[side]), media_type="image/png")
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error

    @app.get("/surfaces/{token}/scene.glb", include_in_schema=False)
    def glb(token: str, request: Request) -> Response:
        """All surfaces in one file."""
        workbench = find_workbench(pages, token, request)
        try:
            content = view3d.scene_file(workbench, None)
            workbench.own.tell_exported(workbench.require_work(), "scene.glb")
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error
        headers = {"Content-Disposition": 'attachment; filename="scene.glb"'}
        return Response(content, media_type="model/gltf-binary", headers=headers)


def _ply(path: Path) -> FileResponse:
    return FileResponse(path, media_type="application/octet-stream")
