"""The workbenches of the pages: found by a page's secret token, or by the key of its work when the page comes back."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict

from medsam_planner.errors import MedsamPlannerError
from ui import kept
from ui.settings import Settings
from ui.turns import Turns
from ui.workbench import Workbench

__all__ = ["ElsewhereError", "PutAsideError", "Registry"]

_MOST_OPEN = 16
"""Each holds a study in memory; for one more, that of a closed page or else the one idle longest is put aside. What is
known of it lies on disk."""
_REMEMBERED = 1024
"""Tokens of work that was put aside, or is in another window."""


class PutAsideError(MedsamPlannerError):
    """The workbench is not in memory; its work can be taken up again."""


class ElsewhereError(MedsamPlannerError):
    """Another page has taken the work up."""


class Registry:
    """Workbenches by token. Two pages, also of one person, share nothing; work is the last page's that took it up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._by_token: OrderedDict[str, Workbench] = OrderedDict()
        """The one idle longest first."""
        self._token_by_page: dict[str, str] = {}
        self._left: set[str] = set()
        """Tokens of pages that went away; they may come back."""
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

        One that lies on disk is not read yet: :attr:`Workbench.to_take_up` says where it lies.
        """
        with self._lock:
            for token, workbench in self._by_token.items():
                if workbench.key and hmac.compare_digest(workbench.key, key):
                    del self._by_token[token]
                    if self._token_by_page.get(page) != token:
                        _remember(self._elsewhere, token)
                    self._left.discard(token)
                    workbench.token, workbench.turns = secrets.token_urlsafe(24), Turns()
                    self._add(page, workbench)
                    return workbench
            folder = kept.find_work(self.settings.out, key)
            if folder is None:
                return None
            workbench = Workbench(self.settings)
            workbench.key, workbench.to_take_up = key, folder
            self._add(page, workbench)
            return workbench

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
            return None if token in self._aside else self._require(token)

    def leave(self, page: str) -> None:
        """A page went away, perhaps for a moment: its work goes on, and waits for it."""
        with self._lock:
            token = self._token_by_page.pop(page, "")
            if token in self._by_token:
                self._left.add(token)

    def put_aside(self, token: str) -> None:
        """Forget a workbench; what is known of it stays on disk."""
        with self._lock:
            self._put_aside(token)

    def _require(self, token: str) -> Workbench:
        if token in self._elsewhere:
            raise ElsewhereError("This work was taken up in another window. Go on there, or reload this page.")
        if token not in self._by_token:
            raise PutAsideError("This page's work was put aside on the server. Reload the page.")
        return self._by_token[token]

    def _add(self, page: str, workbench: Workbench) -> None:
        self._by_token[workbench.token] = workbench
        self._token_by_page[page] = workbench.token
        idle = [token for token, one in self._by_token.items() if not one.is_computing and one is not workbench]
        surplus = max(len(self._by_token) - _MOST_OPEN, 0)
        for token in sorted(idle, key=lambda token: token not in self._left)[:surplus]:
            self._put_aside(token)

    def _put_aside(self, token: str) -> None:
        self._left.discard(token)
        if self._by_token.pop(token, None) is not None:
            _remember(self._aside, token)


def _remember(tokens: OrderedDict[str, None], token: str) -> None:
    tokens[token] = None
    while len(tokens) > _REMEMBERED:
        tokens.popitem(last=False)
