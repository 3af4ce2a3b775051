"""Every call of the protocol, by its own client over HTTP, gives the mask that a local session gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.client import Client
from medsam_planner.service.http.nninteractive import drawing_routes
from medsam_planner.service.http.nninteractive.wire import pack
from medsam_planner.service.settings import Settings
from prompts import Edit, InitialMask, Prompt, Scribble, VoxelMask
from tests.medsam_planner.service.nninteractive.programs import (
    SHAPE,
    ball,
    box,
    click,
    drawing,
    image,
    local_session,
    lps,
    mask_of,
)
from tests.medsam_planner.service.rest import serving

OUTSIDE = [[[100, 200], [100, 200], [100, 200]], [[-5, -3], [0, 80], [0, 96]], [[24, 30], [0, 80], [0, 96]]]
SLICE_BOX = [[12, 13], [18, 63], [28, 73]]


@pytest.fixture(scope="module")
def address(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(Settings(out=tmp_path_factory.mktemp("data") / "service", model=model)) as address:
        yield address


def test_what_a_client_draws_gives_the_masks_of_a_local_session_and_undo_leads_back(address: str, model: str) -> None:
    local = local_session(model)
    affine = local.volume.affine
    stroke = np.zeros((1, 9, 40), np.uint8)
    stroke[0, 4, 3:37] = 1
    loop = np.zeros((1, 50, 50), np.uint8)
    loop[0, 2:-2, 3:-3] = 1
    corner = np.zeros(SHAPE, bool)
    corner[12, 20:36, 30:44] = True

    def cleared(region: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Edit:
        return Edit(VoxelMask.from_array(region & mask, affine), positive=False)

    bar = np.zeros(SHAPE, bool)
    bar[9, 55:70, 20:80] = True
    with drawing(address) as (client, buffer):
        steps: list[tuple[Callable[[], Any], Callable[[NDArray[np.bool_]], Prompt]]] = [
            (lambda: client.add_point_interaction([20, 8, 10], False), lambda _: click(20, 8, 10, False)),
            (lambda: client.add_bbox_interaction(SLICE_BOX, True), lambda _: box((12, 18, 28), (12, 62, 72))),
            (lambda: client.add_point_interaction(np.array([15.0, 41.0, 52.5]), True), lambda _: click(15, 41, 52)),
            (
                lambda: client.add_scribble_interaction(stroke, True, interaction_bbox=[[9, 10], [36, 45], [30, 70]]),
                lambda _: Scribble([lps(9, 40, column) for column in range(33, 67)]),
            ),
            (
                lambda: client.add_lasso_interaction(loop, True, interaction_bbox=[[17, 18], [15, 65], [25, 75]]),
                lambda _: box((17, 17, 28), (17, 62, 71)),
            ),
            (lambda: client.add_lasso_interaction(corner.astype(np.uint8), False), lambda mask: cleared(corner, mask)),
            (
                lambda: client.add_bbox_interaction([[9, 10], [55, 70], [20, 80]], False),
                lambda mask: cleared(bar, mask),
            ),
        ]
        masks = [np.zeros(SHAPE, bool)]
        for draw, prompt in steps:
            draw()
            local.add(prompt(masks[-1]))
            masks.append(mask_of(local))
            assert np.array_equal(buffer != 0, masks[-1])
        assert not masks[1].any() and masks[2].any()
        assert masks[-1].sum() < masks[-2].sum() < masks[-3].sum()
        for mask in reversed(masks[:-1]):
            assert client.undo()
            assert np.array_equal(buffer != 0, mask)
        assert client.undo() is False


def test_a_box_of_several_slices_bounds_the_structure_and_a_box_of_one_line_is_a_click(
    address: str, model: str
) -> None:
    local = local_session(model)
    local.add(box((8, 18, 28), (16, 62, 72)))
    with drawing(address) as (client, buffer):
        client.add_bbox_interaction([[8, 17], [18, 63], [28, 73]], True)
        assert np.array_equal(buffer != 0, mask_of(local))
        client.reset_interactions()
        buffer[:] = 0
        local.log().clear()
        local.add(click(12, 40, 50))
        client.add_bbox_interaction([[12, 13], [40, 41], [40, 61]], True)
        assert np.array_equal(buffer != 0, mask_of(local))


def test_what_is_only_noted_is_predicted_when_asked_for(address: str, model: str) -> None:
    local = local_session(model)
    with drawing(address) as (client, buffer):
        assert client._predict() is None
        client.add_bbox_interaction(SLICE_BOX, True, run_prediction=False)
        client.add_point_interaction([15, 41, 52], True, run_prediction=False)
        assert not buffer.any()
        client._predict()
        local.add(box((12, 18, 28), (12, 62, 72)))
        local.add(click(15, 41, 52))
        assert np.array_equal(buffer != 0, mask_of(local))
        assert client._predict() is None


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint64"])
def test_a_new_buffer_gets_the_whole_mask_with_the_next_answer(address: str, dtype: str) -> None:
    with drawing(address) as (client, buffer):
        client.add_bbox_interaction(SLICE_BOX, True)
        other = np.zeros(SHAPE, dtype)
        client.set_target_buffer(other)
        client.add_point_interaction([15, 41, 52], False, run_prediction=False)
        client.undo()
        assert np.array_equal(other != 0, buffer != 0)
        assert buffer.any()


def test_a_client_begins_from_a_mask_and_corrects_it(address: str, model: str) -> None:
    local = local_session(model)
    given = ball(15.0)
    local.add(InitialMask(VoxelMask.from_array(given, local.volume.affine)))
    with drawing(address) as (client, buffer):
        client.add_bbox_interaction(SLICE_BOX, True)
        before = buffer.copy()
        client.add_initial_seg_interaction(given.astype(np.uint8), run_prediction=True)
        assert np.array_equal(buffer != 0, given)
        client.add_point_interaction([12, 58, 50], True)
        local.add(click(12, 58, 50))
        assert np.array_equal(buffer != 0, mask_of(local))
        assert not np.array_equal(buffer != 0, given)
        assert client.undo()
        assert np.array_equal(buffer != 0, given)
        assert client.undo()
        assert np.array_equal(buffer, before)


def test_an_empty_mask_to_begin_from_removes_what_was_there(address: str) -> None:
    with drawing(address) as (client, buffer):
        client.add_initial_seg_interaction(np.zeros(SHAPE, np.uint8))
        assert client.undo() is False
        client.add_bbox_interaction(SLICE_BOX, True)
        drawn = buffer.copy()
        client.add_initial_seg_interaction(np.zeros(SHAPE, np.uint8))
        client._predict()
        assert not buffer.any()
        assert client.undo()
        assert np.array_equal(buffer, drawn)


def test_reset_begins_the_next_structure_and_undo_does_not_reach_back(address: str) -> None:
    with drawing(address) as (client, buffer):
        client.reset_interactions()
        client.add_bbox_interaction(SLICE_BOX, True)
        client.reset_interactions()
        assert not buffer.any()
        assert client.undo() is False
        client.add_point_interaction([12, 40, 50], True)
        assert buffer.any()
        with Client(address) as rest:
            assert rest.sessions()[0]["structures"] == ["object", "object 2"]


def test_what_has_no_effect_is_no_error(address: str) -> None:
    """An error ends the session in one of the programs."""
    with drawing(address) as (client, buffer):
        client.set_do_autozoom(False)
        client.add_point_interaction([-4, 40, 50], True)
        client.add_scribble_interaction(np.zeros(SHAPE, np.uint8), True)
        client.add_lasso_interaction(ball().astype(np.uint8), False)
        client.add_bbox_interaction([[30, 40], [0, 10], [0, 10]], False)
        client.add_bbox_interaction([[11.5, 12.6], [-5.0, 200.0], [-7.0, 300.0]], True, override_capability_checks=True)
        assert buffer.any()


def test_a_mask_that_takes_too_long_comes_with_the_next_answer(
    address: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = local_session(model)
    local.add(box((12, 18, 28), (12, 62, 72)))
    with drawing(address) as (client, buffer):
        monkeypatch.setattr(drawing_routes, "ANSWER_S", 0.0)
        assert client.add_bbox_interaction(SLICE_BOX, True) is None
        assert not buffer.any()
        monkeypatch.undo()
        client._predict()
        assert np.array_equal(buffer != 0, mask_of(local))


def test_the_image_is_a_study_with_the_axes_and_the_spacing_of_the_client(address: str) -> None:
    with drawing(address), Client(address) as rest:
        study = rest.studies()[-1]
        assert study.shape == SHAPE
        assert np.array_equal(study.affine_lps_mm, [[0, 0, 1, 0], [0, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
        assert study.modality == "CT"


def test_a_second_image_begins_a_session_of_its_own_in_the_same_place(address: str) -> None:
    with drawing(address) as (client, buffer), Client(address) as rest:
        client.add_bbox_interaction(SLICE_BOX, True)
        first, held = rest.sessions()[0]["id"], rest.info()["sessions_held"]
        client.set_image(image()[:, ::-1], {"spacing": [3.0, 1.0, 1.0]})
        assert rest.info()["sessions_held"] == held
        buffer[:] = 0
        client.set_target_buffer(buffer)
        client.add_point_interaction([11, 40, 50], True)
        assert buffer.any()
        assert rest.sessions()[0]["id"] != first
        rest.continue_session(first).release()


def test_an_answer_that_was_lost_comes_with_the_next_one(address: str, model: str) -> None:
    local = local_session(model)
    local.add(box((12, 18, 28), (12, 62, 72)))
    local.add(click(15, 41, 52))
    with drawing(address) as (client, buffer):
        patient = client._http.timeout
        client._http.timeout = httpx.Timeout(0.05)
        with pytest.raises(httpx.ReadTimeout):
            client.add_bbox_interaction(SLICE_BOX, True)
        client._http.timeout = patient
        assert not buffer.any()
        client.add_point_interaction([15, 41, 52], True)
        assert np.array_equal(buffer != 0, mask_of(local))


@pytest.mark.parametrize(
    ("values", "properties"),
    [
        (np.zeros((1, 8, 9, 10), np.float32), {}),
        (np.full((1, 8, 9, 10), np.nan, np.float32), {}),
        (np.zeros((2, 8, 9, 10), np.int16), {}),
        (np.arange(720, dtype=np.int16).reshape(1, 8, 9, 10), {"spacing": [1.0, 0.0, 1.0]}),
        (np.arange(720, dtype=np.int16).reshape(1, 8, 9, 10), {"spacing": [float("nan")] * 3}),
        (np.arange(720, dtype=np.int16).reshape(1, 8, 9, 10), {"spacing": "wide"}),
    ],
)
def test_an_image_that_is_none_is_refused_and_leaves_the_one_before(
    address: str, values: np.ndarray, properties: dict[str, Any]
) -> None:
    with drawing(address) as (client, buffer), Client(address) as rest:
        count = len(rest.studies())
        with pytest.raises(httpx.HTTPStatusError, match=r"4(00|22)"):
            client.set_image(values, properties)
        client.add_point_interaction([12, 40, 50], True)
        assert buffer.any()
        assert len(rest.studies()) == count


def test_calls_that_follow_no_reading_of_the_protocol_are_refused_and_change_nothing(address: str) -> None:
    with drawing(address) as (client, _), Client(address) as rest:
        before = rest.sessions()[0]["structures"]
        send = client._http.post
        for call, body in (
            ("point", {"coordinates": [1, 2], "include_interaction": True}),
            ("point", {"coordinates": [1, 2, None], "include_interaction": True}),
            ("point", {"coordinates": [1, 2, 3], "include_interaction": "yes"}),
            ("bbox", {"bbox_coords": [[1, 2], [3, 3], [4, 9]], "include_interaction": True}),
            ("bbox", {"bbox_coords": [[1, 2], [9, 3], [4, 9]], "include_interaction": True}),
            ("bbox", {"bbox_coords": 7, "include_interaction": True}),
        ):
            assert send(f"/add_{call}_interaction", json=body).status_code == 400
        assert send("/add_point_interaction", content=b'{"coordinates": [1, 2, Infinity]}').status_code == 400
        assert send("/add_point_interaction", content=b"[" * 50_000).status_code == 400
        assert send("/add_scribble_interaction", content=b"NNIA").status_code == 400
        assert send("/add_point_interaction", content=b"{" + b" " * (1 << 17) + b"}").status_code == 413
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            client.add_lasso_interaction(
                np.ones((2, 5, 5), np.uint8), True, interaction_bbox=[[23, 25], [0, 5], [0, 5]]
            )
        assert send("/add_initial_seg_interaction", content=pack(np.ones((2, 5, 5), np.uint8))).status_code == 400
        assert rest.sessions()[0]["structures"] == before


def test_two_clients_at_once_draw_each_on_their_own(address: str, model: str) -> None:
    wanted = {}
    for column in (50, 46):
        local = local_session(model)
        local.add(click(12, 40, column))
        wanted[column] = mask_of(local)
    with drawing(address) as one, drawing(address) as other, ThreadPoolExecutor(2) as threads:

        def draw(client: Any, buffer: NDArray[np.uint8], column: int) -> None:
            for _ in range(3):
                client.add_point_interaction([12, 40, column], True)
                assert np.array_equal(buffer != 0, wanted[column])
                client.undo()
                assert not buffer.any()

        for done in [threads.submit(draw, *one, 50), threads.submit(draw, *other, 46)]:
            done.result()


@pytest.mark.parametrize("outside", OUTSIDE, ids=str)
@pytest.mark.parametrize("include", [True, False])
def test_a_box_outside_the_image_is_ignored_as_a_point_there_is(
    address: str, outside: list[list[int]], include: bool
) -> None:
    with drawing(address) as (client, buffer):
        client.add_bbox_interaction(SLICE_BOX, True)
        before = buffer.copy()
        client.add_bbox_interaction(outside, include)
        assert before.any() and np.array_equal(buffer, before)
        client.undo()
        assert not buffer.any()


@pytest.mark.parametrize("spacing", [f"[{'9' * 400}, 1, 1]", "[1e-300, 1, 1]", "[0, 1, 1]", "[NaN, 1, 1]"])
def test_a_spacing_that_no_image_has_is_refused(address: str, spacing: str) -> None:
    lease = httpx.post(f"{address}/nninteractive/claim").json()["lease_token"]
    headers = {"X-Lease-Token": lease, "X-Meta": f'{{"image_properties": {{"spacing": {spacing}}}}}'}
    answer = httpx.post(f"{address}/nninteractive/set_image", content=pack(image()), headers=headers)
    assert (answer.status_code, "spacing" in answer.text) == (400, True)
    httpx.post(f"{address}/nninteractive/release", headers=headers)


def test_a_voxel_of_hundreds_of_digits_is_refused(address: str) -> None:
    with drawing(address) as (client, _):
        headers = {"X-Lease-Token": client._lease_token}
        body = {"coordinates": [10**400, 1, 1], "include_interaction": True}
        answer = httpx.post(f"{address}/nninteractive/add_point_interaction", json=body, headers=headers)
        assert answer.status_code == 400
