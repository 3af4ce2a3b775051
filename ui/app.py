"""The service with its page: Gradio's page beside the routes for programs, on one port and one data folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from medsam_planner.errors import require_extra
from medsam_planner.service.access import Access
from medsam_planner.service.pages import Pages

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Lifespan

    from medsam_planner.service.core.service import Service
    from medsam_planner.service.guard import PageEvents

__all__ = ["make_app"]

_MOST_WAITING = 200
"""Most events of all pages that may wait at once; further ones are refused."""
_EXPIRY_CHECK_S = 600.0


def make_app(service: Service, *, access: Access | None = None) -> FastAPI:
    """The application of :func:`medsam_planner.service.http.app.make_app`, with the page.

    Parameters
    ----------
    service : Service
    access : Access, optional
        Where it listens and what it requires of clients; by default this machine only.

    Raises
    ------
    MissingDependencyError
        If the extra ``ui`` is not installed.
    """
    require_extra("ui", "The page")
    from medsam_planner.service.http import app

    return app.make_app(service, access=access, page=_add_page)


def _add_page(app: FastAPI) -> PageEvents:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import gradio as gr

    from medsam_planner.service.guard import PageEvents
    from medsam_planner.service.live_routes import add_live_routes
    from medsam_planner.service.review_routes import add_review_routes
    from medsam_planner.service.routes import add_routes
    from medsam_planner.service.view3d_routes import add_view3d_routes
    from ui.viewer_files import CSS, add_viewer_files
    from ui.wiring import build_page

    pages = app.state.pages = Pages(app.state.service)
    page = build_page(pages).queue(default_concurrency_limit=2, max_size=_MOST_WAITING, api_open=False)
    page.has_launched = True  # otherwise Gradio serves any file of the disk
    add_routes(app, pages)
    add_live_routes(app, pages)
    add_view3d_routes(app, pages)
    add_review_routes(app, pages)
    add_viewer_files(app)
    app.router.lifespan_context = _expiring(pages, app.router.lifespan_context)
    system = ["system-ui", "-apple-system", "Segoe UI", "Helvetica", "Arial", "sans-serif"]
    gr.mount_gradio_app(
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
    return PageEvents({number: len(event.inputs) for number, event in page.fns.items()}, pages.is_of_another)


def _expiring(pages: Pages, inner: Lifespan[Any]) -> Lifespan[Any]:
    """Delete expired uploads, and forget pages that were closed, while the server runs."""

    async def watch() -> None:
        while True:
            await asyncio.to_thread(pages.expire)
            await asyncio.sleep(_EXPIRY_CHECK_S)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        watching = asyncio.create_task(watch())
        try:
            async with inner(app) as state:
                yield state
        finally:
            watching.cancel()
            pages.close()

    return lifespan
