"""Who may act on which session. One client at a time holds the lease of a session; reading needs none."""

from __future__ import annotations

import hmac
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from medsam_planner.errors import AtCapacityError, LeaseHeldError, LeaseLostError

__all__ = ["IDLE_S", "Leases"]

IDLE_S = 1800.0
"""A lease ends after this many seconds without a sign of life."""
_REMEMBERED = 4096
"""Ended leases that are remembered, so that their clients learn why they may no longer act."""
_TAKE_OVER = "Claim the session with take_over to act on it instead; the other client is then told."


@dataclass(slots=True)
class _Lease:
    token: str
    acted_s: float
    """When its client last acted."""
    beat_s: float
    """When its client last gave any sign of life."""
    liveness_s: float
    in_flight: int = 0
    """Requests that are being answered."""


class Leases:
    """The leases of one server.

    Parameters
    ----------
    most : int
        How many sessions may be held at once.
    idle_s : float
        After how many seconds without a sign of life a lease ends.
    clock : callable
        Seconds that only ever rise: a change of the wall clock ends no lease.
    """

    def __init__(self, most: int, *, idle_s: float = IDLE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.idle_s = idle_s
        self._clock = clock
        self._by_session: dict[str, _Lease] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        """By token, why the lease has ended."""
        self._lock = threading.Lock()

    def claim(self, session: str, *, take_over: bool = False, liveness_s: float = math.inf) -> str:
        """Hold a session.

        Parameters
        ----------
        session : str
            Its identifier; also one that no session has yet.
        take_over : bool
            Whether to end the lease of another client.
        liveness_s : float
            For a client that beats on its own, whether a person acts or not: after how many seconds without any
            request the lease ends, too.

        Returns
        -------
        str
            The secret token of the lease.

        Raises
        ------
        LeaseHeldError
            If another client holds it, unless `take_over`.
        AtCapacityError
            If as many sessions are held as the server allows.
        """
        with self._lock:
            self._end_idle()
            held = self._by_session.get(session)
            if held is not None:
                if not take_over:
                    raise LeaseHeldError(f"Another client holds session {session}. {_TAKE_OVER}")
                self._end(session, "Another client has taken the session over.")
            elif len(self._by_session) >= self.most:
                raise AtCapacityError(
                    f"This server holds at most {self.most} sessions at once, and all are taken. Give one back, or try "
                    f"again later: one without a sign of life is freed after {self.idle_s:.0f} s."
                )
            token = secrets.token_urlsafe(24)
            now_s = self._clock()
            self._by_session[session] = _Lease(token, now_s, now_s, liveness_s)
            return token

    def require(self, session: str, token: str | None, *, is_action: bool = True) -> None:
        """Refuse a client that does not hold the session. It counts as a sign of life.

        Parameters
        ----------
        session : str
        token : str or None
        is_action : bool
            False for a beat that a program gives without a person: it shows only that the program is there.

        Raises
        ------
        LeaseHeldError, LeaseLostError
        """
        with self._lock:
            lease = self._require(session, token)
            lease.beat_s = self._clock()
            if is_action:
                lease.acted_s = lease.beat_s

    @contextmanager
    def in_flight(self, session: str, token: str | None) -> Iterator[None]:
        """Keep the lease of a client that waits for an answer; refuses others as :meth:`require`."""
        with self._lock:
            lease = self._require(session, token)
            lease.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                lease.in_flight -= 1
                lease.acted_s = lease.beat_s = self._clock()

    def move(self, session: str, token: str | None, to: str) -> None:
        """Hold another session, which nobody holds, with the same lease; refuses others as :meth:`require`."""
        with self._lock:
            self._by_session[to] = self._require(session, token)
            del self._by_session[session]

    def remaining_s(self, session: str, token: str | None) -> float:
        """Seconds until the lease ends if its client does not act. Asking is no sign of life.

        Raises
        ------
        LeaseHeldError, LeaseLostError
        """
        with self._lock:
            return max(0.0, self.idle_s - (self._clock() - self._require(session, token).acted_s))

    def touch(self, session: str) -> None:
        """Count work that is done for a session as a sign of life."""
        with self._lock:
            if session in self._by_session:
                lease = self._by_session[session]
                lease.acted_s = lease.beat_s = self._clock()

    def release(self, session: str, token: str | None) -> None:
        """Give a session back.

        Raises
        ------
        LeaseHeldError, LeaseLostError
            As :meth:`require`.
        """
        with self._lock:
            self._require(session, token)
            self._end(session, "The lease was given back.")

    def end(self, session: str) -> None:
        """End the lease of a session that is deleted, whoever holds it."""
        with self._lock:
            self._end(session, "The session was deleted.")

    def is_held(self, session: str) -> bool:
        """Whether a client holds it."""
        with self._lock:
            self._end_idle()
            return session in self._by_session

    @property
    def held_count(self) -> int:
        """How many sessions are held."""
        with self._lock:
            self._end_idle()
            return len(self._by_session)

    def _require(self, session: str, token: str | None) -> _Lease:
        self._end_idle()
        held = self._by_session.get(session)
        if held is not None and token is not None and hmac.compare_digest(held.token.encode(), token.encode()):
            return held
        if token is not None and token in self._ended:
            raise LeaseLostError(f"{self._ended[token]} Claim the session again to go on.")
        if held is not None:
            raise LeaseHeldError(f"Another client holds session {session}. {_TAKE_OVER}")
        raise LeaseHeldError(f"Expected the lease of session {session}, which nobody holds. Claim it first.")

    def _end_idle(self) -> None:
        now_s = self._clock()
        for session, lease in list(self._by_session.items()):
            if lease.in_flight:
                continue
            for limit_s, since_s in ((self.idle_s, lease.acted_s), (lease.liveness_s, lease.beat_s)):
                if now_s - since_s > limit_s:
                    self._end(session, f"The lease ended after {limit_s:.0f} s without a sign of life.")

    def _end(self, session: str, reason: str) -> None:
        lease = self._by_session.pop(session, None)
        if lease is None:
            return
        self._ended[lease.token] = reason
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
