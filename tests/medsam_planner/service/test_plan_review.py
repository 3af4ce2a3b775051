"""A plan is reviewed by a program as on the page: lines placed by hand, decisions, what ends them, the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from medsam_planner.client import Client, RemoteSession
from medsam_planner.errors import ForbiddenError, NotThereError, OperationCancelledError, PlanningError, StaleError
from medsam_planner.planning.plan_file_tables import PlanFile
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.access import Access
from medsam_planner.service.core.service import Service
from medsam_planner.service.http.app import make_app
from medsam_planner.service.settings import Settings
from medsam_planner.service.showing import shown
from medsam_planner.service.snapshot import Snapshot
from prompts import Click
from tests.medsam_planner.service.rest import lesion_box, logged_in, people_of
from tests.ui.serving import served

PLAN = {
    "tool": {"radius_mm": 1.0},
    "target": {"point_lps_mm": [0.0, -30.0, 0.0], "radius_mm": 1.0},
    "entry": {"skin": True, "centre_lps_mm": [0.0, -84.0, 0.0], "radius_mm": 25.0},
    "structures": [{"name": "lesion", "role": "avoid"}],
    "search": {"candidates": 200, "alternatives": 2},
    "unsegmented_bone": {"avoid": False},
}
LINE = ([5.0, -84.0, 0.0], [0.0, -30.0, 0.0])


@dataclass
class World:
    """A server on which Paul has a session with a 3D result; Ann may annotate there."""

    address: str
    service: Service
    session: RemoteSession
    ann: RemoteSession
    """Ann's hands on the same session: what she sends carries Paul's lease."""

    def plan(self) -> str:
        """A plan without its report, which takes longest."""
        work, asked = self.service.session(self.session.identifier), PlanFile.model_validate(PLAN)
        origin = PlanOrigin(plan_file=asked.model_dump(mode="json"))
        return str(self.session.wait(self.service.plan_at_once(work, asked.request(), origin))["plan"])

    def files(self, plan: str) -> tuple[dict[str, Any], str]:
        """``plan.json`` and the report, as they are given out."""
        folder = f"{self.address}/api/v1/sessions/{self.session.identifier}/plans/{plan}"
        headers = self.session._transport._http.headers
        document = httpx.get(folder, headers=headers).json()
        return document, httpx.get(f"{folder}/report.html", headers=headers).text


@pytest.fixture(scope="module")
def world(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(out=tmp_path_factory.mktemp("review") / "data", model=model, roots=(study_path.parent,))
    people = people_of(settings.out)
    service = Service(settings)
    with closing(service), served(make_app(service, access=Access(people=people))) as address:
        tokens = {name: logged_in(address, name)["Authorization"].removeprefix("Bearer ") for name in ("paul", "ann")}
        with Client(address, token=tokens["paul"]) as paul, Client(address, token=tokens["ann"]) as ann:
            study = paul.open_study(study_path.name)
            session = paul.open_session(study)
            session.add("lesion", lesion_box())
            session.segment("lesion", samples=0)
            grants = f"{address}/api/v1/studies/{study.id}/rights"
            httpx.put(grants, json={"ann": "planner"}, headers={"Authorization": f"Bearer {tokens['paul']}"})
            theirs = RemoteSession(ann._transport, session.identifier, session._lease)
            yield World(address, service, session, theirs)


def test_a_line_is_measured_kept_accepted_and_reported_and_its_undoing_ends_the_acceptance(world: World) -> None:
    session, plan = world.session, world.plan()
    found = session.review(plan)
    assert found["holds"] and found["decision"] is None and not found["can_undo"]
    shown_mm = [one["certified_clearance_mm"] for one in found["paths"]["tool"]]
    assert shown_mm == [one["certified_clearance_mm"] for one in world.files(plan)[0]["alternatives"]] != []

    measured = session.measure_line(plan, *LINE)
    assert measured["is_at_surface"] and measured["broken_limits"] == []
    clearance = session.clearance(
        {"tool": PLAN["tool"], "structures": PLAN["structures"]},
        [[measured["line"]["entry_lps_mm"], measured["line"]["target_lps_mm"]]],
    )
    assert measured["line"]["certified_clearance_mm"] == pytest.approx(clearance["certified_mm"][0], abs=0.02)
    assert session.review(plan) == found  # measuring has changed nothing

    session.place_line(plan, *LINE)
    paths = session.review(plan)["paths"]["tool"]
    assert len(paths) == len(found["paths"]["tool"]) + 1 and paths[-1]["by_hand"]
    np.testing.assert_allclose(paths[-1]["entry_lps_mm"], measured["line"]["entry_lps_mm"])

    session.wait(session.begin_report(plan))
    document, report = world.files(plan)
    assert document["alternatives"][0]["by_hand"] and "Nobody has accepted" in report
    assert document["provenance"]["case"]["search"]["candidates"] == 200
    again = session.review(plan)
    assert again["is_written"] and again["paths"]["tool"] == paths  # they keep their numbers

    session.decide(plan, "accepted", path=len(paths), comment="seen  by\ntwo")
    document, report = world.files(plan)
    assert (document["decision"]["kind"], document["decision"]["by"]) == ("accepted", "paul")
    assert document["decision"]["comment"] == "seen by two" and f"path {len(paths)}" in document["decision"]["path"]
    assert "Accepted: path" in report and "by paul" in report and "seen by two" in report
    told = [json.loads(line) for line in world.service.audit.path.read_text().splitlines()]
    assert any(one["event"] == "decided" and f"accepted plan {plan}" in one["what"] for one in told)
    assert "seen by" not in world.service.audit.path.read_text()

    page = shown(world.service, world.service.session(session.identifier), Snapshot())
    assert page.review.decision is not None and page.review.decision.text == document["decision"]["text"]
    assert page.chosen_trajectory_lps_mm is not None
    np.testing.assert_allclose(page.chosen_trajectory_lps_mm[0], paths[-1]["entry_lps_mm"])

    session.undo_line(plan)
    assert session.review(plan)["decision"]["kind"] == "withdrawn"
    assert "No longer accepted" in world.files(plan)[1]
    session.redo_line(plan)
    with pytest.raises(PlanningError, match="no path placed by hand to undo or redo"):
        session.redo_line(plan)
    session.decide(plan, "rejected", comment="too close")
    assert world.files(plan)[0]["decision"]["kind"] == "rejected"


def test_what_is_sent_again_after_a_lost_answer_is_done_once(world: World) -> None:
    session = world.session
    jobs = {session._ask("POST", "/plans?event_id=plan-1", body=PLAN)["job"] for _ in range(2)}
    assert len(jobs) == 1
    session.cancel(jobs.pop())
    plan = world.plan()
    line = {"entry_lps_mm": LINE[0], "target_lps_mm": LINE[1], "event_id": "line-1"}
    decision = {"decision": "accepted", "event_id": "decision-1"}
    for what, body in (("lines", line), ("decision", decision)):
        numbers = {session._ask("POST", f"/plans/{plan}/{what}", body=body)["n"] for _ in range(2)}
        assert len(numbers) == 1, what
    assert sum(one["by_hand"] for one in session.review(plan)["paths"]["tool"]) == 1
    assert session.review(plan)["decision"]["kind"] == "accepted"
    with pytest.raises(ValueError, match="event_id of its own"):
        session._ask("POST", f"/plans/{plan}/decision", body={**decision, "comment": "another"})


def test_who_may_not_plan_decides_nothing_and_may_look(world: World) -> None:
    plan = world.plan()
    before = world.session.review(plan)
    for act in (
        lambda: world.ann.decide(plan, "accepted"),
        lambda: world.ann.place_line(plan, *LINE),
        lambda: world.ann.undo_line(plan),
        lambda: world.ann.begin_report(plan),
    ):
        with pytest.raises(ForbiddenError, match="Expected the role planner"):
            act()
    assert world.ann.review(plan) == before
    assert world.ann.measure_line(plan, *LINE)["tool"] == "tool"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"decision": "rejected"}, "Say in the comment why"),
        ({"decision": "accepted", "path": 99}, "Expected a path from 1 to"),
        ({"decision": "accepted", "tool": "drill"}, "Expected one of the tools"),
        ({"decision": "accepted", "comment": "x" * 1001}, "at most 1000 characters"),
        ({"decision": "accepted", "comment": "a\x00b"}, "control characters"),
        ({"decision": "accepted", "comment": "\ud800"}, "comment"),
        ({"decision": "withdrawn"}, "decision"),
        ({"decision": "accepted", "path": 0}, "path"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_and_nothing_is_written(
    world: World, entries: dict[str, Any], said: str
) -> None:
    work = world.service.session(world.session.identifier)
    plan = work.state.plan or world.plan()
    n = work.state.n
    answer = httpx.post(
        f"{world.address}/api/v1/sessions/{work.identifier}/plans/{plan}/decision",
        content=json.dumps(entries),
        headers={
            **world.session._transport._http.headers,
            "Lease": world.session._lease,
            "Content-Type": "application/json",
        },
    )
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.text
    assert work.state.n == n


def test_a_line_that_begins_below_the_skin_is_measured_and_not_kept(world: World) -> None:
    plan = world.plan()
    inside = [[0.0, -60.0, 0.0], LINE[1]]
    assert world.session.measure_line(plan, *inside, on_surface=False)["not_certified"]
    with pytest.raises(PlanningError, match="Expected an entry on the surface"):
        world.session.place_line(plan, *inside, on_surface=False)
    with pytest.raises(PlanningError, match="Expected one of the tools"):
        world.session.place_line(plan, *LINE, tool="drill")


@pytest.mark.parametrize("far", [1e10, 9999.0, -300.0])
def test_a_line_far_outside_the_images_is_refused_and_takes_no_memory(world: World, far: float) -> None:
    plan = world.service.session(world.session.identifier).state.plan or world.plan()
    for line in (([far, far, far], LINE[1]), (LINE[0], [0.0, far, 0.0])):
        with pytest.raises(PlanningError, match="within 50 mm of the images"):
            world.session.measure_line(plan, *line)
        with pytest.raises(PlanningError, match="within 50 mm of the images"):
            world.session.place_line(plan, *line)


def test_a_plan_is_there_before_its_report_which_ends_when_another_plan_takes_its_place(world: World) -> None:
    work, asked = world.service.session(world.session.identifier), PlanFile.model_validate(PLAN)
    request, origin = asked.request(), PlanOrigin(plan_file=asked.model_dump(mode="json"))
    plan = world.service.plan(work, request, origin, event="once")
    world.session.wait(plan)
    writing = world.session.review(plan)["writing"]
    assert writing is not None and world.session.review(plan)["holds"]
    document, refused = world.files(plan)
    assert document["alternatives"] and f"when job {writing} has ended" in refused
    assert world.service.plan(work, request, origin, event="once") == plan  # the same request again stops nothing
    assert world.session.review(plan)["writing"] == writing
    world.plan()
    with pytest.raises(OperationCancelledError):
        world.session.wait(writing)
    assert world.session.review(plan)["writing"] is None


def test_a_plan_that_no_longer_holds_is_neither_accepted_nor_changed(world: World) -> None:
    first, second = world.plan(), world.plan()
    assert not world.session.review(first)["holds"] and world.session.review(second)["holds"]
    for act in (
        lambda: world.session.decide(first, "accepted"),
        lambda: world.session.place_line(first, *LINE),
        lambda: world.session.undo_line(first),
        lambda: world.session.begin_report(first),
    ):
        with pytest.raises(StaleError, match="no longer holds"):
            act()
    for unknown in ("0" * 32, "..%2f..", second[:-1]):
        with pytest.raises(NotThereError):
            world.session.decide(unknown, "accepted")
    n = world.session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    with pytest.raises(PlanningError, match="Prompts changed since"):
        world.session.decide(second, "accepted")
    with pytest.raises(StaleError):
        world.session.place_line(second, *LINE)
    world.session.remove(n)
