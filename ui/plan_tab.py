"""The Plan tab: a plan request is entered, and its result read."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.uploads import UploadKind
from ui import wording
from ui.procedure import add_procedure
from ui.upload_button import upload_button

__all__ = ["DRAFT_CONTROLS", "NUMBERS", "add_plan_tab"]

NUMBERS = tuple(wording.DRAFT_LABELS)
"""Names of the number fields; each is a field of :class:`PlanDraft`."""
DRAFT_CONTROLS = (*NUMBERS, "avoid_bone")
"""Names of all controls that enter a field of :class:`PlanDraft`."""
_IN_A_ROW = 3


def add_plan_tab(parts: MutableMapping[str, Any]) -> None:
    """Lay the tab out and add its components to `parts`; call inside ``gr.Tab``."""
    draft = PlanDraft()
    gr.HTML(f'<div class="mv-hint">{wording.PLAN_STEPS}</div>', apply_default_css=False)
    add_procedure(parts)
    for start in range(0, len(NUMBERS), _IN_A_ROW):
        with gr.Row():
            for name in NUMBERS[start : start + _IN_A_ROW]:
                parts[name] = gr.Number(
                    getattr(draft, name),
                    label=wording.DRAFT_LABELS[name],
                    minimum=0,
                    min_width=90,
                    elem_id=name.replace("_", "-"),
                )
    parts["avoid_bone"] = gr.Checkbox(
        draft.avoid_bone, label=wording.AVOID_BONE, info=wording.AVOID_BONE_INFO, elem_id="avoid-bone"
    )
    gr.HTML(f'<div class="mv-hint">{wording.CALIBRATION}</div>', apply_default_css=False)
    parts["calibration"] = upload_button(
        UploadKind.CALIBRATION, "Calibration file", accept=".json", elem_id="calibration", is_removable=True
    )
    with gr.Row(elem_id="find-row"):
        parts["find"] = gr.Button("Find paths", variant="primary", scale=3, elem_id="find")
        parts["stop_plan"] = gr.Button("Stop", variant="stop", scale=1, min_width=80)
    parts["links"] = gr.HTML("", elem_id="links", min_height=24, apply_default_css=False)
    parts["choice"] = gr.Radio(label="Show alternative", choices=[], visible=False, elem_id="alternative")
    parts["plan_summary"] = gr.HTML(wording.NO_PLAN, elem_id="plan-summary", min_height=96, apply_default_css=False)
