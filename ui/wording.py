"""Texts of the page: labels, messages, and how values are written."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Literal

from medsam_planner.planning.search import PlanResult
from medsam_planner.report.assessment import Assessment
from medsam_planner.service.display import SIDE_NAMES
from medsam_planner.service.login import TITLE
from medsam_planner.service.structure import Role, Structure
from medsam_planner.workflow.export_archive import Content

__all__ = [
    "TITLE",
    "NoticeKind",
    "after_plan",
    "after_prompt",
    "needs_caution",
    "notes_html",
    "notice",
    "side_name",
    "sources",
]

NoticeKind = Literal["info", "done", "caution", "error"]

NO_STUDY = "No study is open. Type the path of a study, or upload one."
NO_STRUCTURE = "Open a study to begin."
NO_RESULT = "No 3D mask yet. Draw a box around the structure on one slice; the 3D mask follows."
HINT = (
    "Drag: box · click: point inside · right-click or Alt + click: point outside · wheel or arrow keys: slice · "
    "right drag: window · middle drag: pan · Ctrl + wheel: zoom · Shift + move: crosshair · ?: all keys"
)
OPENED = "Draw a box around a structure on one slice."
TILTED = "Tick “Straighten the gantry tilt” below the path, then press “Open” again."
CLEARED = "All prompts of this structure were removed. Undo restores them."
TARGET_SET = "Target set. Now set the entry."
ENTRY_SET = "Entry set. Choose the structures to avoid, then press “Find paths”."
BY_HAND = "Edited by hand: a margin’s guarantee does not cover it."
EDITED = f"Only what you painted changed. {BY_HAND}"
EDITED_BEFORE_3D = f"The edit is a step like a click: slices that are propagated follow from it. {BY_HAND}"
EDITED_VOXELS = f"{{}} voxels changed. {BY_HAND}"
NOTHING_CHANGED = "The mask is so already; nothing changed."
EDIT_TITLE = "Edit the mask by hand"
EDIT_HINT = (
    "Brush (D), eraser (X) and, with them, “Keep island” are above the image. An edit counts as drawn by you: it shows "
    "no uncertainty, and a margin’s guarantee does not cover it. Undo takes back one step."
)
OPERATION = "On the whole mask"
AMOUNT = "how much"
EXPORT = "What goes into the zip"
EXPORT_INFO = "Structures whose prompts changed since their 3D result are left out, and named."
CONTENT_LABELS = {
    Content.RESULTS: "all results, as the command line writes them, with the plan",
    Content.LABEL_MAP: "label map of all structures (NIfTI, with a table of names and colours)",
    Content.SEGMENTATION: "DICOM Segmentation",
    Content.MESHES: "meshes (STL, GLB)",
    Content.PROMPTS: "prompt log",
    Content.NNUNET: "folder for nnU-Net v2, with the image",
    Content.DECATHLON: "folder for MONAI (Medical Segmentation Decathlon), with the image",
}
IGNORE_UNREVIEWED = "nnU-Net: ignore slices that nobody has looked at"
IGNORE_UNREVIEWED_INFO = "Slices without a prompt or an edit get the label “ignore”."
DOWNLOAD_READY = "The download is ready."
UNEXPECTED = "Unexpected error {}. Your prompts are saved; the server’s log has the details."
STOPPED = "Stopped. Nothing was changed."
STOPPING = "Stopping …"
NOTHING_RUNS = "No computation is running."
LOST_TITLE = "Connection to the server lost."
LOST_TEXT = (
    "Your work is saved on the server, but what you do now is not sent. "
    "This message disappears when the connection is back."
)
ELSEWHERE_TITLE = "This work was opened in another window."
ELSEWHERE_TEXT = "Continue there, or"
TAKE_BACK = "take it back here"
RESTORING = "Restoring your earlier work …"
RESTORED = "Your work was restored. If your last action is missing, repeat it."
STILL_COMPUTING = "Your work was restored; a computation on it is still running."
EVICTED = "The work of this page is being restored. When it is back, repeat your last action."
NOT_RESTORED = "Your earlier work could not be restored."
EARLIER = "Earlier work of this browser, saved on the server"
EARLIER_INFO = "Choose one to continue it."
STRAIGHTEN = "Straighten the gantry tilt (resamples the study)"
NO_WAY = "Relaxing a single limit is not enough. Move the entry or the target, or avoid fewer structures."
CLEARANCE_IS = (
    "Clearance: certified, which means a guaranteed lower bound of the distance between the tool, with its placement "
    "error, and the structures with their margins. "
    "Hit probability: highest probability of hitting any single structure, with its 95 % interval."
)
OUTDATED = "Prompts changed since this plan was made, or a 3D mask is newer than it. Find paths again."
REPORT_BEGUN = "The report is being written; you can go on meanwhile."
WRITING_REPORT = "Surfaces and report are being written …"
NO_REPORT = "The report could not be written: {}"
NO_PLAN = "<p>No plan yet.</p>"
PLAN_STEPS = (
    "1. Under “Segment”, give each structure that the tool must not touch the role “avoid”. 2. Choose the procedure, "
    "then enter the numbers of your own tool. 3. Click the target and the entry on the slices (“Set target”, "
    "“Set entry”). 4. Press “Find paths”."
)
PROCEDURE = "Procedure"
PROCEDURE_INFO = "Enters starting values below: where to begin, not a recommendation."
PROCEDURE_SOURCES = "Where these values are from"
PRESET_ENTERED = "The values of ‘{}’ were entered. Read their sources, and enter the numbers of your own tool."
DRAFT_LABELS = {
    "target_radius_mm": "target radius (mm)",
    "entry_radius_mm": "entry region radius (mm)",
    "tool_radius_mm": "tool radius (mm)",
    "entry_error_mm": "tool error at entry (mm)",
    "target_error_mm": "tool error at target (mm)",
    "base_margin_mm": "base margin (mm)",
    "margin_factor": "margin per mm of spread",
    "margin_cap_mm": "max. margin (mm)",
    "max_length_mm": "max. length (mm)",
    "max_angle_deg": "max. entry angle (°)",
    "free_entry_mm": "outside after entry (mm)",
    "alpha": "miscoverage α",
}
AVOID_BONE = "Avoid unsegmented bone (CT)"
AVOID_BONE_INFO = "Untick if the tool may pass through bone. Has no effect if the tool must stay inside bone."
CALIBRATION = "A calibration file gives margins with confidence 1 − α; the three margin values above are then not used."
WHY_MARGINS = "How the margins were determined"
SAMPLES = "Stochastic passes for the uncertainty (0: none)"
TRIPLANAR = "Propagate in 3 planes"
SOURCES_FROM = "Sources of uncertainty"
SOURCES_INFO = "Each stochastic pass varies all that are ticked."
SOURCE_LABELS = {
    "dropout": "model (dropout)",
    "jitter": "prompt (jitter)",
    "augment": "image (augmentation)",
    "triplanar": "planes (triplanar)",
}
NO_SOURCE = "Tick at least one source of uncertainty, or set the stochastic passes to 0."
BEGIN_FROM = "Begin from a mask"
BEGIN_FROM_INFO = (
    "The mask takes the place of the prompts of the active structure, on the voxels of this study; then correct it. "
    "To begin from another structure, choose it in the list above."
)
BEGUN_FROM = "‘{}’ begins from the mask. Correct it, or press “Segment in 3D”."
CHOOSE_SEGMENT = "The file has {} segments. Choose one below."
CONDITIONS = {
    "new": "no prompts yet",
    "prompted": "not segmented in 3D",
    "segmented": "segmented in 3D",
    "stale": "out of date: prompts changed since",
}
NOT_CODED = "no code for this name: will be ‘Tissue’"
RENAMED = "Renamed."
DELETED = "‘{}’ was deleted with its prompts. “Restore” brings it back."
RESTORED_STRUCTURE = "‘{}’ was restored."
REMOVED = "The prompt was removed. Undo restores it."
ROLE_LABELS = {Role.IGNORE: "ignore", Role.AVOID: "avoid", Role.INSIDE: "stay inside"}
ORDER_LABELS = {"name": "by name", "worth": "most worth annotating first", "random": "random"}
SHOWN_LABELS = {"open": "to be annotated", "reviewed": "reviewed", "excluded": "excluded", "all": "all"}
ORDER_CONDITIONS = {
    "absent": "The order by worth was not computed yet: studies are listed by name.",
    "computing": "The order by worth is being computed, which takes some seconds a study. Refresh to see it.",
    "outdated": "The project has changed since this order was computed. Choose the order again to renew it.",
    "failed": "The order by worth could not be computed:",
}
PROJECT_OPENED = (
    "Opened {} from the project. It begins from the masks that the project has; save yours in the tab “Project”."
)


def notice(kind: NoticeKind, text: str, notes: Iterable[str] = ()) -> str:
    """HTML of the message above the image; its height is fixed, so that the image does not move.

    Parameters
    ----------
    kind : {"info", "done", "caution", "error"}
    text : str
    notes : iterable of str
        Further notes, listed below the text.
    """
    if not text:
        return '<div class="mv-notice mv-quiet">&nbsp;</div>'
    role = "alert" if kind == "error" else "status"
    return f'<div class="mv-notice mv-{kind}" role="{role}">{html.escape(text)}{notes_html(notes)}</div>'


def notes_html(notes: Iterable[str]) -> str:
    """HTML list of notes on a study or on results; empty if there are none."""
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="mv-warning mv-notes">{listed}</ul>' if listed else ""


def sources(name: str) -> str:
    """``"dropout+jitter"`` → ``"model (dropout) and prompt (jitter)"``."""
    *others, last = (SOURCE_LABELS[part] for part in name.split("+"))
    return f"{', '.join(others)} and {last}" if others else last


def side_name(letter: str) -> str:
    """``"S"`` → ``"head"``."""
    return SIDE_NAMES[letter]


def after_prompt(structure: Structure) -> str:
    """Message after a change of the prompts."""
    if not structure.prompts:
        return "No prompts are left. Draw a box around the structure."
    if not structure.previews:
        return "This point says where the structure is not. Now draw a box around it, or click inside it."
    if not any((found > 0.5).any() for slices in structure.previews.values() for found in slices.values()):
        return "The model found nothing there. Draw a box closer around the structure."
    return "The dashed outline is the prediction on this slice. Correct it with clicks; the 3D mask follows."


def after_plan(plan: PlanResult | None, assessment: Assessment | None = None) -> str:
    """Message after a search for paths."""
    if plan is not None and plan.reasons and not plan.feasible:
        return plan.reasons[0]
    if plan is None or not plan.feasible:
        return "No path satisfies all limits. See below which to relax; the report shows why."
    lengths = sorted({f"{one.certified_clearance_mm:.1f}" for one in plan.alternatives}, key=float)
    clearance = f"{' to '.join(dict.fromkeys((lengths[0], lengths[-1])))} mm of clearance beyond all margins"
    if assessment is not None and assessment.verdict.kind == "unchecked":
        clearance += ", but not everything along the path was checked"
    cautions = " Read the cautions." if assessment is not None and assessment.cautions else ""
    return f"{len(plan.alternatives)} path(s) found, with {clearance}.{cautions} Look at them under “Review”."


def needs_caution(assessment: Assessment) -> bool:
    """Whether a plan is not feasible, or is feasible with cautions."""
    return assessment.verdict.kind != "feasible" or bool(assessment.cautions)
