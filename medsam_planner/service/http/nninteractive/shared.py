"""What the calls of the protocol use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from medsam_planner.service.http.nninteractive.seats import Seat, Seats

__all__ = ["ActingSeat", "TheSeats"]


def _seats(request: Request) -> Seats:
    seats: Seats = request.app.state.seats
    return seats


TheSeats = Annotated[Seats, Depends(_seats)]


async def _acting(request: Request, seats: TheSeats) -> AsyncIterator[Seat]:
    async with seats.acting(request) as seat:
        yield seat


ActingSeat = Annotated[Seat, Depends(_acting)]
"""The client of a call that acts; it has the turn until the call is answered."""
