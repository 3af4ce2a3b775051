"""Every word the workbench says, and how figures are said."""

from __future__ import annotations

import html
from collections.abc import Iterable

from medsam_planner.planning.search import PlanResult
from medsam_planner.report.assessment import Assessment
from medsam_planner.service.structure import Structure
from prompts import PromptLog

__all__ = ["after_plan", "after_prompt", "has_doubt", "notes_html", "notice", "side_name", "sources"]

TITLE = "MedSAM Planner"
RESEARCH_USE = "Research use only. Not a medical device."
NO_STUDY = "No study is open. Type the path of a study, or upload one."
NO_STRUCTURE = "Open a study to begin."
NO_RESULT = "Not run to 3D yet. Draw a box around the structure on one slice, then press “Run to 3D”."
HINT = (
    "Drag: box · click: inside · right-click or Shift-click: outside · wheel or arrow keys: slices · "
    "Ctrl + wheel: zoom · middle drag: move"
)
OPENED = "Draw a box around a structure on one slice."
TILTED = "Tick “Straighten the gantry tilt” below the path, then press “Open” again."
TARGET_SET = "Target set. Now set the entry."
ENTRY_SET = "Entry set. Choose what to avoid, then press “Find paths”."
UNEXPECTED = "Something went wrong that nobody expected (number {}). Your prompts are kept; the server’s log says more."
STOPPED = "Stopped. Nothing was changed."
STOPPING = "Stopping at the next step …"
NOTHING_RUNS = "Nothing is being computed, so there is nothing to stop."
LOST_TITLE = "The connection to the workbench is lost."
LOST_TEXT = "What you did is kept on the server; nothing you do now is sent. This bar goes when the connection is back."
ELSEWHERE_TITLE = "This work was taken up in another window."
ELSEWHERE_TEXT = "Go on there, or"
TAKE_BACK = "take it back here"
TAKING_UP = "Your earlier work is being taken up …"
HERE_AGAIN = "Your work is here again. If the last thing you did is missing, repeat it."
STILL_COMPUTING = "Your work is here again; a computation on it is still running."
PUT_ASIDE = "This page's work was put aside on the server, and is taken up again. Then repeat what you just did."
NOT_TAKEN_UP = "Your earlier work could not be taken up."
OPEN_AGAIN = "The work itself is kept: open or upload the same study as it was, and it goes on."
EARLIER = "Earlier work of this browser, kept on the server"
EARLIER_INFO = "Choose one to go on with it."
NO_WAY = "No single limit makes a path possible. Move the entry or the target, or avoid less."
ROOM_IS = (
    "Room: certified distance beyond the margin, the tool’s radius and its error. "
    "Hit: chance that the tool touches a structure, with its 95 % interval."
)
OUTDATED = "Prompts changed since this plan was made. Run the structure to 3D and plan again."
NO_PLAN = "<p>No plan yet.</p>"
PLAN_STEPS = (
    "1. Run the structures to 3D and say under “Segment” what to avoid. 2. “Set target” and “Set entry” on the slices. "
    "3. Find paths."
)
DRAFT_LABELS = {
    "target_radius_mm": "target radius (mm)",
    "entry_radius_mm": "entry radius (mm)",
    "tool_radius_mm": "tool radius (mm)",
    "base_margin_mm": "margin (mm)",
    "margin_factor": "+ factor × spread",
    "margin_cap_mm": "margin at most (mm)",
    "max_length_mm": "longest path (mm)",
    "max_angle_deg": "off the normal (°)",
    "free_entry_mm": "free at entry (mm)",
    "alpha": "may fail (α)",
}
AVOID_BONE = "Avoid unsegmented bone (CT)"
AVOID_BONE_INFO = "Untick where the tool may go through bone."
CALIBRATION = "With a calibration file: margins with a stated confidence, in place of the three numbers for margins"
WHY_MARGINS = "Why the margins are as wide as they are"
SOURCES_FROM = "Uncertainty from"
SOURCES_INFO = "Each run differs in all that is ticked."
SOURCE_LABELS = {
    "dropout": "dropout (model)",
    "jitter": "jitter (prompt)",
    "augment": "augment (image)",
    "triplanar": "triplanar (planes)",
}
NO_SOURCE = "Tick what the uncertainty comes from, or set the runs to 0."
ROLE_LABELS = {"ignore": "ignore", "avoid": "avoid", "inside": "stay inside"}
_SIDE_NAMES = {
    "L": "left",
    "R": "right",
    "P": "back",
    "A": "front",
    "S": "head",
    "I": "feet",
}


def notice(kind: str, text: str, notes: Iterable[str] = ()) -> str:
    """What is said above the picture, in a place whose height stays, so that the picture does not move under the hand.

    Parameters
    ----------
    kind : str
        ``"info"``, ``"done"``, ``"caution"`` or ``"error"``.
    text : str
    notes : iterable of str
        What to know beside it.
    """
    if not text:
        return '<div class="mv-notice mv-quiet">&nbsp;</div>'
    role = "alert" if kind == "error" else "status"
    return f'<div class="mv-notice mv-{kind}" role="{role}">{html.escape(text)}{notes_html(notes)}</div>'


def notes_html(notes: Iterable[str]) -> str:
    """What was noticed while a study was opened or results were made, one a line; nothing for none."""
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="mv-warning mv-notes">{listed}</ul>' if listed else ""


def sources(name: str) -> str:
    """``"dropout+jitter"`` → ``"dropout (model) and jitter (prompt)"``."""
    *others, last = (SOURCE_LABELS[part] for part in name.split("+"))
    return f"{', '.join(others)} and {last}" if others else last


def side_name(letter: str) -> str:
    """``"S"`` → ``"head"``."""
    return _SIDE_NAMES[letter]


def after_prompt(structure: Structure, log: PromptLog) -> str:
    """What to say when the prompts changed."""
    if not log.prompts:
        return "No prompts are left. Draw a box around the structure."
    if not structure.previews:
        return "That says where the structure is not. Now draw a box, or click inside it."
    if not any((found > 0.5).any() for slices in structure.previews.values() for found in slices.values()):
        return "The model found nothing there. Try a box closer around the structure."
    return "The dashed outline is the answer on this slice. Correct it with clicks, or press “Run to 3D”."


def after_plan(plan: PlanResult | None, assessment: Assessment | None = None) -> str:
    """What to say when the planner has answered."""
    if plan is not None and plan.reasons and not plan.feasible:
        return plan.reasons[0]
    if plan is None or not plan.feasible:
        return "No path keeps every limit. See below what to relax; the report shows why."
    rooms = sorted({f"{one.certified_clearance_mm:.1f}" for one in plan.alternatives}, key=float)
    room = f"{' to '.join(dict.fromkeys((rooms[0], rooms[-1])))} mm of room beyond all margins"
    if assessment is not None and assessment.verdict.kind == "unchecked":
        room += ", but not all on the way was checked"
    cautions = " Read the cautions." if assessment is not None and assessment.cautions else ""
    return f"{len(plan.alternatives)} path(s) found, with {room}.{cautions} Open the report to review them."


def has_doubt(assessment: Assessment) -> bool:
    """Whether a plan is anything but feasible without a caution."""
    return assessment.verdict.kind != "feasible" or bool(assessment.cautions)
