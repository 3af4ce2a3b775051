"""What all routes use."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from medsam_planner.service.core.service import Service

__all__ = ["LeaseHeader", "TheService"]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
LeaseHeader = Annotated[str | None, Header(alias="Lease", description="Of the client that acts on the session")]
