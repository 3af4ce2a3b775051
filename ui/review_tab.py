"""The Review tab: the panel that ``viewer/review.js`` fills."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import gradio as gr

__all__ = ["add_review"]

_PANEL = (Path(__file__).parent / "review.html").read_text(encoding="utf-8")


def add_review(parts: MutableMapping[str, Any]) -> None:
    """Lay the tab out; call inside ``gr.Tab``."""
    parts["review"] = gr.HTML(_PANEL, elem_id="review", apply_default_css=False)
