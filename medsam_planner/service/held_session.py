"""The session that one page holds: taken up, given back, and held again when a person acts."""

from __future__ import annotations

import threading
from contextlib import suppress

from medsam_planner.errors import LeaseHeldError, LeaseLostError, MedsamPlannerError, StudyError
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work

__all__ = ["ElsewhereError", "HeldSession"]


class ElsewhereError(MedsamPlannerError):
    """Another page or program holds the session."""


class HeldSession:
    """At most one session, held by a lease while the page is open.

    Parameters
    ----------
    service : Service
    actor : Actor
        Whose page it is.
    """

    def __init__(self, service: Service, actor: Actor = LOCAL) -> None:
        self.service = service
        self.own = OnBehalf(service, actor)
        """What the person may do with it."""
        self.work: Work | None = None
        self._lease: str | None = None
        self._holding = threading.Lock()

    def take(self, work: Work, lease: str) -> None:
        """Go on with a session that is held by this lease, and give the one before back."""
        self.give_back()
        self.work, self._lease = work, lease

    def take_up(self, identifier: str) -> None:
        """Hold a session; another client loses it.

        Raises
        ------
        NotThereError, ForbiddenError, AtCapacityError
        """
        self.take(*self.own.claim(identifier, take_over=True))

    @property
    def is_elsewhere(self) -> bool:
        """Whether another client holds the session."""
        if self.work is None:
            return False
        try:
            self.service.leases.require(self.work.identifier, self._lease)
        except (LeaseHeldError, LeaseLostError):
            return self.service.leases.is_held(self.work.identifier)
        return False

    def give_back(self) -> None:
        """Let others hold the session; the next action holds it again."""
        if self.work is not None:
            with suppress(LeaseHeldError, LeaseLostError):
                self.service.leases.release(self.work.identifier, self._lease)

    def hold(self) -> None:
        """Make sure that this page holds its session. It is a sign of life.

        Raises
        ------
        ElsewhereError
            If another client holds it.
        NotThereError, ForbiddenError
            If the person may no longer change it.
        AtCapacityError
            If its lease has ended, and too many sessions are held meanwhile.
        """
        if self.work is None:
            return
        with self._holding:
            try:
                self.own.acting(self.work.identifier, self._lease)
            except (LeaseHeldError, LeaseLostError):
                try:  # it was given back, or ended while the machine slept
                    _, self._lease = self.own.claim(self.work.identifier)
                except LeaseHeldError as error:
                    raise ElsewhereError(
                        "This work was opened in another window. Continue there, or reload this page."
                    ) from error

    def require_work(self) -> Work:
        """The session on the open study.

        Raises
        ------
        StudyError
            If no study is open.
        """
        if self.work is None:
            raise StudyError("Open a study first.")
        return self.work
