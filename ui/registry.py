"""The workbenches of the open pages: one each, found by the page's secret token, dropped when the page closes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from medsam_planner.errors import MedsamPlannerError
from ui.settings import Settings
from ui.workbench import Workbench

__all__ = ["Registry"]

_MOST_OPEN = 16
"""Each holds a study in memory; the page that was idle longest is closed for one more."""


class Registry:
    """Workbenches by token. Two pages, also of one person, share nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._by_token: OrderedDict[str, Workbench] = OrderedDict()
        self._token_by_page: dict[str, str] = {}
        self._lock = threading.Lock()

    def begin(self, page: str) -> Workbench:
        """A new workbench for a page, known to Gradio as `page`."""
        workbench = Workbench(self.settings)
        with self._lock:
            self._by_token[workbench.token] = workbench
            self._token_by_page[page] = workbench.token
            while len(self._by_token) > _MOST_OPEN:
                self._by_token.popitem(last=False)[1].uploads.close()
        return workbench

    def find(self, token: str) -> Workbench:
        """The workbench of a page.

        Raises
        ------
        MedsamPlannerError
            If it was closed, or is not begun yet.
        """
        if not token:
            raise MedsamPlannerError("The page is still being opened. Try again in a moment.")
        with self._lock:
            if token not in self._by_token:
                raise MedsamPlannerError("This page's work was closed on the server. Reload the page.")
            self._by_token.move_to_end(token)
            return self._by_token[token]

    def close(self, page: str) -> None:
        """Forget the workbench of a page that went away; what it computes stops."""
        with self._lock:
            workbench = self._by_token.pop(self._token_by_page.pop(page, ""), None)
        if workbench is not None:
            workbench.is_cancelled = True
            workbench.uploads.close()

    def close_all(self) -> None:
        """Forget every workbench: the server ends."""
        for page in list(self._token_by_page):
            self.close(page)
