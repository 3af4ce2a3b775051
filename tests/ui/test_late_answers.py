"""Answers of the server may overtake each other; what the page shows never goes back to an older state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medsam_planner.service import studies
from medsam_planner.service.core.service import Service
from medsam_planner.service.pages import Pages
from ui import structure_handlers, wording
from ui.events import on_workbench
from ui.screen import screen
from ui.updates import SHOWN


def test_an_answer_older_than_one_that_the_page_was_given_only_says_its_words(
    service: Service, study_path: Path
) -> None:
    pages = Pages(service)
    workbench = pages.begin("page")
    studies.open_study(workbench, str(study_path))
    late = screen(workbench, wording.notice("done", "begun first"))
    structure_handlers.begin(workbench, "vessel")
    newer = on_workbench(pages, screen)(workbench.token)
    assert set(newer) == set(SHOWN)

    answered = on_workbench(pages, lambda _: late)(workbench.token)
    assert set(answered) == {"viewer", "notice", "tabs"}
    assert "begun first" in answered["notice"]
    assert answered["viewer"]["version"] < newer["viewer"]["version"]  # by which the viewer refuses it
    wordless = replace(late, notice=wording.notice("done", ""))
    assert "value" not in on_workbench(pages, lambda _: wordless)(workbench.token)["notice"]  # what is read stays
    assert set(on_workbench(pages, screen)(workbench.token)) == set(SHOWN)
