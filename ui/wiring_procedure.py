"""Which event of the choice of a procedure calls which handler."""

from __future__ import annotations

from functools import partial

from medsam_planner.service.pages import Pages
from medsam_planner.service.presets import presets
from ui import plan_handlers
from ui.events import QUICK, connect, on_workbench
from ui.layout import Parts
from ui.procedure import sources_html
from ui.updates import SHOWN, Updates

__all__ = ["wire_procedure"]


def wire_procedure(pages: Pages, parts: Parts) -> None:
    """Connect the choice."""
    entered = sorted({name for one in presets().values() for name in one.numbers})

    def enter(token: str, name: str) -> Updates:
        preset = presets()[name]  # Gradio lets no other choice through
        shown = on_workbench(pages, partial(plan_handlers.enter_preset, preset=preset))(token)
        return {**shown, **preset.numbers, "procedure_sources": sources_html(preset)}

    outputs = (*SHOWN, *entered, "procedure_sources")
    connect(parts, parts["procedure"].input, enter, ("token", "procedure"), outputs, **QUICK)
