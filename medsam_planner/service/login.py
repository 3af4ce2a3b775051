"""The page that asks for the secret of the server."""

from __future__ import annotations

from pathlib import Path
from string import Template

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE

__all__ = ["PATH", "TITLE", "page", "policy"]

PATH = "/login"
TITLE = "MedSAM Planner"
_TEMPLATE = Path(__file__).with_name("login.html")
_WRONG = '<p class="wrong" role="alert">That is not the token. Copy all of it.</p>'


def page(nonce: str, *, was_wrong: bool) -> str:
    """The login form, with an error after a wrong token."""
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    wrong = _WRONG if was_wrong else ""
    return template.substitute(title=TITLE, research=RESEARCH_USE_NOTICE, path=PATH, nonce=nonce, wrong=wrong)


def policy(nonce: str) -> str:
    """Content security policy of the form: it may only post to this server."""
    return f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
