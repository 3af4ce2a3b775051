"""A port for a server that another process will open."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A port of the loopback that nobody holds.

    It lies below the range from which Linux gives ports away, so that no connection of a test that runs beside this one
    takes it before the server does.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port
