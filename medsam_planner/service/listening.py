"""Open the server's port before its address is announced."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from medsam_planner.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from medsam_planner.service.access import Access

__all__ = ["address_of", "listen", "serve_on"]

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in it until the server accepts them.

    Parameters
    ----------
    host : str
        Address or name of this machine.
    port : int
        0 picks a free one.

    Raises
    ------
    ConfigError
        If the port is in use or not permitted, or the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"Expected an address or name of this machine for --host, got '{host}'.") from error
    # With its protocol stated, asyncio sends at once: otherwise the body of an answer waits 40 ms for the client to
    # acknowledge its head.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(_reason(error, host, port)) from error
    return bound


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Choose another with --port NUMBER; --port 0 picks a free one."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} of {host} cannot be opened by this user. Choose one above 1023 with --port NUMBER."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine. Omit --host, or give one of its addresses."
    return f"Port {port} of {host} cannot be opened: {error.strerror or error}. Choose another with --port NUMBER."


def address_of(bound: socket.socket, host: str, *, is_tls: bool = False) -> str:
    """Address under which a browser reaches the server."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    scheme = "https" if is_tls else "http"
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{bound.getsockname()[1]}/"


def serve_on(bound: socket.socket, app: ASGIApp, access: Access) -> None:
    """Serve until the process is told to stop.

    Parameters
    ----------
    bound : socket
        From :func:`listen`.
    app : ASGIApp
    access : Access
        Has the certificate. Forwarded headers are read by the application's entrance, and only from its trusted proxy.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=access.certificate,
        ssl_keyfile=access.private_key,
    )
    uvicorn.Server(config).run(sockets=[bound])
