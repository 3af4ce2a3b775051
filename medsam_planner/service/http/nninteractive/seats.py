"""The clients of the nnInteractive protocol: one lease each in the service's own book, and what it says of their calls.

A client claims before it has an image, so its lease holds a name that no session has; with an image the lease moves to
the session on it. Calls of one client are answered in turn. The protocol's client sends beats whether a person acts or
not, and one program sends none while it waits for an answer: so a lease ends without beats after `liveness_s`, without
a call of a person after the idle time of the service, and never while an answer is awaited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from starlette.requests import Request

from medsam_planner.errors import LeaseHeldError, LeaseLostError
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import new_identifier
from medsam_planner.service.http.nninteractive.drawing import Drawing
from medsam_planner.service.http.nninteractive.wire import refuse

__all__ = ["Seat", "Seats"]

_HEADER = "x-lease-token"


@dataclass(slots=True)
class Seat:
    """One client."""

    token: str
    holds: str
    """What its lease holds: a session, or a name of no session as long as there is no image."""
    actor: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    drawing: Drawing | None = None
    """Its image; None before there is one."""

    def require_drawing(self) -> Drawing:
        """The image.

        Raises
        ------
        HTTPException
            If there is none yet.
        """
        if self.drawing is None:
            refuse("Expected an image first. Set one with set_image.")
        return self.drawing


class Seats:
    """The clients by the tokens of their leases. Its own lock guards the dictionary alone.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.liveness_s = service.limits.liveness_s
        self._lock = threading.Lock()
        self._by_token: dict[str, Seat] = {}

    def claim(self, behalf: OnBehalf) -> Seat:
        """Let a client in.

        Raises
        ------
        AtCapacityError, ForbiddenError
        """
        behalf.require_annotator()
        self._forget_gone()
        holds = new_identifier()
        seat = Seat(self._service.leases.claim(holds, liveness_s=self.liveness_s), holds, behalf.actor.name)
        with self._lock:
            self._by_token[seat.token] = seat
        return seat

    def find(self, request: Request) -> Seat:
        """The client of a request, whatever its lease has become.

        Raises
        ------
        LeaseLostError
            If there is no such client.
        """
        seat = self._by_token.get(request.headers.get(_HEADER, ""))
        if seat is None or seat.actor != actor_of(request.scope).name:
            raise LeaseLostError(
                "Expected the token of a lease, got none or that of one that has ended. Connect again."
            )
        return seat

    def beat(self, request: Request) -> float:
        """Count a sign of life that no person gave; seconds until the lease ends if no person acts.

        Raises
        ------
        LeaseLostError
        """
        seat = self.find(request)
        with _lost_if_not_held():
            self._service.leases.require(seat.holds, seat.token, is_action=False)
        return self.remaining_s(request)

    def remaining_s(self, request: Request) -> float:
        """Seconds until the lease ends if no person acts. Asking is no sign of life.

        Raises
        ------
        LeaseLostError
        """
        seat = self.find(request)
        with _lost_if_not_held():
            return self._service.leases.remaining_s(seat.holds, seat.token)

    @asynccontextmanager
    async def acting(self, request: Request) -> AsyncIterator[Seat]:
        """The client of a request that acts, in turn; its lease does not end meanwhile.

        Raises
        ------
        LeaseLostError
        """
        seat = self.find(request)
        with _lost_if_not_held(), self._service.leases.in_flight(seat.holds, seat.token):
            async with seat.turn:
                self._service.leases.require(seat.holds, seat.token)  # it may have been taken over meanwhile
                if seat.drawing is not None:
                    OnBehalf(self._service, actor_of(request.scope)).acting(seat.holds, seat.token)
                yield seat

    def release(self, request: Request) -> None:
        """Let a client go; one that is unknown is gone already."""
        with self._lock:
            seat = self._by_token.pop(request.headers.get(_HEADER, ""), None)
        if seat is not None:
            self._leave(seat)

    def _leave(self, seat: Seat) -> None:
        with suppress(LeaseHeldError, LeaseLostError):
            self._service.leases.release(seat.holds, seat.token)
        if seat.drawing is not None:
            seat.drawing.stop()

    def _forget_gone(self) -> None:
        """Free the memory of clients whose lease has ended."""
        with self._lock:
            seats = tuple(self._by_token.values())
        for seat in seats:
            try:
                self._service.leases.remaining_s(seat.holds, seat.token)
            except (LeaseHeldError, LeaseLostError):
                with self._lock:
                    self._by_token.pop(seat.token, None)
                self._leave(seat)


@contextmanager
def _lost_if_not_held() -> Iterator[None]:
    """For the protocol's client there is one way to lose a session."""
    try:
        yield
    except LeaseHeldError as error:
        raise LeaseLostError(
            "The lease of this client has ended. Connect again; what was drawn is kept on the server."
        ) from error
