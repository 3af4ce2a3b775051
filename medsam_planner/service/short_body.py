"""Bodies of browsers that are read whole before any route sees them."""

from __future__ import annotations

from starlette.requests import Request

__all__ = ["short_body"]


async def short_body(request: Request, most_bytes: int) -> bytes | None:
    """The whole body, or None if it is longer than it may be."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return body
