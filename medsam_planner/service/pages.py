"""The pages that are open, each with its workbench, found by the page's secret token."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress

from medsam_planner.errors import MedsamPlannerError, NotThereError
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.service import Service
from medsam_planner.service.uploads import EXPIRY_S, expire_uploads
from medsam_planner.service.workbench import Workbench

__all__ = ["EvictedError", "Pages"]

_MOST = 256
"""Most pages that are remembered, each with little: what it shows is the service's. The one idle longest gives way."""


class EvictedError(MedsamPlannerError):
    """The server has forgotten the page; its session can be taken up."""


class Pages:
    """Workbenches by token. Two pages share nothing; a session belongs to the page that took it up last.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._by_token: OrderedDict[str, Workbench] = OrderedDict()
        """The one idle longest comes first."""
        self._token_by_page: dict[str, str] = {}
        self._left_at: dict[str, float] = {}
        """When a page was closed, by its token; it may return."""
        self._lock = threading.Lock()

    def begin(self, page: str, actor: Actor = LOCAL) -> Workbench:
        """A new workbench for the page with this identifier."""
        workbench = Workbench(self.service, actor)
        self._add(page, workbench)
        return workbench

    def take_up(self, page: str, key: str, actor: Actor = LOCAL) -> Workbench | None:
        """Give the session with this identifier to a page; any other client loses it.

        Parameters
        ----------
        page : str
        key : str
            Identifier of a session, or token of a page without one.
        actor : Actor

        Returns
        -------
        Workbench or None
            It may still have to read the study, see :attr:`Workbench.is_waiting`. None if there is no such session.

        Raises
        ------
        ForbiddenError
            If the actor may only look at it.
        AtCapacityError
            If as many sessions are held as the server allows.
        """
        with self._lock:
            known = self._known(key, actor)
            is_empty = known is not None and known.work is None
            if known is not None and is_empty:
                self._forget(known.token)
                known.begin_again()
        if known is not None and is_empty:
            self._add(page, known)
            return known
        workbench = Workbench(self.service, actor)
        try:
            workbench.take_up(key)
        except NotThereError:
            return None
        if known is not None:
            workbench.share(known)
            with suppress(MedsamPlannerError):  # it is then told when the page acts
                workbench.refresh()
        self._add(page, workbench)
        return workbench

    def of_page(self, page: str) -> Workbench | None:
        """The workbench of a page, if it is remembered: the page keeps its identifier during a short disconnect."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            self._left_at.pop(token, None)
            workbench = self._by_token.get(token)
        if workbench is not None and workbench.work is not None:
            try:
                self.service.session(workbench.work.identifier)
            except NotThereError:  # deleted
                return None
        return workbench

    def is_of(self, page: str | None, workbench: Workbench) -> bool:
        """Whether a page still shows this workbench, and its session was not taken by another client."""
        with self._lock:
            is_shown = page is not None and self._token_by_page.get(page) == workbench.token
        return is_shown and not workbench.is_elsewhere

    def page_of(self, workbench: Workbench) -> str | None:
        """The page that shows the workbench."""
        with self._lock:
            return next((page for page, token in self._token_by_page.items() if token == workbench.token), None)

    def is_of_another(self, token: str, actor: Actor) -> bool:
        """Whether a token is that of a page which belongs to somebody else; without accounts whoever knows it may."""
        with self._lock:
            workbench = self._by_token.get(token)
        return workbench is not None and actor.has_account and actor.name != workbench.own.actor.name

    def find(self, token: str) -> Workbench:
        """The workbench of a page, which then holds its session. It is a sign of life.

        Raises
        ------
        EvictedError
            If the page was forgotten.
        ElsewhereError
            If another client has taken the session.
        MedsamPlannerError
            If the page has no workbench yet.
        """
        if not token:
            raise MedsamPlannerError("The page is still being opened. Try again in a moment.")
        with self._lock:
            self._left_at.pop(token, None)
            if token not in self._by_token:
                raise EvictedError("The server has forgotten this page. Reload it.")
            self._by_token.move_to_end(token)
            workbench = self._by_token[token]
        workbench.hold()
        return workbench

    def leave(self, page: str) -> None:
        """Give the session of a closed page back. It may only be gone for a moment, so its workbench stays a while."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            workbench = self._by_token.get(token)
            if workbench is not None:
                self._left_at[token] = time.time()
        if workbench is not None:
            workbench.give_back()

    def expire(self, *, now: float | None = None) -> None:
        """Forget pages that were closed as long ago as uploads expire, and delete expired uploads."""
        oldest = (time.time() if now is None else now) - EXPIRY_S
        with self._lock:
            for token in [token for token, left in self._left_at.items() if left < oldest]:
                self._drop(token)
        expire_uploads(now=now)

    def close(self) -> None:
        """Forget every page when the server stops."""
        with self._lock:
            workbenches = list(self._by_token.values())
            for known in (self._by_token, self._token_by_page, self._left_at):
                known.clear()
        for workbench in workbenches:
            workbench.is_cancelled = True
            workbench.uploads.close()

    def _known(self, key: str, actor: Actor) -> Workbench | None:
        """A page with that key, the actor's own first; one without a session only to its own actor."""
        found = [one for one in reversed(self._by_token.values()) if one.key == key]
        own = [one for one in found if one.own.actor == actor]
        return next((one for one in (*own, *found) if one.work is not None or one in own), None)

    def _add(self, page: str, workbench: Workbench) -> None:
        with self._lock:
            before = self._token_by_page.get(page, "")
            if before in self._by_token and before != workbench.token:
                self._left_at[before] = time.time()
            self._by_token[workbench.token] = workbench
            self._by_token.move_to_end(workbench.token)
            self._token_by_page[page] = workbench.token
            while len(self._by_token) > _MOST:
                self._drop(next(iter(self._by_token)))

    def _drop(self, token: str) -> None:
        """Forget a page with its uploads, unless another page of the session has them, too."""
        gone = self._forget(token)
        if gone is not None and all(one.uploads is not gone.uploads for one in self._by_token.values()):
            gone.is_cancelled = True
            gone.uploads.close()

    def _forget(self, token: str) -> Workbench | None:
        self._left_at.pop(token, None)
        for page in [page for page, known in self._token_by_page.items() if known == token]:
            del self._token_by_page[page]
        return self._by_token.pop(token, None)
