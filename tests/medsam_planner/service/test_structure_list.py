"""The list of structures of a session: names, order, looks, deleting; journalled, and the same after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import NotThereError, PromptError
from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.service.core import structure_changes as changes
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.journal import Record
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.structure_list import Role
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import WorkState
from medsam_planner.service.settings import Settings
from medsam_planner.service.waiting import wait_for
from medsam_planner.workflow.dicom_results import OutputOptions, result_segments
from prompts import Click
from tests.medsam_planner.service.rest import lesion_box, serving

POINT = dict(entry_of(Click((0.0, 0.0, 1.25))))


@pytest.fixture
def work(service: Service, study_path: Path) -> Iterator[Work]:
    work, lease = service.open_session(service.open_path(study_path.name).identifier)
    for name in ("liver", "vessel", "spleen"):
        work.add(name, POINT)
    yield work
    service.leases.release(work.identifier, lease)


def again(work: Work) -> WorkState:
    """As after a restart."""
    return Work(work.folder, work.identifier, work.study).state


def ended(job: str, **result: object) -> list[Record]:
    """Records of a segmentation of the liver that has ended, and of a plan."""
    summary = {"mask_sha256": "0", "volume_ml": 1.0}
    begun = {"kind": "job", "job": job, "task": "segment", "structure": "liver", "digest": "d"}
    return [begun, {"kind": "job-ended", "job": job, "state": "done", "result": summary, **result}]


def after(state: WorkState, *records: Record) -> WorkState:
    for record in records:
        state = state.after({"n": state.n + 1, "at": "", **record})
    return state


def test_a_name_carries_prompts_result_role_and_the_active_place(service: Service, work: Work) -> None:
    work.add("liver", dict(entry_of(lesion_box())))
    assert wait_for(service.jobs, service.segment(work, "liver", SegmentOptions(samples=0)), None).problem is None
    changes.describe(work, "liver", role="avoid")
    work.record("page", page={"active": "liver"})
    before = work.state
    changes.rename(work, "liver", "right lobe")
    now = work.state
    assert list(now.listed) == ["right lobe", "vessel", "spleen"]
    assert now.steps["right lobe"].entries == before.steps["liver"].entries
    assert now.results["right lobe"] is before.results["liver"] and not now.is_stale("right lobe")
    assert now.listed["right lobe"].role is Role.AVOID and now.page["active"] == "right lobe"
    assert "liver" not in now.steps and "liver" not in now.results
    assert service.loaded.result(work, "right lobe", now.results["right lobe"]).structure == "right lobe"
    assert again(work) == now
    changes.rename(work, "right lobe", "liver")  # the inverse takes it back
    assert {name: one.entries for name, one in work.state.steps.items()} == {
        name: one.entries for name, one in before.steps.items()
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vessel", "already"),
        ("Vessel", "capitals"),
        ("a/b", "file"),
        ("skin", "finds in the image"),
        ("", "characters"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(work: Work, name: str, why: str) -> None:
    n = work.state.n
    with pytest.raises(PromptError, match=why):
        changes.rename(work, "liver", name)
    with pytest.raises(NotThereError, match="'liver', 'vessel', 'spleen'"):
        changes.rename(work, "kidney", "left kidney")
    assert work.state.n == n
    changes.rename(work, "liver", "Liver")  # itself in other letters is no other one


def test_a_segmentation_under_way_comes_under_the_new_name() -> None:
    begun, done = ended("j")
    state = after(WorkState(), {"kind": "prompt", "structure": "liver", "entry": POINT}, begun)
    state = after(state, {"kind": "renamed", "structure": "liver", "to": "organ"}, done)
    assert state.results["organ"].job == "j" and "liver" not in state.results


def test_a_deleted_structure_comes_back_as_it_was_with_its_result_and_place() -> None:
    prompted = [{"kind": "prompt", "structure": name, "entry": POINT} for name in ("liver", "vessel", "spleen")]
    state = after(WorkState(), *prompted, *ended("j"), {"kind": "structure", "structure": "liver", "role": "avoid"})
    deleted = after(state, {"kind": "deleted", "structure": "liver"})
    assert list(deleted.listed) == ["vessel", "spleen"] and not deleted.results
    back = after(deleted, {"kind": "restored", "deleted": deleted.n})
    assert (back.listed, back.steps, back.results, back.deleted) == (state.listed, state.steps, state.results, ())
    assert list(back.listed) == ["liver", "vessel", "spleen"]


def test_what_is_computed_for_a_deleted_structure_does_not_come_to_another_of_its_name(work: Work) -> None:
    begun, done = ended("j")
    state = after(WorkState(), {"kind": "prompt", "structure": "liver", "entry": POINT}, begun)
    state = after(state, {"kind": "deleted", "structure": "liver"}, {"kind": "structure", "structure": "liver"}, done)
    assert not state.results and state.condition("liver") == "new"


def test_a_plan_that_may_name_a_structure_ends_when_the_name_goes() -> None:
    plan = [{"kind": "job", "job": "p", "task": "plan"}, {"kind": "job-ended", "job": "p", "state": "done"}]
    prompted = [{"kind": "prompt", "structure": name, "entry": POINT} for name in ("liver", "vessel")]
    state = after(WorkState(), *prompted, *ended("j"), *plan)
    assert state.plan == "p"
    for record in (
        {"kind": "renamed", "structure": "liver", "to": "organ"},
        {"kind": "deleted", "structure": "liver"},
        {"kind": "structure", "structure": "liver", "role": "inside"},
    ):
        assert after(state, record).plan is None, record
    assert after(state, {"kind": "renamed", "structure": "vessel", "to": "artery"}).plan == "p"  # no result, in no plan
    assert after(state, {"kind": "structure", "structure": "liver", "hidden": True}).plan == "p"
    under_way = after(
        state, {**plan[0], "job": "q"}, {"kind": "deleted", "structure": "liver"}, {**plan[1], "job": "q"}
    )
    assert under_way.plan is None


def test_restoring_is_refused_where_another_has_the_name_and_what_was_not_deleted(work: Work) -> None:
    n = changes.delete(work, "liver")
    changes.begin(work, "liver")
    with pytest.raises(PromptError, match="already"):
        changes.restore(work, n)
    changes.rename(work, "liver", "liver 2")
    changes.restore(work, n)
    assert list(work.state.listed) == ["liver", "vessel", "spleen", "liver 2"]
    with pytest.raises(NotThereError):
        changes.restore(work, n)
    with pytest.raises(NotThereError):
        changes.restore(work, 1)
    assert again(work) == work.state


def test_order_colours_and_anatomy_survive_a_restart_and_a_colour_stays_with_its_structure(work: Work) -> None:
    colours = {name: one.colour for name, one in work.state.listed.items()}
    assert len(set(colours.values())) == 3
    changes.order(work, ["spleen", "liver", "vessel"])
    assert list(work.state.listed) == ["spleen", "liver", "vessel"]
    assert {name: one.colour for name, one in work.state.listed.items()} == colours
    changes.describe(work, "vessel", colour="#00ff00", anatomy="portal vein and splenic vein", hidden=True)
    assert work.state.listed["vessel"].anatomy == "portal vein and splenic vein"
    assert again(work) == work.state
    changes.describe(work, "vessel", anatomy=None, hidden=False)
    assert work.state.listed["vessel"].anatomy is None
    with pytest.raises(PromptError, match="every structure"):
        changes.order(work, ["spleen", "liver"])
    with pytest.raises(PromptError, match="every structure"):
        changes.order(work, ["spleen", "liver", "liver"])


@pytest.mark.parametrize(
    "looks",
    [{}, {"role": "destroy"}, {"colour": "red"}, {"colour": "#00FF000"}, {"hidden": 1}, {"anatomy": "flux capacitor"},
     {"anatomy": "x" * 10_000}, {"anatomy": 5}, {"size": 3}],
)  # fmt: skip
def test_looks_that_cannot_be_are_refused(work: Work, looks: dict[str, object]) -> None:
    n = work.state.n
    with pytest.raises(PromptError, match="Expected"):
        changes.describe(work, "liver", **looks)
    assert work.state.n == n


def test_a_change_with_an_event_is_done_once(work: Work) -> None:
    assert changes.rename(work, "liver", "organ", event="a") == changes.rename(work, "liver", "organ", event="a")
    n = changes.delete(work, "organ", event="b")
    assert changes.delete(work, "organ", event="b") == n
    assert changes.restore(work, n, event="c") == changes.restore(work, n, event="c")


def test_the_roles_of_a_journal_from_before_structures_had_records_of_their_own_are_read() -> None:
    state = after(WorkState(), {"kind": "page", "page": {"structures": {"liver": "avoid", "vessel": "ignore"}}})
    assert [(name, one.role) for name, one in state.listed.items()] == [("liver", Role.AVOID), ("vessel", Role.IGNORE)]


def test_a_program_changes_the_list_by_the_client(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name))
        for name in ("liver", "vessel"):
            session.add(name, Click((0.0, 0.0, 1.25)))
        session.rename("liver", "right lobe (VI)")
        session.describe("right lobe (VI)", role="avoid", anatomy="liver", colour="#00ff00", hidden=True)
        session.order(["vessel", "right lobe (VI)"])
        listed = session.structures()
        assert list(listed) == ["vessel", "right lobe (VI)"]
        one = listed["right lobe (VI)"]
        assert (one.role, one.anatomy, one.colour, one.hidden, one.state, len(one.prompts)) == (
            "avoid", "liver", "#00ff00", True, "prompted", 1,
        )  # fmt: skip
        session.describe("right lobe (VI)", anatomy="")
        assert session.structures()["right lobe (VI)"].anatomy is None
        n = session.delete("vessel")
        assert list(session.structures()) == ["right lobe (VI)"]
        session.restore(n)
        assert list(session.structures()) == ["vessel", "right lobe (VI)"]
        for refused in (
            lambda: session.rename("vessel", "right lobe (VI)"),
            lambda: session.describe("vessel", anatomy="flux capacitor"),
            lambda: session.order(["vessel"]),
        ):
            with pytest.raises(PromptError):
                refused()
        with pytest.raises(NotThereError):
            session.delete("spleen")
        terms = httpx.get(f"{address}/api/v1/anatomy").json()
        assert {"name": "liver", "code": "10200004", "meaning": "Liver"} in terms
        assert all(structure_codes(one["name"]).type.value == one["code"] for one in terms)


def test_files_state_the_name_colour_and_anatomy_that_were_chosen_last(service: Service, work: Work) -> None:
    work.add("liver", dict(entry_of(lesion_box())))
    assert wait_for(service.jobs, service.segment(work, "liver", SegmentOptions(samples=0)), None).problem is None
    before, stored = service.result_file(work, "liver", ResultFile.MESH_STL)
    changes.rename(work, "liver", "thing")
    renamed, _ = service.result_file(work, "thing", ResultFile.MESH_STL)
    assert (before.name, renamed.name) == ("liver.stl", "thing.stl")
    assert service.result_file(work, "thing", ResultFile.MASK)[0].parent == renamed.parents[2]  # without a name in it
    changes.describe(work, "thing", anatomy="left kidney", colour="#00ff00")
    options = OutputOptions(looks={"thing": work.state.listed["thing"].look})
    (segment,) = result_segments({"thing": service.loaded.result(work, "thing", stored)}, options)
    assert segment.codes is not None and segment.codes.type.value == "64033007" and segment.codes.laterality == "L"
    assert (segment.label, segment.colour) == ("thing", "#00ff00")
