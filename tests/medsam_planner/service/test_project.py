"""Several people annotate one project through the service: who has what, whose mask counts, who may do what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import (
    ConfigError,
    ForbiddenError,
    LeaseHeldError,
    LeaseLostError,
    NotThereError,
    ServiceError,
    StaleError,
)
from medsam_planner.io import load_volume
from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.service.core.service import Service
from medsam_planner.service.settings import Settings
from prompts import Box, Click
from tests.medsam_planner.adaptation.test_adapt import write_ball
from tests.medsam_planner.service.rest import PASSWORDS, TOKEN, people_of, serving


@dataclass
class World:
    """A server with a project of three studies, on which Ann and Paul annotate."""

    address: str
    project: Project
    data: Path

    def client(self, who: str) -> Client:
        return Client.log_in(self.address, who, PASSWORDS[who])


def ball_box(project: Project, name: str, *, grown: int = 0) -> Box:
    """A box around the ball of a study, on its middle slice."""
    image = project.image(project.study(name))
    inside = np.argwhere(np.asarray(image.array) > 100)
    low, high = np.percentile(inside, [2, 98], axis=0)
    middle = round(float(np.median(inside[:, 0])))
    first, last = (image.affine @ (middle, *(end[1:] + shift), 1) for end, shift in ((low, -grown), (high, grown)))
    return Box(tuple(first[:3]), tuple(last[:3]))


@pytest.fixture(scope="module")
def world(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("annotation")
    project = Project.init(folder / "project", "Balls", ["lesion"], annotators=["ann", "paul", "vera"])
    for number in range(3):
        add_image(project, write_ball(folder / "cases", number), who="ann")
    settings = Settings(out=folder / "data", model=model, project=project.folder)
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        yield World(address, project, settings.out)


def states(client: Client) -> dict[str, tuple[str, str | None]]:
    return {one["name"]: (one["state"], one["held_by"]) for one in client.project.listed()["studies"]}


def test_a_study_goes_from_hand_to_hand_and_every_mask_keeps_who_made_it(world: World, tmp_path: Path) -> None:
    ann, paul = world.client("ann"), world.client("paul")
    hers = ann.project.open("case_0")
    assert states(paul)["case_0"] == ("new", "ann")
    with pytest.raises(LeaseHeldError, match="ann has case_0 open"):
        paul.project.open("case_0")
    with pytest.raises(LeaseHeldError, match="ann has case_0 open"):
        paul.project.exclude("case_0", "mine")

    hers.add("lesion", ball_box(world.project, "case_0"))
    with pytest.raises(StaleError, match="‘lesion’ has no 3D mask of its present prompts"):
        hers.save_to_project()
    hers.segment("lesion", samples=0)
    saved = hers.save_to_project(seconds=30.0)
    assert saved == {"study": "case_0", "state": "prompted", "recorded": ["lesion"]}
    hers.save("lesion", "mask.nii.gz", tmp_path / "hers.nii.gz")
    kept = world.project.masks("case_0")["lesion"]
    image = world.project.image(world.project.study("case_0"))
    assert np.array_equal(kept.array, load_volume(tmp_path / "hers.nii.gz", modality="MR").array > 0)
    assert np.allclose(kept.affine, image.affine)
    with pytest.raises(StaleError, match="No mask of case_0 is new"):
        hers.save_to_project()
    hers.release()

    his = paul.project.open("case_0")
    assert len(his.structures()["lesion"].prompts) == 1, "his session begins from her mask"
    with pytest.raises(StaleError, match="No mask of case_0 is new"):
        his.save_to_project()
    his.add("lesion", ball_box(world.project, "case_0", grown=3))
    his.segment("lesion", samples=0)
    assert his.save_to_project(reviewed=True)["state"] == "reviewed"
    assert [(one.kind, one.who) for one in world.project.events("case_0")] == [
        ("added", "ann"), ("recorded", "ann"), ("recorded", "paul"), ("reviewed", "paul")
    ]  # fmt: skip
    assert [one.content["seconds"] for one in world.project.events("case_0") if one.kind == "recorded"] == [30.0, None]
    with pytest.raises((LeaseHeldError, LeaseLostError)):
        hers.save_to_project()
    his.release()

    again = ann.continue_session(hers.identifier)  # it still shows her own mask
    again.add("lesion", Click(ball_box(world.project, "case_0").corner_lps_mm))
    again.segment("lesion", samples=0)
    with pytest.raises(StaleError, match="paul changed case_0 meanwhile"):
        again.save_to_project()
    again.release()
    told = [json.loads(line) for line in (world.data / "audit.jsonl").read_text().splitlines()]
    assert sum("the project" in one.get("what", "") for one in told if one["event"] == "changed") >= 2


def test_one_s_own_session_is_gone_on_with(world: World) -> None:
    with world.client("ann") as ann:
        first = ann.project.open("case_1")
        first.add("lesion", ball_box(world.project, "case_1"))
        with pytest.raises(LeaseHeldError):
            ann.project.open("case_1")
        second = ann.project.open("case_1", take_over=True)
        assert second.identifier == first.identifier
        second.release()


def test_of_two_people_who_open_a_study_at_once_one_has_it(world: World) -> None:
    clients, found = {who: world.client(who) for who in ("ann", "paul")}, {}

    def open_it(who: str) -> None:
        try:
            found[who] = clients[who].project.open("case_2")
        except LeaseHeldError as error:
            found[who] = error

    threads = [threading.Thread(target=open_it, args=(who,)) for who in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (refused,) = [one for one in found.values() if isinstance(one, LeaseHeldError)]
    (winner,) = [who for who, one in found.items() if one is not refused]
    assert f"{winner} has case_2 open" in str(refused)
    found[winner].release()


def test_a_study_is_excluded_with_a_reason_and_reopened(world: World) -> None:
    with world.client("paul") as paul:
        assert paul.project.exclude("case_2", "motion")["state"] == "excluded"
        (row,) = [one for one in paul.project.listed()["studies"] if one["name"] == "case_2"]
        assert row["reason"] == "motion"
        with pytest.raises(ConfigError, match="case_2 is excluded"):
            paul.project.open("case_2")
        assert paul.project.reopen("case_2")["state"] == "new"
        assert [(one["who"], one["kind"], one["reason"]) for one in paul.project.history("case_2")][1:] == [
            ("paul", "excluded", "motion"), ("paul", "reopened", None)
        ]  # fmt: skip


def test_who_views_looks_at_the_list_and_who_is_no_annotator_changes_nothing(world: World) -> None:
    with world.client("vera") as vera, world.client("mallory") as mallory:
        assert set(states(vera)) == {"case_0", "case_1", "case_2"}
        for act in (lambda: vera.project.open("case_2"), lambda: vera.project.exclude("case_2", "no")):
            with pytest.raises(ForbiddenError):
                act()
        for act in (lambda: mallory.project.open("case_2"), lambda: mallory.project.reopen("case_2")):
            with pytest.raises(ConfigError, match="Expected one of the annotators"):
                act()
    assert world.project.study("case_2").state is State.NEW


@pytest.mark.parametrize("name", ["no such", "../../etc", "case_0/../case_1", "x" * 3000])
def test_a_study_that_is_not_there_is_said_to_be_so(world: World, name: str) -> None:
    with world.client("ann") as ann, pytest.raises(ServiceError):
        ann.project.open(name)


def test_a_session_on_another_study_is_not_saved_into_the_project(world: World, study_path: Path) -> None:
    with world.client("ann") as ann:
        session = ann.open_session(ann.upload_study(study_path, modality="CT"))
        with pytest.raises(ConfigError, match="Open the study from the project first"):
            session.save_to_project(reviewed=True)
        session.release()


def test_an_image_that_changed_is_not_opened(world: World, study_path: Path) -> None:
    place = world.project.folder / "studies/case_2/image.nii.gz"
    before = place.read_bytes()
    place.write_bytes(study_path.read_bytes())
    try:
        with world.client("ann") as ann, pytest.raises(ConfigError, match="has other voxels than when it was added"):
            ann.project.open("case_2")
    finally:
        place.write_bytes(before)


def test_the_order_by_worth_is_computed_beside_the_sessions(world: World) -> None:
    with world.client("ann") as ann:
        assert ann.project.listed("worth")["condition"] == "absent"
        ann.project.begin_order()
        until = time.monotonic() + 240
        while (found := ann.project.listed("worth"))["condition"] == "computing" and time.monotonic() < until:
            time.sleep(0.2)
        assert found["condition"] == "current", found
        assert {one["name"] for one in found["studies"]} == {"case_0", "case_1", "case_2"}
        assert found["studies"][-1]["name"] == "case_0", "what is reviewed comes last"
        ann.project.exclude("case_2", "later")
        assert ann.project.listed("worth")["condition"] == "outdated"
        ann.project.reopen("case_2")


def test_a_server_without_a_project_says_so_and_one_of_a_wrong_folder_does_not_start(
    settings: Settings, tmp_path: Path
) -> None:
    with serving(settings) as address, Client(address) as client:
        for act in (client.project.listed, lambda: client.project.open("case_0"), client.project.begin_order):
            with pytest.raises(NotThereError, match="--project DIR"):
                act()
    with pytest.raises(ConfigError):
        Service(Settings(out=tmp_path / "other", project=tmp_path))
