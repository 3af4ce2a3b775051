"""Messages without the server's folders: who looks at a page need not know where things lie on the machine."""

from __future__ import annotations

import html
import re
from pathlib import Path

from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import FOLDER_PREFIX

__all__ = ["without_folders"]

_UPLOADS = re.compile(rf"""[^\s'"<>]*[/\\]{FOLDER_PREFIX}[^\s'"<>/\\]*[/\\](?:[^\s'"<>/\\]+[/\\])*""")
"""Folders of an uploaded file; they are never the person's, whatever stands before them."""
_STAYS = r"</[A-Za-z][A-Za-z0-9-]*\s*>|\bhttps?://[^\s'\"<>]+"
"""What has slashes and is no path: a closing tag, an address of the web."""
_RUN = r"(?:\b[A-Za-z]:(?=[/\\]))?[^\s'\"<>|,;:()\[\]{}&‘’“”/\\]*[/\\][^\s'\"<>|,;:()\[\]{}&‘’“”]+"
"""Marks without a gap that have a slash."""
_FOUND = re.compile(rf"(?P<stays>{_STAYS})|{_RUN}")


def without_folders(text: str, settings: Settings) -> str:
    """The text, plain or HTML, with each absolute path cut to what the person knows: from a named folder on, else its
    last part. What begins with a word (``CT/MR``, ``P1/ct``) or a dot is no absolute path.
    """
    text = _UPLOADS.sub("", text)
    for parent in _parents(settings):
        prefix = re.escape(parent.rstrip("/\\"))
        text = re.sub(rf"(?<![\w/\\.-]){prefix}[/\\]", "", text)
    return _FOUND.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    run = found[0]
    before, *parts = re.split(r"[/\\]", run.rstrip("/\\"))
    is_drive, is_home = run[1:2] == ":", before.startswith("~")
    if found["stays"] or not parts or (before and not is_drive and not is_home and _is_relative(before)):
        return run
    return ("" if is_drive or is_home else before) + parts[-1]


def _is_relative(before: str) -> bool:
    """Whether the path goes on from what stands before its first slash."""
    return before in (".", "..") or before[-1].isalnum() or before[-1] == "_"


def _parents(settings: Settings) -> list[str]:
    """Folders around what was named, longest first; plain and as they stand in HTML."""
    named = [settings.out, *settings.roots, *((settings.study,) if settings.study else ())]
    parents = {path.parent for one in named for path in (one.absolute(), one.resolve())}
    plain = {str(parent) for parent in parents if parent != Path(parent.anchor)}
    return sorted(plain | {html.escape(text) for text in plain}, key=len, reverse=True)
