"""The port: it is ours before its address is said."""

from __future__ import annotations

import errno
import socket

from medsam_planner.errors import ConfigError

__all__ = ["address_of", "listen"]

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; connections wait in it until the server takes them.

    Parameters
    ----------
    host : str
    port : int
        0 picks a free one.

    Raises
    ------
    ConfigError
        If the port is in use or forbidden, or the host is no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"Expected an address or name of this machine for --host, got '{host}'.") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(_told(error, host, port)) from error
    return bound


def _told(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Choose another with --port NUMBER; --port 0 picks a free one."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} of {host} may not be opened by this user. Choose one above 1023 with --port NUMBER."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine. Leave --host out, or name one of its own."
    return f"Port {port} of {host} cannot be opened: {error.strerror or error}. Choose another with --port NUMBER."


def address_of(bound: socket.socket, host: str) -> str:
    """What to type into a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{bound.getsockname()[1]}/"
