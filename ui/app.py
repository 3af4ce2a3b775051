"""The web application: Gradio's page on the routes of the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from medsam_planner.errors import require_extra
from medsam_planner.service.access import Access
from medsam_planner.service.sessions import Sessions
from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import expire_uploads

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_app"]

_MOST_WAITING = 200
"""Most events of all pages that may wait at once; further ones are refused."""
_EXPIRY_CHECK_S = 600.0


def build_app(settings: Settings, *, access: Access | None = None) -> FastAPI:
    """Build the application of one server; each page that opens it gets a workbench of its own.

    Parameters
    ----------
    settings : Settings
    access : Access, optional
        Where it listens and what it requires of clients; by default this machine only. Every request is checked by
        :func:`medsam_planner.service.http.entrance.protect` first.

    Raises
    ------
    MissingDependencyError
        If the extra ``ui`` is not installed.
    """
    require_extra("ui", "The page")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import gradio as gr
    from fastapi import FastAPI

    from medsam_planner.service.http.entrance import protect
    from medsam_planner.service.routes import add_routes
    from ui.layout import CSS
    from ui.wiring import build_page

    sessions = Sessions(settings)
    page = build_page(sessions).queue(default_concurrency_limit=2, max_size=_MOST_WAITING, api_open=False)
    page.has_launched = True  # otherwise Gradio serves any file of the disk
    app = FastAPI(title="MedSAM Planner", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_expiring)
    counts = {number: len(event.inputs) for number, event in page.fns.items()}
    protect(app, access or Access(), input_count_by_event=counts)
    app.state.sessions = sessions
    add_routes(app, sessions)
    system = ["system-ui", "-apple-system", "Segoe UI", "Helvetica", "Arial", "sans-serif"]
    mounted: FastAPI = gr.mount_gradio_app(
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
    return mounted


@contextlib.asynccontextmanager
async def _expiring(app: FastAPI) -> AsyncIterator[None]:
    """Delete expired uploads and saved work while the server runs."""

    async def watch() -> None:
        while True:
            await asyncio.to_thread(expire_uploads)
            await asyncio.to_thread(app.state.sessions.expire)
            await asyncio.sleep(_EXPIRY_CHECK_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        app.state.sessions.close_all()
