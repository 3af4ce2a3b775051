"""What a page shows of a session: a function of its journal, in which what did not change is not computed again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from medsam_planner.errors import MedsamPlannerError, PlanningError
from medsam_planner.progress import Progress
from medsam_planner.service.body_box import body_box
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.structure_list import Listed
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import StoredResult, WorkState
from medsam_planner.service.display import Plane, display_for
from medsam_planner.service.hand_mask import hand_mask
from medsam_planner.service.page_state import PageState
from medsam_planner.service.read_plan import found_plan, read_plan
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure

__all__ = ["results_digest", "shown"]


def shown(service: Service, work: Work, known: Snapshot, *, progress: Progress | None = None) -> Snapshot:
    """The session as it is now.

    Parameters
    ----------
    service : Service
    work : Work
    known : Snapshot
        What was shown before, of this session or of another one.
    progress : Progress, optional
        May cancel.

    Raises
    ------
    StudyError
        If the server's copy of the study is gone.
    MedsamPlannerError
        If the model fails on the prompts.
    """
    state, is_other = work.state, known.work != work.identifier
    page = PageState.of(state)
    volume = service.loaded.volume(work.study)
    displays, windows, body = known.displays, known.windows, known.body
    if is_other:
        displays = {plane: display_for(volume, plane) for plane in Plane}
        windows = service.loaded.windows(work.study)
        body = body_box(volume)
    structures, lost = {}, []
    for name, listed in page.listed.items():
        before = None if is_other else _before(known, state, name)
        structures[name], error = _structure(service, work, state, name, before, listed, progress)
        lost += error
    first_version = known.version + 1 if is_other else known.first_version
    has_archive = "job" in page.download and page.download["of"] == results_digest(state)
    return Snapshot(
        first_version=first_version,
        version=first_version + state.n,
        work=work.identifier,
        load_study=partial(service.loaded.volume, work.study),
        structures=structures,
        deleted=state.deleted,
        active=page.active,
        displays=displays,
        windows=windows,
        body=body,
        draft=page.draft,
        has_archive=has_archive,
        download_notes=tuple(page.download["notes"]) if has_archive else (),
        newer=frozenset(filter(state.is_newer_than_plan, structures)),
        lost=tuple(lost),
        **_plan(service, work, state, page, known),
    )


def results_digest(state: WorkState) -> str:
    """SHA-256 of what a download holds: which results and which plan, under which names and codes, in which order."""
    results = [
        [name, one.colour, one.anatomy, state.results[name].job]
        for name, one in state.listed.items()
        if name in state.results
    ]
    return hashlib.sha256(json.dumps([results, state.plan]).encode()).hexdigest()


def _before(known: Snapshot, state: WorkState, name: str) -> Structure | None:
    """The structure as it was shown before, perhaps under another name: its steps are the same."""
    if name in known.structures or name not in state.steps:
        return known.structures.get(name)
    entries = state.steps[name].entries
    return next((one for one in known.structures.values() if entries and one.steps.entries is entries), None)


def _structure(
    service: Service,
    work: Work,
    state: WorkState,
    name: str,
    before: Structure | None,
    listed: Listed,
    progress: Progress | None,
) -> tuple[Structure, list[str]]:
    steps, stored = state.steps.get(name, PromptSteps(name)), state.results.get(name)
    if before is not None and before.stored is not None and stored is None:
        before = None  # it was deleted, and another one of its name begun
    one = replace(before or Structure(name, listed), name=name)
    if before is None or before.steps is not steps:
        one = _with_steps(service, work, one, steps, stored, progress)
    lost = []
    is_renamed = before is not None and before.name != name
    if stored is not None and (stored is not one.stored or is_renamed):
        try:
            one = one.with_result(stored, partial(service.loaded.result, work, name, stored))
        except MedsamPlannerError as error:
            lost.append(f"{error} Run ‘{name}’ to 3D again.")
    return one.seen_as(listed, state.condition(name) if name in state.listed else "new"), lost


def _with_steps(
    service: Service,
    work: Work,
    before: Structure,
    steps: PromptSteps,
    stored: StoredResult | None,
    progress: Progress | None,
) -> Structure:
    """With other steps: what they predict on their slices, and what was edited by hand."""
    if before.steps.digest == steps.digest:
        return before.with_steps(steps, before.previews)
    one = before.with_steps(steps, {})

    def below() -> Any:
        with suppress(MedsamPlannerError):
            return None if stored is None else service.loaded.result(work, one.name, stored).mask.array

    hand = hand_mask(one.prompts, work.study.affine, work.study.shape, below)
    needs_model = steps.applied and not (hand is not None and hand.is_exact)
    previews = service.preview(work, one.name, progress=progress) if needs_model else {}
    return replace(one, previews=previews, hand=hand)


def _plan(service: Service, work: Work, state: WorkState, page: PageState, known: Snapshot) -> dict[str, Any]:
    if state.plan is None:
        return {"lost_decision": state.lost_decision}
    has_report = (work.folder / "plans" / state.plan / "report.html").exists()
    writing = service.jobs.document_of(work, state.plan)
    problem = None if writing is None else writing.problem
    is_known = known.plan_job == state.plan and known.has_report == has_report  # its notes tell what could not be drawn
    read = known.read if is_known else None
    if read is None:
        try:
            read = read_plan(found_plan(service.plan_folder(work, state.plan)))
        except PlanningError as error:
            return {"notes": (str(error),)}
    tool = page.tool if page.tool in read.tools else next(iter(read.tools))
    placed = sum(one["tool"] == tool for one in state.review.lines.values())
    count = len(read.tools[tool].alternatives) + placed
    return {
        "tool": tool,
        "review": state.review,
        "lost_decision": state.lost_decision,
        "has_report": has_report,
        "is_being_written": writing is not None and not writing.state.is_final,
        "report_problem": "" if problem is None else str(problem["detail"]),
        "read": read,
        "notes": read.notes,
        "plan_job": state.plan,
        "chosen": max(min(page.chosen, count - 1), 0),  # a line placed by hand may have been taken back
    }
