"""Messages without the server's folders: who looks at a page need not know where things lie on the machine."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ui.handlers import Screen
    from ui.settings import Settings

__all__ = ["discreet", "without_folders"]

_PATH = re.compile(r"""(?<![\w<>/\\.:;#&~-])(?:~|[A-Za-z]:)?[/\\][^\s'"<>|,;:()\[\]{}&‘’“”]+""")
"""A path from the root, as messages quote them; ``<`` before it would be a closing tag."""


def without_folders(text: str, settings: Settings) -> str:
    """The text with each absolute path cut to what the person knows: from a named folder on, else its last part."""
    for parent in _parents(settings):
        prefix = re.escape(parent.rstrip("/\\"))
        text = re.sub(rf"(?<![\w/\\.-]){prefix}[/\\]", "", text)
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], text)


def discreet(screen: Screen, settings: Settings) -> Screen:
    """A screen as it may be shown."""
    return replace(
        screen,
        notice=without_folders(screen.notice, settings),
        study=without_folders(screen.study, settings),
        answer=without_folders(screen.answer, settings),
    )


def _parents(settings: Settings) -> list[str]:
    """Folders around what was named, longest first; plain and as they stand in HTML."""
    named = [settings.out, *settings.roots, *((settings.study,) if settings.study else ())]
    parents = {path.parent for one in named for path in (one.absolute(), one.resolve())}
    plain = {str(parent) for parent in parents if parent != Path(parent.anchor)}
    return sorted(plain | {html.escape(text) for text in plain}, key=len, reverse=True)
