"""Starting values by procedure, at the top of the Plan tab: choosing one enters its numbers, with their sources."""

from __future__ import annotations

import html
from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from medsam_planner.service.presets import Preset, presets
from ui import wording

__all__ = ["add_procedure", "sources_html"]


def add_procedure(parts: MutableMapping[str, Any]) -> None:
    """Lay the choice out and add its components to `parts`; call inside the Plan tab."""
    parts["procedure"] = gr.Dropdown(
        label=wording.PROCEDURE,
        info=wording.PROCEDURE_INFO,
        choices=[(one.label, one.name) for one in presets().values()],
        value=None,
        elem_id="procedure",
    )
    parts["procedure_sources"] = gr.HTML("", elem_id="procedure-sources", apply_default_css=False)


def sources_html(preset: Preset) -> str:
    """Each number of a procedure with its source, folded."""
    lines = (
        f"<li>{html.escape(wording.DRAFT_LABELS[name])} {preset.numbers[name]:g}: {html.escape(source)}</li>"
        for name, source in preset.sources.items()
    )
    return f'<details class="mv-hint"><summary>{wording.PROCEDURE_SOURCES}</summary><ul>{"".join(lines)}</ul></details>'
