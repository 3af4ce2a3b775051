"""Routes of jobs: how far they are, as they move, and a way to stop them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from medsam_planner.service.core.service import Service
from medsam_planner.service.http.answers import job_answer
from medsam_planner.service.http.models import JobAnswer
from medsam_planner.service.http.shared import LeaseHeader, TheService

__all__ = ["router"]

router = APIRouter(prefix="/jobs", tags=["jobs"])
_KEEP_ALIVE_S = 15.0
"""Proxies close a connection that is silent for longer than about a minute."""


@router.get("/{job}")
def get_job(job: str, service: TheService) -> JobAnswer:
    """A job as it is now."""
    return job_answer(service.service, service.job(job))


@router.delete("/{job}")
def cancel(job: str, service: TheService, lease: LeaseHeader = None) -> JobAnswer:
    """Ask a job to stop; it does so between two slices. Its state says when it has."""
    return job_answer(service.service, service.cancel(job, lease))


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def events(job: str, service: TheService) -> StreamingResponse:
    """The job whenever it moves, as server-sent events; the stream ends with its final state."""
    service.job(job)
    return StreamingResponse(_moves(service.service, job), media_type="text/event-stream")


async def _moves(service: Service, identifier: str) -> AsyncIterator[str]:
    """Only the newest value is sent, so a slow reader holds nobody up."""
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    last, number = None, 0

    def wake() -> None:
        with suppress(RuntimeError):  # the server ends
            loop.call_soon_threadsafe(moved.set)

    with service.jobs.watching(identifier, wake):
        while True:
            moved.clear()
            job = service.jobs.find(identifier)
            if job is not last:
                last, number = job, number + 1
                yield f"id: {number}\nevent: {job.state.value}\ndata: {job_answer(service, job).model_dump_json()}\n\n"
            if job.state.is_final:
                return
            try:
                await asyncio.wait_for(moved.wait(), _KEEP_ALIVE_S)
            except TimeoutError:
                yield ": still here\n\n"
