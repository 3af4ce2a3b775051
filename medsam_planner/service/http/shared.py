"""What all routes use."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.core.on_behalf import OnBehalf

__all__ = ["LeaseHeader", "TheService"]


def _service(request: Request) -> OnBehalf:
    return OnBehalf(request.app.state.service, actor_of(request.scope))


TheService = Annotated[OnBehalf, Depends(_service)]
"""The service as whoever asks may use it."""
LeaseHeader = Annotated[str | None, Header(alias="Lease", description="Of the client that acts on the session")]
