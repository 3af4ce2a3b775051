"""The workbenches in memory, found by a client's secret token, or by the key of their work when a client returns."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import saved_work
from medsam_planner.service.restoring import Waiting
from medsam_planner.service.settings import Settings
from medsam_planner.service.step_order import StepOrder
from medsam_planner.service.uploads import EXPIRY_S as UPLOADS_EXPIRY_S
from medsam_planner.service.uploads import PageUploads
from medsam_planner.service.workbench import Workbench

__all__ = ["ElsewhereError", "EvictedError", "Sessions"]

_MOST_OPEN = 16
"""Most workbenches in memory, each with a study. For one more, that of a closed page or else the one idle longest is
evicted; its work is on disk."""
_AWAY_S = 15 * 60.0
"""A page that was closed for longer than this no longer has its study in memory."""
_REMEMBERED = 1024
"""Tokens of evicted workbenches, and of those opened in another window, that are remembered."""


class EvictedError(MedsamPlannerError):
    """The workbench is no longer in memory; its work can be restored from disk."""


class ElsewhereError(MedsamPlannerError):
    """Another page has opened the work."""


class Sessions:
    """Workbenches by token. Two pages share nothing; work belongs to the page that took it up last.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._by_token: OrderedDict[str, Workbench] = OrderedDict()
        """The one idle longest comes first."""
        self._token_by_page: dict[str, str] = {}
        self._left_at: dict[str, float] = {}
        """When a page was closed, by its token; it may return."""
        self._uploads_by_key: OrderedDict[str, tuple[float, PageUploads]] = OrderedDict()
        """Uploads of evicted workbenches by the key of their work, each with the time of eviction."""
        self._evicted: OrderedDict[str, None] = OrderedDict()
        self._elsewhere: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, page: str) -> Workbench:
        """A new workbench for the page with this identifier."""
        workbench = Workbench(self.settings)
        with self._lock:
            self._add(page, workbench)
        return workbench

    def restore_work(self, page: str, key: str) -> Workbench | None:
        """Give the work with this key to a page; any other page loses it.

        Returns
        -------
        Workbench or None
            Work that is only on disk is not read yet: it is in :attr:`Workbench.waiting`. None if there is no work with
            that key.
        """
        with self._lock:
            for token, workbench in self._by_token.items():
                if hmac.compare_digest(workbench.key.encode(), key.encode()):
                    if self._token_by_page.get(page) != token:
                        _remember(self._elsewhere, token)
                    self._forget(token)
                    workbench.token, workbench.steps = secrets.token_urlsafe(24), StepOrder()
                    self._add(page, workbench)
                    return workbench
            folder = saved_work.find_work(self.settings.out, key)
            if folder is None:
                return None
            workbench = Workbench(self.settings, waiting=Waiting(key, folder))
            if key in self._uploads_by_key:
                workbench.uploads = self._uploads_by_key.pop(key)[1]
            self._add(page, workbench)
            return workbench

    def of_page(self, page: str) -> Workbench | None:
        """The workbench of a page, if it is in memory: the page keeps its identifier during a short disconnect."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            self._left_at.pop(token, None)
            return self._by_token.get(token)

    def page_of(self, workbench: Workbench) -> str | None:
        """The page to which the workbench belongs now."""
        with self._lock:
            return next((page for page, token in self._token_by_page.items() if token == workbench.token), None)

    def find(self, token: str) -> Workbench:
        """The workbench of a page.

        Raises
        ------
        EvictedError
            If the workbench was evicted from memory.
        ElsewhereError
            If another page has taken it up.
        MedsamPlannerError
            If the page has no workbench yet.
        """
        if not token:
            raise MedsamPlannerError("The page is still being opened. Try again in a moment.")
        with self._lock:
            workbench = self._require(token)
            self._by_token.move_to_end(token)
            return workbench

    def peek(self, token: str) -> Workbench | None:
        """As :meth:`find`, but does not count as activity; None for an evicted workbench."""
        with self._lock:
            self._left_at.pop(token, None)  # the page that asks is open
            return None if token in self._evicted else self._require(token)

    def leave(self, page: str) -> None:
        """Record that a page was closed, perhaps only for a moment: its workbench stays in memory for a while."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            if token in self._by_token:
                self._left_at[token] = time.time()

    def evict(self, token: str) -> None:
        """Remove a workbench from memory; its work stays on disk, and its uploads until they expire."""
        with self._lock:
            self._evict(token)

    def close(self, page: str) -> None:
        """Remove the workbench of a page, cancel its computation and delete its uploads."""
        with self._lock:
            workbench = self._forget(self._token_by_page.get(page, ""))
        if workbench is not None:
            workbench.is_cancelled = True
            workbench.uploads.close()

    def close_all(self) -> None:
        """Remove every workbench when the server stops."""
        with self._lock:
            workbenches, uploads = list(self._by_token.values()), [one for _, one in self._uploads_by_key.values()]
            for known in (self._by_token, self._token_by_page, self._left_at, self._uploads_by_key):
                known.clear()
        for workbench in workbenches:
            workbench.is_cancelled = True
            workbench.uploads.close()
        for one in uploads:
            one.close()

    def expire(self, *, now: float | None = None) -> None:
        """Evict workbenches of pages closed long ago, and delete expired uploads and saved work."""
        now = time.time() if now is None else now
        with self._lock:
            gone = [token for token, left in self._left_at.items() if left < now - _AWAY_S]
            for token in gone:
                if not self._by_token[token].is_computing:
                    self._evict(token)
            old = [key for key, (since, _) in self._uploads_by_key.items() if since < now - UPLOADS_EXPIRY_S]
            for key in old:
                self._uploads_by_key.pop(key)[1].close()
        saved_work.expire_works(self.settings.out, now=now)

    def _require(self, token: str) -> Workbench:
        if token in self._elsewhere:
            raise ElsewhereError("This work was opened in another window. Continue there, or reload this page.")
        if token not in self._by_token:
            raise EvictedError("The work of this page is no longer in the server's memory. Reload the page.")
        return self._by_token[token]

    def _add(self, page: str, workbench: Workbench) -> None:
        before = self._token_by_page.get(page, "")
        if before in self._by_token:
            self._left_at[before] = time.time()
        self._by_token[workbench.token] = workbench
        self._token_by_page[page] = workbench.token
        idle = [token for token, one in self._by_token.items() if not one.is_computing and one is not workbench]
        surplus = max(len(self._by_token) - _MOST_OPEN, 0)
        for token in sorted(idle, key=lambda token: token not in self._left_at)[:surplus]:
            self._evict(token)

    def _evict(self, token: str) -> None:
        workbench = self._forget(token)
        if workbench is None:
            return
        _remember(self._evicted, token)
        if workbench.waiting is None and (workbench.autosave is None or not workbench.autosave.is_on_disk):
            workbench.uploads.close()  # nothing was saved that could be restored
            return
        self._uploads_by_key[workbench.key] = (time.time(), workbench.uploads)
        while len(self._uploads_by_key) > _MOST_OPEN:
            self._uploads_by_key.popitem(last=False)[1][1].close()

    def _forget(self, token: str) -> Workbench | None:
        self._left_at.pop(token, None)
        for page in [page for page, known in self._token_by_page.items() if known == token]:
            del self._token_by_page[page]
        return self._by_token.pop(token, None)


def _remember(tokens: OrderedDict[str, None], token: str) -> None:
    tokens[token] = None
    while len(tokens) > _REMEMBERED:
        tokens.popitem(last=False)
