"""Cookies of the page. Scripts cannot read them, and other sites' pages can only follow a link with them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["cookie_name", "set_cookie"]


def cookie_name(request: Request, what: str) -> str:
    """Name of a cookie with the port, so that two servers on one machine have cookies of their own."""
    return f"medsam-planner-{what}-{request.url.port or 80}"


def set_cookie(response: Response, request: Request, what: str, value: str, *, max_age_s: int | None = None) -> None:
    """Set a cookie; with TLS, also at a trusted proxy, it is only ever sent over TLS.

    Lax: a link from elsewhere may lead to the page, and nothing else.
    """
    response.set_cookie(
        cookie_name(request, what),
        value,
        max_age=max_age_s,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )
