"""The workbenches of the pages: found by a page's secret token, or by the key of its work when the page comes back."""

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

__all__ = ["ElsewhereError", "PutAsideError", "Sessions"]

_MOST_OPEN = 16
"""Each holds a study in memory; for one more, that of a closed page or else the one idle longest is put aside. What is
known of it lies on disk."""
_AWAY_S = 15 * 60.0
"""After that long a page that went away is not waited for with a study in memory."""
_REMEMBERED = 1024
"""Tokens of work that was put aside, or is in another window."""


class PutAsideError(MedsamPlannerError):
    """The workbench is not in memory; its work can be taken up again."""


class ElsewhereError(MedsamPlannerError):
    """Another page has taken the work up."""


class Sessions:
    """Workbenches by token. Two pages, also of one person, share nothing; work is the last page's that took it up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._by_token: OrderedDict[str, Workbench] = OrderedDict()
        """The one idle longest first."""
        self._token_by_page: dict[str, str] = {}
        self._left_at: dict[str, float] = {}
        """By token of a page that went away, when; it may come back."""
        self._uploads_by_key: OrderedDict[str, tuple[float, PageUploads]] = OrderedDict()
        """Of work that was put aside, since when."""
        self._aside: OrderedDict[str, None] = OrderedDict()
        self._elsewhere: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, page: str) -> Workbench:
        """A new workbench for a page, known to Gradio as `page`."""
        workbench = Workbench(self.settings)
        with self._lock:
            self._add(page, workbench)
        return workbench

    def take_up(self, page: str, key: str) -> Workbench | None:
        """The workbench of earlier work, now this page's alone; None where there is none of that key.

        One that lies on disk is not read yet: :attr:`Workbench.waiting` says so.
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
        """The workbench a page has, where it is in memory: Gradio's pages outlive a short disconnect."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            self._left_at.pop(token, None)
            return self._by_token.get(token)

    def page_of(self, workbench: Workbench) -> str | None:
        """The page that has the workbench now."""
        with self._lock:
            return next((page for page, token in self._token_by_page.items() if token == workbench.token), None)

    def find(self, token: str) -> Workbench:
        """The workbench of a page.

        Raises
        ------
        PutAsideError
            If it is not in memory (any more).
        ElsewhereError
            If another page has it.
        MedsamPlannerError
            If the page is not begun yet.
        """
        if not token:
            raise MedsamPlannerError("The page is still being opened. Try again in a moment.")
        with self._lock:
            workbench = self._require(token)
            self._by_token.move_to_end(token)
            return workbench

    def peek(self, token: str) -> Workbench | None:
        """As :meth:`find`, without counting as something the person did; None for work that was put aside."""
        with self._lock:
            self._left_at.pop(token, None)  # whoever asks is there
            return None if token in self._aside else self._require(token)

    def leave(self, page: str) -> None:
        """A page went away, perhaps for a moment: its work goes on, and waits for it."""
        with self._lock:
            token = self._token_by_page.get(page, "")
            if token in self._by_token:
                self._left_at[token] = time.time()

    def put_aside(self, token: str) -> None:
        """Forget a workbench; what is known of it stays on disk, and its uploads until they expire."""
        with self._lock:
            self._put_aside(token)

    def close(self, page: str) -> None:
        """Drop the workbench of a page for good: what it computes stops, and its uploads are deleted."""
        with self._lock:
            workbench = self._forget(self._token_by_page.get(page, ""))
        if workbench is not None:
            workbench.is_cancelled = True
            workbench.uploads.close()

    def close_all(self) -> None:
        """Forget every workbench: the server ends."""
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
        """Put aside what pages left long ago, and delete what nobody came back for."""
        now = time.time() if now is None else now
        with self._lock:
            gone = [token for token, left in self._left_at.items() if left < now - _AWAY_S]
            for token in gone:
                if not self._by_token[token].is_computing:
                    self._put_aside(token)
            old = [key for key, (since, _) in self._uploads_by_key.items() if since < now - UPLOADS_EXPIRY_S]
            for key in old:
                self._uploads_by_key.pop(key)[1].close()
        saved_work.expire_works(self.settings.out, now=now)

    def _require(self, token: str) -> Workbench:
        if token in self._elsewhere:
            raise ElsewhereError("This work was taken up in another window. Go on there, or reload this page.")
        if token not in self._by_token:
            raise PutAsideError("This page's work was put aside on the server. Reload the page.")
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
            self._put_aside(token)

    def _put_aside(self, token: str) -> None:
        workbench = self._forget(token)
        if workbench is None:
            return
        _remember(self._aside, token)
        if workbench.waiting is None and (workbench.autosave is None or not workbench.autosave.is_on_disk):
            workbench.uploads.close()  # there is nothing to come back to
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
