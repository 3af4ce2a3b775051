"""The socket side of the listener, which pynetdicom leaves open to whoever connects.

An address that is no peer's is closed unread. TLS is agreed in the thread of the connection, so that one that stays
silent stops nobody else; a message longer than any that was agreed is not read; connections beyond a number are closed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any

from medsam_planner.network.listen_settings import Peer

if TYPE_CHECKING:
    from pynetdicom import evt
    from pynetdicom.transport import ThreadedAssociationServer

__all__ = ["MOST_CONNECTIONS", "limit_messages", "server_for"]

MOST_CONNECTIONS = 200
"""At a time, associated or not; one that never associates ends by itself."""
_HANDSHAKE_S = 10.0
_LARGEST_PDU = 1 << 20
"""Far more than the 16 kB that this program agrees to, and than any request for an association."""


def limit_messages(event: evt.Event) -> None:
    """Make a new connection refuse to read a PDU of more than 1 MiB: its length is only what its sender states."""
    connection: Any = event.assoc.dul.socket
    read = connection.recv

    def limited(count: int) -> bytearray:
        if count > _LARGEST_PDU:
            raise OSError("a PDU longer than agreed")
        received: bytearray = read(count)
        return received

    connection.recv = limited


def server_for(
    peers: Sequence[Peer], tls: ssl.SSLContext | None, timeout_s: float, tell: Callable[[str], None]
) -> type[ThreadedAssociationServer]:
    """A server that lets in connections from these peers' addresses alone, with TLS if there is a context for it."""
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """One for these peers."""

        def shutdown(self) -> None:
            """End; pynetdicom's own looks for the server in a list that `make_server` does not add it to."""
            BaseServer.shutdown(self)
            self.server_close()

        def verify_request(self, request: Any, client_address: Any) -> bool:
            address = str(client_address[0])
            known = False
            with contextlib.suppress(ValueError):
                known = any(one.is_at(address) for one in peers)
            if not known:
                tell(f"Refused: a connection from {address}, which is the address of no peer of pacs.toml.")
                return False
            if sum("AcceptorThread" in one.name for one in threading.enumerate()) >= MOST_CONNECTIONS:
                tell(f"Refused: a connection from {address}, since {MOST_CONNECTIONS} are open.")
                return False
            return True

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            if tls is not None:
                try:
                    request.settimeout(_HANDSHAKE_S)
                    request = tls.wrap_socket(request, server_side=True)
                except (OSError, ValueError):
                    tell(f"Refused: a connection from {client_address[0]} without the TLS that pacs.toml asks for.")
                    with contextlib.suppress(OSError):
                        request.close()
                    return
            request.settimeout(timeout_s)
            super().process_request_thread(request, client_address)

        def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
            tell(f"A connection from {client_address[0]} ended with an error.")

    return Server
