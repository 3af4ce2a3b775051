"""The socket of the server."""

from __future__ import annotations

import asyncio
import socket

from medsam_planner.service.listening import listen


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head() -> None:
    """With Nagle's algorithm each answer of a head and a body takes 40 ms longer."""

    async def delay_is_off() -> bool:
        found = asyncio.get_running_loop().create_future()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        bound = listen("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            is_off = bool(await asyncio.wait_for(found, 10))
            writer.close()
        return is_off

    assert asyncio.run(delay_is_off())
