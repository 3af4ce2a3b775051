"""The part of the page on which a plan is asked for and read."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.uploads import UploadKind
from ui import wording
from ui.upload_button import upload_button

__all__ = ["PlanPanel"]


@dataclass(frozen=True, slots=True)
class PlanPanel:
    """Its components."""

    numbers: dict[str, gr.Number]
    """By field of :class:`medsam_planner.service.plan_draft.PlanDraft`."""
    avoid_bone: gr.Checkbox
    calibration: gr.HTML
    find: gr.Button
    stop: gr.Button
    choice: gr.Radio
    """Which alternative is drawn."""
    answer: gr.HTML
    export: gr.Button
    links: gr.HTML

    def asked(self) -> list[gr.Number | gr.Checkbox]:
        """What is asked for: the numbers in their order, then whether to keep off bone."""
        return [*self.numbers.values(), self.avoid_bone]

    @classmethod
    def build(cls) -> PlanPanel:
        """Lay the panel out; call inside ``gr.Blocks``."""
        gr.HTML(f'<div class="mv-hint">{wording.PLAN_STEPS}</div>', apply_default_css=False)
        numbers = {}
        rows = list(wording.DRAFT_LABELS.items())
        for start in range(0, len(rows), 3):
            with gr.Row():
                for name, label in rows[start : start + 3]:
                    value = getattr(PlanDraft(), name)
                    numbers[name] = gr.Number(
                        value, label=label, minimum=0, min_width=90, elem_id=name.replace("_", "-")
                    )
                if start + 3 >= len(rows):
                    avoid_bone = gr.Checkbox(
                        PlanDraft().avoid_bone,
                        label=wording.AVOID_BONE,
                        info=wording.AVOID_BONE_INFO,
                        scale=3,
                        elem_id="avoid-bone",
                    )
        gr.HTML(f'<div class="mv-hint">{wording.CALIBRATION}</div>', apply_default_css=False)
        calibration = upload_button(
            UploadKind.CALIBRATION, "Calibration file", accept=".json", elem_id="calibration", is_removable=True
        )
        with gr.Row():
            find = gr.Button("Find paths", variant="primary", scale=3, elem_id="find")
            stop = gr.Button("Stop", variant="stop", scale=1, min_width=80)
        links = gr.HTML("", elem_id="links", min_height=24, apply_default_css=False)
        choice = gr.Radio(label="Show alternative", choices=[], visible=False, elem_id="alternative")
        answer = gr.HTML(wording.NO_PLAN, elem_id="plan-answer", min_height=96, apply_default_css=False)
        export = gr.Button("Prepare download of everything", size="sm", elem_id="export")
        return cls(
            numbers=numbers,
            avoid_bone=avoid_bone,
            calibration=calibration,
            find=find,
            stop=stop,
            choice=choice,
            answer=answer,
            export=export,
            links=links,
        )
