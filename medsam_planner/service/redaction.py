"""Remove the server's folders from messages: a client need not know where files are on the machine."""

from __future__ import annotations

import html
import re
from pathlib import Path

from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import FOLDER_PREFIX

__all__ = ["without_folders"]

_UPLOADS = re.compile(
    rf"""[^\s'"<>]*[/\\](?:{FOLDER_PREFIX}[^\s'"<>/\\]*|studies[/\\][0-9a-f]{{32}}[/\\]source)"""
    r"""[/\\](?:[^\s'"<>/\\]+[/\\])*"""
)
"""Folders of an uploaded file; they are removed whatever precedes them."""
_STAYS = r"</[A-Za-z][A-Za-z0-9-]*\s*>|\bhttps?://[^\s'\"<>]+"
"""Text with slashes that is not a path: a closing HTML tag, a web address."""
_RUN = r"(?:\b[A-Za-z]:(?=[/\\]))?[^\s'\"<>|,;:()\[\]{}&‘’“”/\\]*[/\\][^\s'\"<>|,;:()\[\]{}&‘’“”]+"
"""Characters without a space that contain a slash."""
_FOUND = re.compile(rf"(?P<stays>{_STAYS})|{_RUN}")


def without_folders(text: str, settings: Settings) -> str:
    """Shorten each absolute path in a text to what the person knows.

    Below a folder named in the settings the path begins with that folder; elsewhere only its last part remains. Text
    that begins with a word (``CT/MR``, ``P1/ct``) or a dot is not an absolute path.

    Parameters
    ----------
    text : str
        Plain text or HTML.
    settings : Settings

    Returns
    -------
    str
    """
    for parent in _parents(settings):
        prefix = re.escape(parent.rstrip("/\\"))
        text = re.sub(rf"(?<![\w/\\.-]){prefix}[/\\]", "", text)
    return _FOUND.sub(_cut, _UPLOADS.sub("", text))


def _cut(found: re.Match[str]) -> str:
    run = found[0]
    before, *parts = re.split(r"[/\\]", run.rstrip("/\\"))
    is_drive, is_home = run[1:2] == ":", before.startswith("~")
    if found["stays"] or not parts or (before and not is_drive and not is_home and _is_relative(before)):
        return run
    return ("" if is_drive or is_home else before) + parts[-1]


def _is_relative(before: str) -> bool:
    """Whether the path is relative to the text before its first slash."""
    return before in (".", "..") or before[-1].isalnum() or before[-1] == "_"


def _parents(settings: Settings) -> list[str]:
    """Parents of the folders in the settings, longest first, plain and escaped for HTML."""
    alone = [one for one in (settings.study, settings.project) if one is not None]
    named = [settings.out, *settings.roots, *alone]
    parents = {path.parent for one in named for path in (one.absolute(), one.resolve())}
    plain = {str(parent) for parent in parents if parent != Path(parent.anchor)}
    return sorted(plain | {html.escape(text) for text in plain}, key=len, reverse=True)
