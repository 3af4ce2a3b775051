"""The journey of a client over real HTTP: study, session, prompts, mask, plan; and every way of being refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from medsam_planner import Session, load_volume, save_nifti
from medsam_planner.client import Client, RemoteSession
from medsam_planner.errors import (
    AtCapacityError,
    LeaseHeldError,
    LeaseLostError,
    MedsamPlannerError,
    NotThereError,
    OperationCancelledError,
    PlanningError,
    PromptError,
    ServiceError,
    StaleError,
    StudyError,
)
from medsam_planner.service.core.options import Limits
from medsam_planner.service.display import Plane, display_for
from medsam_planner.service.settings import Settings
from medsam_planner.volumes import volume_sha256
from prompts import Click
from tests.medsam_planner.io.test_series_volumes import several
from tests.medsam_planner.service.phantom import LESION_LPS_MM, SHAPE
from tests.medsam_planner.service.rest import lesion_box, serving

MOST = 6


@pytest.fixture(scope="module")
def address(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data") / "service"
    with serving(Settings(out=data, model=model, roots=(study_path.parent,)), Limits(MOST)) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture
def session(client: Client, study_path: Path) -> Iterator[RemoteSession]:
    session = client.open_session(client.open_study(study_path.name))
    yield session
    with contextlib.suppress(ServiceError):  # a test gave it away
        session.release()


# ---- the journey ----------------------------------------------------------------------------------------------------
def test_the_mask_of_the_server_equals_that_of_a_local_session_bit_for_bit(
    session: RemoteSession, model: str, study_path: Path, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    session.add("lesion", Click((*LESION_LPS_MM[:2].tolist(), 6.25)))
    session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    session.undo("lesion")
    said = session.segment("lesion", samples=4)

    local = Session(load_volume(study_path), model)
    local.add(lesion_box(), structure="lesion")
    local.add(Click((*LESION_LPS_MM[:2].tolist(), 6.25)), structure="lesion")
    result = local.segment(structure="lesion", samples=4)

    assert said["mask_sha256"] == result.provenance.mask_sha256
    assert result.mask.array.any()
    for name in ("mask", "probability", "uncertainty", "boundary_spread_mm"):
        ours = save_nifti(getattr(result, name), tmp_path / f"{name}.nii.gz")
        theirs = session.save("lesion", f"{name}.nii.gz", tmp_path / "theirs.nii.gz")
        assert theirs.read_bytes() == ours.read_bytes()
    voxels = nibabel.load(tmp_path / "mask.nii.gz")
    assert voxels.shape == SHAPE


def test_a_modality_that_the_files_do_not_say_is_the_one_that_is_said(client: Client, study_path: Path) -> None:
    assert client.upload_study(study_path, modality="MR").modality == "MR"
    assert client.open_study(study_path.name, modality="MR").modality == "MR"
    assert client.open_study(study_path.name).modality == "CT"
    with pytest.raises(ServiceError, match="modality"):
        client.upload_study(study_path, modality="PT")


def test_an_upload_is_the_same_study_as_the_file_itself(client: Client, study_path: Path) -> None:
    here = client.upload_study(study_path)
    there = client.open_study(str(study_path))
    assert (here.sha256, here.shape, here.affine_lps_mm) == (there.sha256, there.shape, there.affine_lps_mm)
    assert here.id != there.id
    assert {here.id, there.id} <= {study.id for study in client.studies()}


def test_steps_are_undone_redone_and_cleared_as_in_a_prompt_file(session: RemoteSession) -> None:
    session.add("lesion", lesion_box())
    session.clear("lesion")
    session.undo("lesion")
    lesion = session.structures()["lesion"]
    assert [(one["kind"], one.get("undone", False)) for one in lesion.prompts] == [("box", False), ("clear", True)]
    assert (lesion.can_undo, lesion.can_redo, lesion.state) == (True, True, "prompted")
    session.redo("lesion")
    with pytest.raises(PromptError, match="Nothing to redo"):
        session.redo("lesion")


def test_a_prompt_that_is_sent_twice_is_appended_once(session: RemoteSession) -> None:
    first = session.add("lesion", lesion_box(), event_id="one")
    assert session.add("lesion", lesion_box(), event_id="one") == first
    assert len(session.structures()["lesion"].prompts) == 1


def test_one_prompt_is_removed_by_its_number_and_undo_brings_it_back(session: RemoteSession) -> None:
    box = session.add("lesion", lesion_box())
    first = session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    second = session.add("lesion", Click((5.0, 0.0, 1.25), positive=False))
    session.remove(first)
    lesion = session.structures()["lesion"]
    assert lesion.prompts[-1] == {"kind": "removal", "prompt": 1}
    assert lesion.numbers[:3] == (box, first, second)
    with pytest.raises(NotThereError, match=rf"those are {box}, {second}"):
        session.remove(first)
    session.remove(second)
    session.undo("lesion")
    session.undo("lesion")
    session.remove(first)


@pytest.mark.parametrize("n", [0, 1, 99, -1])
def test_what_was_no_prompt_of_the_session_cannot_be_removed(session: RemoteSession, n: int) -> None:
    session.add("lesion", lesion_box())
    with pytest.raises(NotThereError):
        session.remove(n)


def test_the_mask_after_a_removal_is_the_mask_without_that_prompt(
    session: RemoteSession, model: str, study_path: Path
) -> None:
    session.add("lesion", lesion_box())
    n = session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    session.add("lesion", Click((*LESION_LPS_MM[:2].tolist(), 6.25)))
    session.remove(n)
    local = Session(load_volume(study_path), model)
    local.add(lesion_box())
    local.add(Click((*LESION_LPS_MM[:2].tolist(), 6.25)))
    said = session.segment("lesion", samples=0)
    assert said["mask_sha256"] == local.segment(samples=0).provenance.mask_sha256


def test_a_result_of_earlier_prompts_is_called_stale_and_given_only_on_demand(
    session: RemoteSession, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    with pytest.raises(StaleError, match="Segment it first"):
        session.save("lesion", "mask.nii.gz", tmp_path / "a.nii.gz")
    session.segment("lesion", samples=0)
    session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    assert session.structures()["lesion"].state == "stale"
    with pytest.raises(StaleError, match="have changed"):
        session.save("lesion", "mask.nii.gz", tmp_path / "a.nii.gz")
    assert not (tmp_path / "a.nii.gz").exists()
    session.save("lesion", "mask.nii.gz", tmp_path / "a.nii.gz", allow_stale=True)
    session.undo("lesion")
    assert session.structures()["lesion"].state == "segmented"


def test_what_is_chosen_is_exported_as_one_zip_and_the_next_export_takes_its_place(
    session: RemoteSession, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    with pytest.raises(StaleError, match="Nothing was segmented in 3D"):
        session.begin_export(["prompts"])
    session.segment("lesion", samples=0)
    first = session.begin_export(["label-map", "prompts"])
    assert session.wait(first)["bytes"] > 100
    with zipfile.ZipFile(session.save_export(first, tmp_path / "a.zip")) as archive:
        assert archive.namelist() == ["labels.csv", "labels.nii.gz", "prompts.json"]
    second = session.begin_export(["monai"], ignores_unreviewed=True)
    session.wait(second)
    with pytest.raises(NotThereError, match="a later one has taken its place"):
        session.save_export(first, tmp_path / "b.zip")
    for wrong in ([], ["passwords"]):
        with pytest.raises(MedsamPlannerError):
            session.begin_export(wrong)


def test_maps_that_were_not_asked_for_and_objects_that_cannot_be_made_are_not_there(
    session: RemoteSession, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    session.segment("lesion", samples=0)
    with pytest.raises(NotThereError, match="no saliency"):
        session.save("lesion", "saliency.nii.gz", tmp_path / "a")
    with pytest.raises(NotThereError, match="needs a study of DICOM files"):
        session.save("lesion", "seg.dcm", tmp_path / "a")
    with pytest.raises(ServiceError):
        session.save("lesion", "result.npz", tmp_path / "a")
    assert session.save("lesion", "mesh.stl", tmp_path / "a.stl").stat().st_size > 1000
    assert session.save("lesion", "mesh.glb", tmp_path / "a.glb").read_bytes()[:4] == b"glTF"


def test_a_slice_is_a_picture_of_its_size(session: RemoteSession, tmp_path: Path) -> None:
    picture = Image.open(session.save_slice("axial", 20, tmp_path / "a.png"))
    assert (picture.mode, picture.size) == ("L", (SHAPE[2], SHAPE[1]))
    assert np.asarray(picture).std() > 10
    with pytest.raises(NotThereError, match="from 0 to 39"):
        session.save_slice("axial", 40, tmp_path / "b.png")


def test_the_prediction_on_a_prompted_slice_is_a_picture_oriented_as_the_slice(
    session: RemoteSession, model: str, study_path: Path, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    volume = load_volume(study_path)
    local = Session(volume, model)
    local.add(lesion_box())
    (found,) = local.preview().values()
    ((index, prediction),) = found.items()
    picture = np.asarray(Image.open(session.save_preview("lesion", "axial", index, tmp_path / "a.png")))
    shown = display_for(volume, Plane.AXIAL).upright(prediction.probability)
    np.testing.assert_array_equal(picture, np.rint(shown * 255).astype(np.uint8))
    assert picture.max() > 127
    with pytest.raises(NotThereError, match=rf"Predicted are {index}\. Prompt this slice"):
        session.save_preview("lesion", "axial", index + 1, tmp_path / "b.png")
    with pytest.raises(NotThereError, match="None is predicted"):
        session.save_preview("lesion", "coronal", 3, tmp_path / "b.png")
    with pytest.raises(NotThereError, match="from 0 to 39"):
        session.save_preview("lesion", "axial", 40, tmp_path / "b.png")


def test_a_new_prompt_stops_the_segmentation_of_the_earlier_ones_and_of_no_other_structure(
    session: RemoteSession,
) -> None:
    session.add("lesion", lesion_box())
    session.add("organ", lesion_box(1))
    outdated = session.begin_segment("lesion", samples=200)
    queued = session.begin_segment("lesion", samples=0)
    other = session.begin_segment("organ", samples=0)
    session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    for job in (outdated, queued):
        with pytest.raises(OperationCancelledError):
            session.wait(job)
    session.wait(other)
    assert session.structures()["organ"].state == "segmented"


def test_a_plan_keeps_clear_of_what_was_segmented_and_its_report_can_be_read(
    session: RemoteSession, tmp_path: Path
) -> None:
    session.add("lesion", lesion_box())
    session.segment("lesion", samples=0)
    target = [0.0, -30.0, 0.0]
    plan = {
        "tool": {"radius_mm": 1.0},
        "target": {"point_lps_mm": target, "radius_mm": 1.0},
        "entry": {"skin": True, "centre_lps_mm": [0.0, -84.0, 0.0], "radius_mm": 25.0},
        "structures": [{"name": "lesion", "role": "avoid"}],
        "search": {"candidates": 200, "alternatives": 1},
        "unsegmented_bone": {"avoid": False},
    }
    said = session.wait(session.begin_plan(plan))
    assert said["is_feasible"] is True
    report = session.save_report(said["plan"], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in report and "<script" not in report

    lines = [[[0.0, -84.0, 0.0], target], [[-30.0, -84.0, 0.0], LESION_LPS_MM.tolist()]]
    found = session.clearance({"tool": plan["tool"], "structures": plan["structures"]}, lines)
    apart, through = found["certified_mm"]
    assert through < 0 < apart
    assert found["limiting_structure"] == ["lesion", "lesion"]


@pytest.mark.parametrize("huge", [1e20, 1e39])
def test_a_length_beyond_every_patient_is_refused_and_never_a_clearance_without_limit(
    session: RemoteSession, huge: float
) -> None:
    session.add("lesion", lesion_box())
    session.segment("lesion", samples=0)
    through = [[[-30.0, -84.0, 0.0], LESION_LPS_MM.tolist()]]
    avoid, inside = {"name": "lesion", "role": "avoid"}, {"name": "lesion", "role": "inside"}
    wide = {"base_margin_mm": huge, "max_margin_mm": huge}
    for tool, structure in (
        ({}, avoid | wide),
        ({}, inside | wide),
        ({}, avoid | {"spread_factor": huge}),
        ({}, inside | {"free_entry_mm": huge}),
        ({"entry_error_mm": huge}, avoid),
        ({"target_error_mm": huge}, avoid),
    ):
        with pytest.raises((MedsamPlannerError, ValueError), match="1000"):
            session.clearance({"tool": {"radius_mm": 1.0} | tool, "structures": [structure]}, through)
    widest = avoid | {"base_margin_mm": 1000.0, "max_margin_mm": 1000.0}
    none = avoid | {"base_margin_mm": 0.0}
    found = [
        session.clearance({"tool": {"radius_mm": 1.0}, "structures": [one]}, through)["certified_mm"][0]
        for one in (none, widest)
    ]
    assert found[1] == pytest.approx(found[0] - 1000.0, abs=0.1)


def test_a_plan_of_prompts_that_changed_is_refused(session: RemoteSession) -> None:
    session.add("lesion", lesion_box())
    request = {"tool": {"radius_mm": 1.0}, "structures": [{"name": "lesion", "role": "avoid"}]}
    with pytest.raises(StaleError):
        session.clearance(request, [[[0, 0, 0], [1, 1, 1]]])
    with pytest.raises(NotThereError):
        session.clearance({**request, "structures": [{"name": "spleen", "role": "avoid"}]}, [[[0, 0, 0], [1, 1, 1]]])


def test_a_job_tells_its_moves_and_stops_within_a_second(session: RemoteSession) -> None:
    session.add("lesion", lesion_box())
    session.segment("lesion", samples=0)  # the study is in memory, the weights are loaded
    job = session.begin_segment("lesion", samples=16, saliency=True, triplanar=True)
    moved = threading.Event()
    seen: list[Any] = []

    def told(value: Any) -> None:
        seen.append(value)
        if value.done > 0:
            moved.set()

    def waits() -> None:
        with pytest.raises(OperationCancelledError):
            session.wait(job, told)

    waiting = threading.Thread(target=waits)
    waiting.start()
    assert moved.wait(120)
    before_s = time.monotonic()
    session.cancel(job)
    waiting.join(30)
    assert time.monotonic() - before_s < 1.0
    assert seen[-1].state == "cancelled"
    assert len({(one.stage, one.done) for one in seen}) >= 2


# ---- several clients ------------------------------------------------------------------------------------------------
def test_another_client_reads_but_does_not_act_until_it_takes_over(address: str, session: RemoteSession) -> None:
    session.add("lesion", lesion_box())
    with Client(address) as other:
        assert session.identifier in [one["id"] for one in other.sessions() if one["is_held"]]
        with pytest.raises(LeaseHeldError, match="Another client holds"):
            other.continue_session(session.identifier)
        body = {"structure": "lesion", "prompt": {"kind": "clear"}}
        answer = httpx.post(f"{address}/api/v1/sessions/{session.identifier}/prompts", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "lease-held")
        taken = other.continue_session(session.identifier, take_over=True)
        assert len(taken.structures()["lesion"].prompts) == 1
        with pytest.raises(LeaseLostError, match="taken the session over"):
            session.add("lesion", lesion_box())
        taken.release()


def test_the_client_beyond_the_limit_gets_the_typed_error_and_enters_when_another_leaves(
    client: Client, study_path: Path
) -> None:
    study = client.open_study(study_path.name)
    held = []
    with pytest.raises(AtCapacityError, match=f"at most {MOST} sessions"):
        for _ in range(MOST + 1):
            held.append(client.open_session(study))
    held.pop().release()
    held.append(client.open_session(study))
    for one in held:
        one.release()


# ---- refusals -------------------------------------------------------------------------------------------------------
def test_every_refusal_is_a_problem_document_with_a_code_and_what_to_do(address: str) -> None:
    asked = [
        httpx.get(f"{address}/nothing"),
        httpx.get(f"{address}/api/v1/jobs/x"),
        httpx.patch(f"{address}/api/v1/sessions"),
        httpx.post(f"{address}/api/v1/sessions", json={"study": "x"}),
        httpx.post(f"{address}/api/v1/sessions", json={"study": "x", "more": 1}),
        httpx.post(f"{address}/api/v1/sessions", content=b"{"),
        httpx.post(f"{address}/api/v1/sessions", content=b"[" * 100_000, headers={"Content-Type": "application/json"}),
        httpx.post(f"{address}/api/v1/studies", content=b"\xff"),
        httpx.post(f"{address}/api/v1/studies", content=b'{"path": "\\ud800"}'),
        httpx.post(f"{address}/api/v1/studies", files={"other": b"x"}),
        httpx.post(f"{address}/api/v1/studies", files={"file": ("a.nii.gz", gzip.compress(b"no image"))}),
        httpx.post(f"{address}/api/v1/sessions", content=b" " * (9 << 20)),
        httpx.get(f"{address}/api/v1/info", headers={"Origin": "https://evil.example"}),
        httpx.get(f"{address}/api/v1/info", headers={"Host": "evil.example"}),
    ]
    for answer in asked:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["status"] == answer.status_code
        assert all(document[key] for key in ("type", "title", "detail", "code", "do")), document


@pytest.mark.parametrize(
    "prompt",
    [
        {},
        {"kind": "star"},
        {"kind": "click"},
        {"kind": "click", "position_lps_mm": [0, 0]},
        {"kind": "click", "position_lps_mm": [0, 0, 1e9]},
        {"kind": "click", "position_lps_mm": [0, 0, 0], "more": 1},
        {"kind": "click", "position_lps_mm": [0, 0, 0], "undone": True},
        {"kind": "choice", "answer": 0},
        {"kind": "click", "position_lps_mm": ["0", 0, 0]},
    ],
    ids=str,
)
def test_a_prompt_that_no_file_could_hold_is_refused_and_changes_nothing(
    address: str, session: RemoteSession, prompt: Any
) -> None:
    answer = httpx.post(
        f"{address}/api/v1/sessions/{session.identifier}/prompts",
        json={"structure": "lesion", "prompt": prompt},
        headers={"Lease": session._lease},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "prompt"), answer.text
    assert session.structures() == {}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "skin", "x" * 300, ".", "con", "\ud800"], ids=ascii)
def test_a_name_that_could_not_name_a_file_is_refused(address: str, session: RemoteSession, name: str) -> None:
    body = json.dumps({"structure": name, "prompt": {"kind": "clear"}}).encode("ascii")
    answer = httpx.post(
        f"{address}/api/v1/sessions/{session.identifier}/prompts",
        content=body,
        headers={"Lease": session._lease, "Content-Type": "application/json"},
    )
    code = "request" if name == "\ud800" else "prompt"  # half a surrogate pair is no JSON text
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_plan_cannot_name_files_of_the_server(session: RemoteSession, study_path: Path) -> None:
    session.add("lesion", lesion_box())
    ends = {"target": {"point_lps_mm": [0, 0, 0]}, "entry": {"skin": True}, "tool": {"radius_mm": 1.0}}
    for more in (
        {"structures": [{"name": "x", "role": "avoid", "mask": str(study_path)}]},
        {"structures": [{"name": "x", "role": "avoid", "calibration": "/etc/passwd"}]},
        {"study": {"path": str(study_path)}},
        {"target": {"mask": "/etc/passwd"}},
        {"entry": {"mask": "/etc/passwd"}},
    ):
        with pytest.raises((PlanningError, ValueError), match="names files of the server"):
            session.begin_plan({**ends, **more})
    with pytest.raises(ValueError, match="names files of the server"):
        session.clearance(
            {"tool": ends["tool"], "structures": [{"name": "x", "role": "avoid", "mask": "/etc/passwd"}]},
            [[[0, 0, 0], [1, 1, 1]]],
        )


@pytest.fixture
def secret(tmp_path: Path, study_path: Path) -> Path:
    path = tmp_path / "secret.nii.gz"
    path.write_bytes(study_path.read_bytes())
    return path


@pytest.mark.parametrize(
    "way",
    [
        lambda secret, roots: str(secret),
        lambda secret, roots: f"file://{secret}",
        lambda secret, roots: f"/proc/self/cwd/{secret}",
        lambda secret, roots: str(roots / ".." / ".." / secret.relative_to(secret.anchor)),
        lambda secret, roots: "/" + "../" * 30 + str(secret),
        lambda secret, roots: "../" * 30 + str(secret).lstrip("/"),
        lambda secret, roots: f"{secret}\0.nii.gz",
        lambda secret, roots: "~",
        lambda secret, roots: "",
        lambda secret, roots: "/dev/zero",
    ],
    ids=["path", "url", "proc", "up", "far-up", "relative", "nul", "home", "empty", "device"],
)
def test_no_way_of_writing_a_path_leads_out_of_the_allowed_folders(
    client: Client, secret: Path, study_path: Path, way: Any
) -> None:
    with pytest.raises(StudyError):
        client.open_study(way(secret, study_path.parent))


def test_a_link_out_of_an_allowed_folder_is_not_followed(client: Client, secret: Path, study_path: Path) -> None:
    link = study_path.parent / "linked.nii.gz"
    link.symlink_to(secret)
    try:
        with pytest.raises(StudyError):
            client.open_study("linked.nii.gz")
    finally:
        link.unlink()


@pytest.mark.parametrize("name", ["../../../evil.nii.gz", "/tmp/evil.nii.gz", "..\\evil.nii.gz", "..", "", "\0"])
def test_the_name_of_an_upload_names_no_place(address: str, study_path: Path, name: str) -> None:
    files = {"file": (name, io.BytesIO(study_path.read_bytes()))}
    answer = httpx.post(f"{address}/api/v1/studies", files=files)
    assert answer.status_code in (201, 400)
    assert not Path("/tmp/evil.nii.gz").exists()
    assert not any("source" not in path.parts for path in study_path.parent.parent.parent.rglob("*evil.nii.gz"))
    if answer.status_code == 201:
        assert answer.json()["name"] in ("evil.nii.gz", "upload", "%00")


def test_a_refused_upload_leaves_nothing_behind(model: str, tmp_path: Path) -> None:
    with serving(Settings(out=tmp_path / "data", model=model)) as address:
        answer = httpx.post(f"{address}/api/v1/studies", files={"file": ("a.nii.gz", b"no image")})
        assert answer.status_code == 422
        assert str(tmp_path) not in answer.text
        assert list((tmp_path / "data" / "studies").iterdir()) == []


def test_the_files_of_a_session_are_reached_by_no_other_path(address: str, session: RemoteSession) -> None:
    base = f"{address}/api/v1/sessions/{session.identifier}"
    for path in (
        "/structures/x/..%2f..%2fjournal.jsonl",
        "/structures/..%2f..%2fjournal.jsonl/mask.nii.gz",
        "/structures/../journal.jsonl",
        "/plans/../journal.jsonl",
        "/plans/..%2f..%2f..%2flock",
        "/plans/..%2f..%2f/report.html",
        "/slices/axial/..%2f..%2fjournal.png",
        "/../../../../etc/passwd",
        "/journal.jsonl",
        "/%00",
    ):
        answer = httpx.Client().send(httpx.Request("GET", base + path))
        assert answer.status_code in (404, 422), path
        assert "opened" not in answer.text


def test_one_of_several_volumes_of_a_series_is_opened_by_its_number(client: Client, tmp_path: Path) -> None:
    def after(number: int, k: int, one: pydicom.Dataset) -> None:
        one.DiffusionBValue = (0.0, 500.0)[number]

    several(tmp_path / "diffusion", 2, after)
    archive = Path(shutil.make_archive(str(tmp_path / "diffusion"), "zip", tmp_path / "diffusion"))
    with pytest.raises(StudyError, match="It holds 2 volumes"):
        client.upload_study(archive)
    for number in (1, 2):
        study = client.upload_study(archive, volume=number)
        assert study.sha256 == volume_sha256(load_volume(tmp_path / "diffusion", volume=number))
    with pytest.raises(StudyError, match="Expected a volume from 1 to 2"):
        client.upload_study(archive, volume=3)
    with pytest.raises(MedsamPlannerError, match="volume"):
        client.upload_study(archive, volume=0)
