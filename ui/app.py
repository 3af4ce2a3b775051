"""The web application: Gradio's page, and the routes that answer pictures and files of a page's workbench."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from medsam_planner.errors import MedsamPlannerError
from ui.access import Access
from ui.display import Plane
from ui.registry import ElsewhereError, Registry
from ui.settings import Settings
from ui.uploads import UploadKind, UploadRefusedError, expire_uploads
from ui.viewer import ViewRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_app"]

_MOST_WAITING = 200
"""Events of all pages that wait at once; more are refused."""
_EXPIRY_CHECK_S = 600.0


def build_app(settings: Settings, *, access: Access | None = None) -> FastAPI:
    """The application for one server; each page that opens it gets a workbench of its own.

    Parameters
    ----------
    settings : Settings
    access : Access, optional
        Where it will listen and what it asks of whoever comes; by default this machine only. Everything passes
        :class:`ui.guard.Guard` first.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import gradio as gr
    from fastapi import FastAPI

    from ui.guard import Guard
    from ui.layout import CSS
    from ui.wiring import build_page

    registry = Registry(settings)
    page = build_page(registry).queue(default_concurrency_limit=2, max_size=_MOST_WAITING, api_open=False)
    page.has_launched = True  # else Gradio does not check the paths of files, and takes any file of the disk
    app = FastAPI(title="MedSAM Planner", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_expiring)
    counts = {number: len(event.inputs) for number, event in page.fns.items()}
    app.add_middleware(Guard, access=access or Access(), input_count_by_event=counts)
    app.state.registry = registry
    _add_routes(app, registry)
    system = ["system-ui", "-apple-system", "Segoe UI", "Helvetica", "Arial", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        max_file_size=0,
        ssr_mode=False,
        show_error=False,
        theme=gr.themes.Default(
            font=system, font_mono=["ui-monospace", "monospace"], spacing_size="sm", text_size="sm"
        ).set(
            **{f"button_primary_background_fill{part}": "#1f66b5" for part in ("", "_dark")}
            | {f"button_primary_background_fill_hover{part}": "#195496" for part in ("", "_dark")}
        ),
        css=CSS,
        js="() => document.body.classList.add('dark')",
    )


@contextlib.asynccontextmanager
async def _expiring(app: FastAPI) -> AsyncIterator[None]:
    """Delete uploads and kept work that grew old for as long as the server runs."""

    async def watch() -> None:
        while True:
            await asyncio.to_thread(expire_uploads)
            await asyncio.to_thread(app.state.registry.expire)
            await asyncio.sleep(_EXPIRY_CHECK_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        app.state.registry.close_all()


def _add_routes(app: FastAPI, registry: Registry) -> None:
    from fastapi import HTTPException
    from fastapi.responses import FileResponse, JSONResponse

    from ui.headers import REPORT_POLICY
    from ui.hiding import without_folders
    from ui.review import archive_path, report_path
    from ui.scene import slice_view
    from ui.workbench import Workbench

    def find(token: str) -> Workbench:
        try:
            return registry.find(token)
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error

    @app.get("/views/{token}")
    def views(
        token: str, plane: Plane, index: int, centre: float = 0.0, width: float = 1.0, overlay: str = "outline"
    ) -> JSONResponse:
        """One slice as the canvas draws it."""
        try:
            request = ViewRequest(index, centre - width / 2, centre + width / 2, overlay)
            return JSONResponse(slice_view(registry.find(token), plane, request))
        except MedsamPlannerError as error:
            raise HTTPException(404, without_folders(str(error), registry.settings)) from error

    @app.get("/alive/{token}")
    def alive(token: str) -> JSONResponse:
        """Whether the page's work is here, asked every few seconds; the page looks again when the version changed."""
        try:
            workbench = registry.peek(token)
        except ElsewhereError as error:
            raise HTTPException(409, str(error)) from error
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error
        if workbench is None:
            return JSONResponse({"is_aside": True})
        return JSONResponse({"version": workbench.version, "is_computing": workbench.is_computing})

    @app.get("/files/{token}/{name}")
    def files(token: str, name: str) -> FileResponse:
        """The two files a page links to; nothing else of the disk can be named."""
        workbench = find(token)
        if name == "report.html" and workbench.snapshot.has_report:
            headers = {"Content-Security-Policy": REPORT_POLICY}
            return FileResponse(report_path(workbench), media_type="text/html", headers=headers)
        if name == "run.zip" and workbench.snapshot.has_archive:
            return FileResponse(archive_path(workbench), media_type="application/zip", filename=name)
        raise HTTPException(404, "Nothing of that name was written yet.")

    @app.post("/uploads/{token}/{kind}")
    async def upload(token: str, kind: UploadKind, name: str, request: Request) -> JSONResponse:
        """Keep a file for a page: the body is the file."""
        length = request.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else None
        try:
            kept = await find(token).uploads.receive(kind, name, request.stream(), declared_bytes=declared)
        except UploadRefusedError as error:
            return JSONResponse({"told": str(error)}, status_code=error.status)
        except ClientDisconnect:
            return JSONResponse({"told": "The upload ended early. Try again."}, status_code=400)
        return JSONResponse({"name": kept})

    @app.delete("/uploads/{token}/{kind}")
    def forget(token: str, kind: UploadKind) -> JSONResponse:
        """Delete the page's file of that kind."""
        find(token).uploads.remove(kind)
        return JSONResponse({})
