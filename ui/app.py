"""The web application: Gradio's page, and the routes that answer pictures and files of a page's workbench."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from medsam_planner.errors import MedsamPlannerError
from ui.display import Plane
from ui.registry import ElsewhereError, Registry
from ui.settings import Settings
from ui.viewer import ViewRequest

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_app"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_UPLOAD = "4gb"


def build_app(settings: Settings, *, host: str = "127.0.0.1") -> FastAPI:
    """The application for one server; each page that opens it gets a workbench of its own.

    Parameters
    ----------
    settings : Settings
    host : str
        Where it will listen. On a loopback address only requests that name this machine are answered, so that a page
        from elsewhere cannot reach the workbench through a borrowed name.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from ui.layout import CSS
    from ui.wiring import build_page

    registry = Registry(settings)
    app = FastAPI(title="MedSAM Planner", docs_url=None, redoc_url=None, openapi_url=None)
    if host in _LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    app.state.registry = registry
    _add_routes(app, registry)
    system = ["system-ui", "-apple-system", "Segoe UI", "Helvetica", "Arial", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        build_page(registry).queue(default_concurrency_limit=2),
        path="/",
        server_name=host,
        footer_links=[],
        allowed_paths=[],
        max_file_size=_MOST_UPLOAD,
        ssr_mode=False,
        show_error=True,
        theme=gr.themes.Default(
            font=system, font_mono=["ui-monospace", "monospace"], spacing_size="sm", text_size="sm"
        ).set(
            **{f"button_primary_background_fill{part}": "#1f66b5" for part in ("", "_dark")}
            | {f"button_primary_background_fill_hover{part}": "#195496" for part in ("", "_dark")}
        ),
        css=CSS,
        js="() => document.body.classList.add('dark')",
    )


def _add_routes(app: FastAPI, registry: Registry) -> None:
    from fastapi import HTTPException
    from fastapi.responses import FileResponse, JSONResponse

    from ui.review import archive_path, report_path
    from ui.scene import slice_view

    @app.get("/views/{token}")
    def views(
        token: str, plane: Plane, index: int, centre: float = 0.0, width: float = 1.0, overlay: str = "outline"
    ) -> JSONResponse:
        """One slice as the canvas draws it."""
        try:
            request = ViewRequest(index, centre - width / 2, centre + width / 2, overlay)
            return JSONResponse(slice_view(registry.find(token), plane, request))
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error

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
        try:
            workbench = registry.find(token)
        except MedsamPlannerError as error:
            raise HTTPException(404, str(error)) from error
        headers = {"Cache-Control": "no-store"}
        if name == "report.html" and workbench.snapshot.has_report:
            return FileResponse(report_path(workbench), media_type="text/html", headers=headers)
        if name == "run.zip" and workbench.snapshot.has_archive:
            return FileResponse(archive_path(workbench), media_type="application/zip", filename=name, headers=headers)
        raise HTTPException(404, "Nothing of that name was written yet.")
