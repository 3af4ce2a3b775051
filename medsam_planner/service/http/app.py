"""The application: every route of ``/api/v1``, documented by ``/api/v1/openapi.json``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeAlias

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.errors import MedsamPlannerError
from medsam_planner.io.fault_log import log_fault
from medsam_planner.service.access import Access
from medsam_planner.service.core.service import Service
from medsam_planner.service.guard import PageEvents
from medsam_planner.service.http import (
    jobs,
    login,
    plan_review,
    plans,
    project,
    proposals,
    results,
    sessions,
    structures,
    studies,
)
from medsam_planner.service.http.door import HEALTH
from medsam_planner.service.http.entrance import protect
from medsam_planner.service.http.models import InfoAnswer
from medsam_planner.service.http.nninteractive import routes as nninteractive
from medsam_planner.service.http.nninteractive.seats import Seats
from medsam_planner.service.http.problems import MEDIA_TYPE, problem, problem_of
from medsam_planner.service.redaction import without_folders

__all__ = ["PREFIX", "make_app"]

PREFIX = "/api/v1"
AddPage: TypeAlias = "Callable[[FastAPI], PageEvents]"
_REFUSALS = {
    "4XX": {"description": "Refused; `code` says why and `do` what to do.", "content": {MEDIA_TYPE: {}}},
    "5XX": {"description": "The server cannot do it now.", "content": {MEDIA_TYPE: {}}},
}


def make_app(service: Service, *, access: Access | None = None, page: AddPage | None = None) -> FastAPI:
    """The application over one data folder.

    Parameters
    ----------
    service : Service
    access : Access, optional
        Where it listens and what it requires of clients; by default this machine only.
    page : callable, optional
        Adds the page to the application, and gives what its events may say.
    """
    app = FastAPI(
        title="MedSAM Planner",
        version=version("medsam-planner"),
        summary="Few-click segmentation with uncertainty, and trajectory plans. " + RESEARCH_USE_NOTICE,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        responses=_REFUSALS,  # type: ignore[arg-type]
    )
    app.state.service = service
    app.state.seats = Seats(service)
    app.include_router(nninteractive.router)
    for door in (login, studies, sessions, structures, proposals, jobs, results, plans, plan_review, project):
        app.include_router(door.router, prefix=PREFIX)
    app.get(HEALTH, summary="Whether the server answers")(_health)

    @app.get(f"{PREFIX}/info", summary="The server and its models")
    def info() -> InfoAnswer:
        return InfoAnswer(
            version=version("medsam-planner"),
            models=[without_folders(name, service.settings) for name in service.models()],
            model=without_folders(service.settings.model, service.settings),
            sessions_held=service.leases.held_count,
            max_sessions=service.leases.most,
            idle_s=service.leases.idle_s,
            loaded_bytes=service.loaded.held_bytes + service.computations.workers.held_bytes,
            unreadable_sessions=len(service.unreadable),
            notice=RESEARCH_USE_NOTICE,
        )

    def refuse(_: Request, error: Exception) -> Response:
        if not isinstance(error, MedsamPlannerError):
            raise error
        return problem_of(error, without_folders(str(error), service.settings))

    app.add_exception_handler(MedsamPlannerError, refuse)
    app.add_exception_handler(RequestValidationError, _refuse_shape)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _report_fault)
    protect(app, access or Access(), events=None if page is None else page(app))
    return app


async def _health() -> dict[str, bool]:
    return {"ok": True}


def _refuse_shape(_: Request, error: Exception) -> Response:
    """A request that does not follow the schema; what was sent is not repeated."""
    told = []
    for one in error.errors() if isinstance(error, RequestValidationError) else ():
        place = ".".join(str(part) for part in one["loc"])
        told.append(f"{place}: {one['msg']}")
    return problem("request", "; ".join(told[:10]) or "The request does not follow the schema.")


def _refuse_http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    headers = error.headers if isinstance(error, HTTPException) else None
    code = {404: "not-there", 405: "method", 413: "too-large"}.get(status, "request")
    return problem(code, detail, status=status, headers=headers)


async def _report_fault(_: Request, error: Exception) -> Response:
    log = await asyncio.to_thread(log_fault, error)
    return problem("fault", f"A fault of the server; its log is {'not written' if log is None else log.name}.")
