"""Security headers of the responses."""

from __future__ import annotations

import re
import secrets

__all__ = ["HEADERS", "REPORT_POLICY", "new_nonce", "page_policy", "with_nonce"]

_NOTHING_ELSE = "object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
REPORT_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'none'"
)
"""The report is one file of text and pictures without scripts."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Added to each response that does not set its own."""


def new_nonce() -> str:
    """A random value that marks the scripts of one response as the server's own."""
    return secrets.token_urlsafe(16)


def page_policy(nonce: str) -> str:
    """Content security policy of Gradio's page: only this server's files, and only the inline scripts with the nonce.

    ``unsafe-eval`` stays: ``gr.HTML`` compiles its ``js_on_load`` in the browser. ``unsafe-inline`` stays for styles,
    which Gradio sets on elements.
    """
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; {_NOTHING_ELSE}"
    )


def with_nonce(page: bytes, nonce: str) -> bytes:
    """Add the nonce to each script tag of the page; in data inside the page Gradio escapes ``<``.

    The link to the manifest is removed: browsers request it without cookies and would be refused.
    """
    page = re.sub(rb"<link rel=\"manifest\"[^>]*>", b"", page)
    return re.sub(rb"<script(?=[\s>])", b'<script nonce="' + nonce.encode("ascii") + b'"', page)
