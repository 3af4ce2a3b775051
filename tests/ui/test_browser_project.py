"""A study of a project is opened, prompted, saved, accepted and excluded on the page."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from tests.medsam_planner.adaptation.test_adapt import write_ball
from tests.ui.browser import Bench, Server

SHOTS = os.environ.get("MEDSAM_PLANNER_SHOTS")


def shoot(bench: Bench, name: str) -> None:
    if SHOTS:
        bench.page.screenshot(path=f"{SHOTS}/{name}.png")


def choose(bench: Bench, name: str) -> None:
    bench.page.get_by_label(name).check()


def told(bench: Bench, words: str) -> None:
    bench.page.wait_for_function(
        "words => document.querySelector('#project-told')?.textContent.includes(words)", arg=words
    )


def test_a_study_is_annotated_from_the_list_of_the_project(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], tmp_path: Path
) -> None:
    project = Project.init(tmp_path / "project", "Balls", ["ball"])
    for number in range(3):
        add_image(project, write_ball(tmp_path / "cases", number), who="ann")
    server = serve(project=project.folder)
    server.pages.service.prepare()  # the worker reads its weights meanwhile
    first = open_bench(server)
    first.page.get_by_role("tab", name="Project").click()
    told(first, "Balls: 3 new")
    choose(first, "case_0 · MR · new")
    shoot(first, "list")
    first.page.locator("#project-open").click()
    first.is_open()
    first.says("Opened case_0 from the project")
    shoot(first, "opened")

    other = open_bench(server)
    other.page.get_by_role("tab", name="Project").click()
    told(other, "Balls: 3 new")
    held = other.page.get_by_text("has it open")
    held.wait_for()
    held.click()
    other.page.locator("#project-open").click()
    other.says("has case_0 open")
    shoot(other, "refused")

    first.settled()
    first.page.mouse.move(*first.pixel("axial", 6, 6))
    first.page.mouse.down()
    first.page.mouse.move(*first.pixel("axial", 26, 26), steps=6)
    first.page.mouse.up()
    first.has_prompts(1)
    first.page.get_by_role("tab", name="Segment").click()
    first.page.locator("#samples input[type=number]").fill("0")
    first.page.locator("#run").click()
    first.page.wait_for_function("document.querySelector('#result')?.textContent.includes('ml')")
    first.page.get_by_role("tab", name="Project").click()
    first.page.locator("#project-accept").click()
    first.says("case_0 is reviewed. Recorded: ‘ball’")
    told(first, "2 new, 1 reviewed")
    assert project.study("case_0").state is State.REVIEWED and project.masks("case_0")["ball"].array.any()

    choose(first, "case_2 · MR · new")
    first.page.get_by_text("Exclude or reopen").click()
    first.page.locator("#project-exclude").click()
    told(first, "Expected a reason to exclude case_2")
    first.page.locator("#project-reason input, #project-reason textarea").fill("motion")
    first.page.locator("#project-exclude").click()
    told(first, "case_2 is excluded")
    shoot(first, "excluded")
    assert project.study("case_2").state is State.EXCLUDED
    assert first.complaints == [] and first.foreign == []
