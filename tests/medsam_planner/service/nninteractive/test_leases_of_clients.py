"""Who may connect, how a client loses its place, and that nothing of what it drew is lost with it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from nnInteractive.inference.remote import ServerAtCapacityError, SessionExpiredError

from medsam_planner.client import Client
from medsam_planner.service.core.options import Limits
from medsam_planner.service.http.nninteractive import wire
from medsam_planner.service.settings import Settings
from prompts import Click
from tests.medsam_planner.service.nninteractive.programs import (
    CENTRE,
    SHAPE,
    SPACING_MM,
    ball,
    connected,
    drawing,
    image,
    lps,
)
from tests.medsam_planner.service.rest import PASSWORDS, TOKEN, Process, logged_in, people_of, serving

MOST = 3


@pytest.fixture(scope="module")
def address(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(out=tmp_path_factory.mktemp("data") / "service", model=model)
    with serving(settings, Limits(MOST), token=TOKEN) as address:
        yield address


def test_a_client_needs_the_token_and_is_told_so_in_json(address: str) -> None:
    for token in (None, "another-token-of-some-length"):
        with pytest.raises(httpx.HTTPStatusError, match="401"), connected(address, token=token):
            pass
    answer = httpx.post(f"{address}/nninteractive/claim")
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(answer.json()["detail"], str)


def test_whether_the_server_answers_is_told_to_everybody(address: str) -> None:
    assert httpx.get(f"{address}/nninteractive/healthz").status_code == 200
    with connected(address, token=TOKEN) as client:
        assert client.ping()


def test_the_capabilities_name_the_protocol_and_the_licence_of_the_weights(address: str) -> None:
    with connected(address, token=TOKEN) as client:
        assert client.INFERENCE_SESSION_VERSION == "2.6.0"
        assert client.supports_undo and client.supports_initial_label
        assert all(client.supported_interactions.values())
        assert client.license == "CC-BY-SA-4.0"


def test_all_doors_share_the_places_and_a_client_beyond_them_is_told(address: str) -> None:
    with Client(address, token=TOKEN) as rest, drawing(address, token=TOKEN) as (client, _):
        client.add_point_interaction(list(CENTRE), True, run_prediction=False)
        held = rest.open_session(rest.studies()[0])
        with connected(address, token=TOKEN):
            with pytest.raises(ServerAtCapacityError, match="at most 3 sessions"), connected(address, token=TOKEN):
                pass
            held.release()
            with connected(address, token=TOKEN):
                assert rest.info()["sessions_held"] == MOST


def test_a_client_whose_session_is_taken_over_is_told_and_the_other_goes_on_from_there(address: str) -> None:
    with Client(address, token=TOKEN) as rest, drawing(address, token=TOKEN) as (client, buffer):
        client.add_point_interaction(list(CENTRE), True)
        session = rest.continue_session(rest.sessions()[0]["id"], take_over=True)
        for act in (client.undo, client.heartbeat, client.lease_status, lambda: client.set_image(image())):
            with pytest.raises(SessionExpiredError, match="taken the session over"):
                act()
        assert session.structures()["object"].state == "segmented"
        session.add("object", Click(lps(14, 41, 52)))
        session.segment("object", samples=0)
        session.release()
        assert buffer.any()


def test_a_client_without_a_lease_is_told_that_it_has_none(address: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for call in ("heartbeat", "undo", "set_image", "add_scribble_interaction", "reset_interactions"):
        for lease in ({}, {"X-Lease-Token": "unknown"}):
            assert httpx.post(f"{address}/nninteractive/{call}", headers=headers | lease).status_code == 410


def test_a_released_client_gives_its_place_back_and_may_say_so_twice(address: str) -> None:
    with Client(address, token=TOKEN) as rest, connected(address, token=TOKEN) as client:
        assert rest.info()["sessions_held"] == 1
        client.close()
        client.close()
        assert rest.info()["sessions_held"] == 0


def test_a_client_that_vanished_frees_its_place(model: str, tmp_path: Path) -> None:
    with serving(Settings(out=tmp_path, model=model), Limits(1, liveness_s=0.5)) as address:
        leases = [httpx.post(f"{address}/nninteractive/claim").json()["lease_token"]]
        assert httpx.post(f"{address}/nninteractive/claim").status_code == 503
        until = time.monotonic() + 20
        while (answer := httpx.post(f"{address}/nninteractive/claim")).status_code == 503:
            assert time.monotonic() < until
            time.sleep(0.1)
        leases.append(answer.json()["lease_token"])
        beats = [
            httpx.post(f"{address}/nninteractive/heartbeat", headers={"X-Lease-Token": lease}).status_code
            for lease in leases
        ]
        assert beats == [410, 200]


def test_a_client_that_vanished_in_the_middle_of_an_image_frees_its_place(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE_S", 0.3)
    with serving(Settings(out=tmp_path, model=model), Limits(1, liveness_s=0.5)) as address:
        lease = httpx.post(f"{address}/nninteractive/claim").json()["lease_token"]
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as gone:
            head = f"POST /nninteractive/set_image HTTP/1.1\r\nHost: {host}\r\nX-Lease-Token: {lease}\r\n"
            gone.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode() + bytes(100))
            assert b" 408 " in gone.recv(200)
        until = time.monotonic() + 20
        while httpx.post(f"{address}/nninteractive/claim").status_code == 503:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_beats_alone_do_not_keep_a_client_that_nobody_uses(model: str, tmp_path: Path) -> None:
    with serving(Settings(out=tmp_path, model=model), Limits(1, idle_s=1.0)) as address, connected(address) as client:
        until = time.monotonic() + 20
        with pytest.raises(SessionExpiredError, match="after 1 s without a sign of life"):
            while time.monotonic() < until:
                assert client.heartbeat() <= 1.0
                time.sleep(0.1)


def test_what_was_drawn_survives_the_death_of_the_server_and_goes_on_elsewhere(
    study_path: Path, tmp_path: Path
) -> None:
    server = Process(tmp_path / "data", study_path.parent, log=tmp_path / "log")
    try:
        with drawing(server.address()) as (client, buffer):
            client.add_point_interaction(list(CENTRE), True)
            drawn = buffer.copy()
            server.kill()
    finally:
        server.kill()
    again = Process(tmp_path / "data", study_path.parent, log=tmp_path / "log-2")
    try:
        with Client(again.address()) as rest:
            (known,) = rest.sessions()
            session = rest.continue_session(known["id"])
            session.segment("object", samples=0)
            session.save("object", "mask.nii.gz", tmp_path / "object.nii.gz")
        from medsam_planner import load_volume

        assert drawn.any()
        saved = load_volume(tmp_path / "object.nii.gz", modality="MR").array
        assert np.array_equal(saved.sum(), drawn.sum())
    finally:
        again.kill()


def test_the_orders_of_calls_of_the_programs_are_answered(address: str) -> None:
    buffer = np.zeros(SHAPE, np.uint8)
    with connected(address, token=TOKEN) as napari:
        napari.set_do_autozoom(True)
        napari.set_image(image(), {"spacing": np.array(SPACING_MM)})
        napari.set_target_buffer(buffer)
        napari.add_initial_seg_interaction(ball(12.0).astype(np.uint8), run_prediction=False)
        napari.add_bbox_interaction([[12.0, 13.0], [18.0, 63.0], [28.0, 73.0]], True)
        napari._predict(force_full_refine=True)
        napari.reset_interactions()
    with connected(address, token=TOKEN) as mitk:
        mitk.set_do_autozoom(True)
        mitk.set_image(image().astype(np.int16), {"spacing": SPACING_MM})
        mitk.set_target_buffer(np.zeros(SHAPE, np.uint8))
        mitk.add_point_interaction((12, 40, 50), True)
        mitk.undo()
        mitk.reset_interactions()
    with connected(address, token=TOKEN) as slicer:
        slicer.set_image(image().astype(np.float64), {"spacing": SPACING_MM})
        for radius_mm in (10.0, 14.0):
            buffer = np.zeros(SHAPE, np.uint8)
            slicer.set_target_buffer(buffer)
            slicer.reset_interactions()
            slicer.add_initial_seg_interaction(ball(radius_mm).astype(np.uint8), run_prediction=False)
            slicer.add_point_interaction([12, 58, 50], True)
            assert buffer.sum() > ball(radius_mm).sum()


def test_people_draw_under_their_own_name_and_no_token_of_another_s_lease_helps(model: str, tmp_path: Path) -> None:
    settings = Settings(out=tmp_path / "data", model=model)
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        keys = {name: logged_in(address, name)["Authorization"].removeprefix("Bearer ") for name in PASSWORDS}
        with pytest.raises(httpx.HTTPStatusError, match="403"), connected(address, token=keys["vera"]):
            pass
        with drawing(address, token=keys["ann"]) as (client, _):
            client.add_point_interaction(list(CENTRE), True, run_prediction=False)
            lease = {"X-Lease-Token": client._lease_token}
            for name, status in (("paul", 410), ("ann", 200)):
                headers = {"Authorization": f"Bearer {keys[name]}", **lease}
                assert httpx.post(f"{address}/nninteractive/heartbeat", headers=headers).status_code == status
            with Client(address, token=keys["ann"]) as ann, Client(address, token=keys["paul"]) as paul:
                assert [one["structures"] for one in ann.sessions()] == [["object"]]
                assert paul.sessions() == []
