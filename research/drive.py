"""Drives every call of the real nninteractive-client against stub.py on 127.0.0.1; says what it saw, fails loudly.

Run: venv/bin/python drive.py
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import threading
import time
import traceback

import httpx
import numpy as np
import uvicorn
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from nnInteractive.inference.remote import (
    ServerAtCapacityError,
    SessionExpiredError,
    nnInteractiveRemoteInferenceSession as Client,
)
from nnInteractive.inference.remote.serialization import pack_array, unpack_array

import nnia
from stub import CAPABILITIES, PREFIX, THRESHOLD, Config, make_app

KEY = "secret-key-of-the-stub"
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NN_INTERACTIVE_API_KEY"):
    os.environ.pop(name, None)


class Server:
    def __init__(self, **options):
        self.config = Config(**options)
        self.app = make_app(self.config)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def wire(self):
        return self.app.state.wire

    @property
    def open_sessions(self):
        return len(self.app.state.leases.by_token)

    def client(self, **options):
        return Client(self.url, api_key=KEY, **options)


@contextlib.contextmanager
def raises(kind, text=""):
    try:
        yield
    except kind as error:
        assert text in str(error), f"{text!r} not in {error!s}"
        if type(error) is not kind:
            print(f"      (as {type(error).__name__})")
    else:
        raise AssertionError(f"expected {kind.__name__}")


SHAPE = (20, 30, 40)


def image():
    rng = np.random.default_rng(1)
    array = rng.integers(0, 50, (1, *SHAPE)).astype(np.int16)
    array[0, 5:15, 8:22, 10:30] = 200
    return array


def ready(server, dtype="uint8", **options):
    client = server.client(**options)
    client.set_image(image(), {"spacing": np.array([3.0, 1.0, 1.0])})
    buffer = np.zeros(SHAPE, dtype)
    client.set_target_buffer(buffer)
    return client, buffer


BRIGHT = image()[0] > THRESHOLD


def zone_of(*sides):
    zone = np.zeros(SHAPE, bool)
    zone[tuple(slice(*side) for side in sides)] = True
    return zone


def construction():
    with Server() as server:
        for url in (server.url, server.url + "/", server.url + "///"):
            with Client(url, api_key=KEY) as client:
                assert client.idle_timeout_seconds == 600 and client.liveness_timeout_seconds == 60
                assert client._heartbeat_interval == 30
        assert server.open_sessions == 0
        order = [(method, path) for method, path, _, _ in server.wire]
        assert order[:3] == [("POST", "/claim"), ("GET", "/capabilities"), ("POST", "/release")], order
        headers = server.wire[0][2]
        print("   claim headers:", {k: v for k, v in headers.items() if k not in ("authorization",)})
        assert headers["content-length"] == "0" and "content-type" not in headers and "x-lease-token" not in headers
        assert "x-lease-token" in server.wire[1][2] and "x-lease-token" in server.wire[2][2]
        os.environ["NN_INTERACTIVE_API_KEY"] = KEY
        with Client(server.url) as client:
            pass
        os.environ.pop("NN_INTERACTIVE_API_KEY")
        with raises(httpx.HTTPStatusError, "401"):
            Client(server.url, api_key="wrong")
        with raises(httpx.HTTPStatusError, "401"):
            Client(server.url)
        with raises(httpx.HTTPStatusError, "404"):
            Client(f"http://127.0.0.1:{server.port}/elsewhere", api_key=KEY)
        forced = server.config.forced
        forced["/claim"] = RedirectResponse("/login", 307)
        with raises(httpx.HTTPStatusError, "307"):
            server.client()
        forced["/claim"] = HTMLResponse("<h1>proxy</h1>")
        with raises(json.JSONDecodeError):
            server.client()
        forced["/claim"] = JSONResponse({})
        with raises(KeyError, "lease_token"):
            server.client()
        forced["/claim"] = JSONResponse({"lease_token": "abc"})
        with raises(SessionExpiredError, "lease expired"):  # /capabilities is asked with the lease; this stub does not check
            forced["/capabilities"] = JSONResponse({"detail": "lease expired"}, 410)
            server.client()
        forced.clear()
        for key in CAPABILITIES:
            server.config.capabilities = {k: v for k, v in CAPABILITIES.items() if k != key}
            optional = key in ("license", "supports_undo", "do_autozoom")
            try:
                client = server.client()
                assert optional, f"{key} was not needed"
                print(f"   capability {key} left out: {getattr(client, key)!r}")
                client.close()
            except KeyError as error:
                assert not optional and str(error) == f"'{key}'"
        gc.collect()
        time.sleep(0.2)
        print("   leases left after constructors that failed at capabilities, when collected:", server.open_sessions)
        server.config.capabilities = {**CAPABILITIES, "something_else": 1, "patch_size": [192, 192, 192]}
        with server.client() as client:
            assert not hasattr(client, "something_else") and not hasattr(client, "patch_size")
            assert client.channel_mapping["points"] == (3, 4) and client.channel_mapping["prev_seg"] == 0
            assert client.supports_undo and client.supports_initial_label and client.license == "Apache-2.0"
            assert client.INFERENCE_SESSION_VERSION == "2.6.0" and client.interaction_decay is None
            assert client.supported_interactions["bbox3d"] and client.preferred_scribble_thickness == [3, 3, 3]


def capacity():
    with Server(max_sessions=1) as server:
        first = server.client()
        with raises(ServerAtCapacityError, "all 1 sessions are taken"):  # detail of a problem+json
            server.client()
        server.config.forced["/claim"] = Response("busy", 503, headers={"Retry-After": "10"})
        with raises(ServerAtCapacityError, "server is at capacity"):  # no JSON: its own words
            server.client()
        server.config.forced["/claim"] = JSONResponse({"detail": [{"msg": "x"}]}, 503)
        with raises(ServerAtCapacityError, "server is at capacity"):  # a detail that is no text is not read
            server.client()
        server.config.forced.clear()
        first.close()
        first.close()
        second = server.client()
        assert server.open_sessions == 1
        stop, thread = second._stop_heartbeat, second._heartbeat_thread
        del second
        gc.collect()
        time.sleep(0.2)
        assert server.open_sessions == 1 and thread.is_alive(), "the heartbeat thread holds the object: no __del__"
        stop.set()  # the last reference goes in that very thread: close() cannot join itself, and nothing is released
        thread.join(2)
        del thread
        gc.collect()
        time.sleep(0.2)
        print("   sessions open after a client was dropped without close(), its thread ended:", server.open_sessions)
        assert server.open_sessions == 1
        server.app.state.leases.by_token.clear()
        with server.client():
            assert server.open_sessions == 1
        assert server.open_sessions == 0


def images_and_buffers():
    with Server() as server:
        client = server.client()
        with raises(AssertionError, "expected a 4d image"):
            client.set_image(np.zeros(SHAPE, np.int16))
        with raises(httpx.HTTPStatusError, "400"):
            client.set_image(np.zeros((2, *SHAPE), np.int16))
        for dtype in ("int16", "uint8", "uint16", "float32", "float64", ">i2", "bool", "int64", "float16"):
            given = image().astype(dtype)
            client.set_image(given)
            assert client.original_image_shape == (1, *SHAPE)
            held = next(iter(server.app.state.leases.by_token.values())).work.image
            assert np.array_equal(held, given) and held.dtype.name == given.dtype.name, (held.dtype, dtype)
        client.set_image(np.asfortranarray(image()))
        held = next(iter(server.app.state.leases.by_token.values())).work.image
        assert np.array_equal(held, image())
        assert server.wire[-1][2]["x-meta"] == '{"image_properties":{}}', server.wire[-1][2]["x-meta"]
        client.set_image(image(), {"spacing": np.array([3.0, 1.0, 1.0]), "note": "ümlaut"})
        print("   X-Meta of set_image:", server.wire[-1][2]["x-meta"], "|", server.wire[-1][2]["content-type"])
        with raises(httpx.HTTPStatusError, "400"):
            client.set_image(np.full((1, *SHAPE), np.nan, np.float32))
        with raises(httpx.HTTPStatusError, "400"):
            client.set_image(image(), {"spacing": [1.0, float("nan"), 1.0]})
        with raises(TypeError):
            client.set_image(image(), {"thing": object()})
        client.set_image(image())
        for dtype in ("uint8", "bool", "int32", "uint16", "int64"):
            buffer = np.zeros(SHAPE, dtype)
            client.set_target_buffer(buffer)
            box = client.add_point_interaction([10, 15, 20], True)
            assert client.target_buffer is buffer and buffer.dtype == dtype and buffer.any() and box
            client.reset_interactions()
            assert not buffer.any()
        with raises(httpx.HTTPStatusError, "400"):  # as the reference server: whole numbers or bool
            client.set_target_buffer(np.zeros(SHAPE, np.float32))
        with raises(httpx.HTTPStatusError, "400"):
            client.set_target_buffer(np.zeros((3, 3, 3), np.uint8))
        assert client.target_buffer.shape == (3, 3, 3), "the client takes the buffer before it asks"
        view = np.zeros((*SHAPE, 2), np.uint8)[..., 0]  # not contiguous: written in place all the same
        client.set_target_buffer(view)
        client.add_point_interaction([10, 15, 20], True)
        assert view.sum() == (zone_of((7, 14), (12, 19), (17, 24)) & BRIGHT).sum()
        # a prompt before a buffer, then a buffer: what there is comes with the next answer
        client.set_image(image())
        client.target_buffer = None
        assert client.add_point_interaction([10, 15, 20], True) is None
        fresh = np.zeros(SHAPE, np.uint8)
        client.set_target_buffer(fresh)
        box = client.add_point_interaction([10, 15, 21], True)
        assert np.array_equal(fresh != 0, (zone_of((7, 14), (12, 19), (17, 25))) & BRIGHT), box
        # a new buffer in the middle of the work
        other = np.zeros(SHAPE, np.uint8)
        client.set_target_buffer(other)
        client.add_point_interaction([10, 15, 22], True)
        assert np.array_equal(other != 0, zone_of((7, 14), (12, 19), (17, 26)) & BRIGHT)
        client.close()


def interactions():
    with Server() as server:
        client, buffer = ready(server)
        expected = np.zeros(SHAPE, bool)

        def check(box, what):
            assert np.array_equal(buffer != 0, expected), what
            print(f"   {what}: changed box {box}")

        box = client.add_point_interaction([10, 15, 20], True)
        expected |= zone_of((7, 14), (12, 19), (17, 24)) & BRIGHT
        check(box, "point")
        assert box == [[7, 14], [12, 19], [17, 24]] and client._last_paste_bbox == box
        print("   point body:", server.wire[-1][2]["content-type"])
        box = client.add_point_interaction(np.array([10.4, 14.6, 25.0]), np.True_)
        expected |= zone_of((7, 14), (12, 19), (22, 29)) & BRIGHT
        check(box, "point, floats of numpy")
        box = client.add_point_interaction((10, 15, 20), False)
        expected &= ~zone_of((7, 14), (12, 19), (17, 24))
        check(box, "negative point")
        box = client.add_bbox_interaction([[9, 10], [8, 22], [10, 30]], True)
        expected |= zone_of((9, 10), (8, 22), (10, 30)) & BRIGHT
        check(box, "2D box, half-open")
        box = client.add_bbox_interaction(np.array([[5.2, 8.4], [8.0, 12.6], [9.5, 14.5]]), True)
        expected |= zone_of((5, 8), (8, 13), (10, 14)) & BRIGHT  # round half to even: 9.5 → 10, 14.5 → 14
        check(box, "3D box of floats")
        box = client.add_bbox_interaction([[-5, 4], [100, 120], [0, 1]], False)
        assert box is None
        check(box, "negative box outside: nothing changed")
        with raises(httpx.HTTPStatusError, "400"):
            client.add_bbox_interaction([[3, 3], [1, 5], [1, 5]], True)
        with raises(httpx.HTTPStatusError, "400"):
            client.add_point_interaction([100, 1, 1], True)
        check(None, "refusals change nothing")
        stroke = np.zeros((1, 6, 8), np.uint8)
        stroke[0, 2:4, :] = 1
        box = client.add_scribble_interaction(stroke, True, interaction_bbox=[[12, 13], [14, 20], [12, 20]])
        expected |= zone_of((12, 13), (16, 18), (12, 20)) & BRIGHT
        check(box, "scribble, crop")
        print("   X-Meta of a scribble:", server.wire[-1][2]["x-meta"])
        box = client.add_scribble_interaction(zone_of((12, 13), (16, 17), (12, 20)), False)
        expected &= ~zone_of((12, 13), (16, 17), (12, 20))
        check(box, "negative scribble, whole volume of bool")
        loop = np.zeros((10, 1, 10), np.float32)
        loop[1:9, :, 1:9] = 1.0
        box = client.add_lasso_interaction(loop, True, interaction_bbox=((5, 15), (20, 21), (15, 25)))
        expected |= zone_of((6, 14), (20, 21), (16, 24)) & BRIGHT
        check(box, "lasso across another axis, of float32")
        with raises(httpx.HTTPStatusError, "400"):
            client.add_lasso_interaction(loop, True, interaction_bbox=[[5, 15], [20, 22], [15, 25]])
        with raises(TypeError, "zeros in shape"):  # the client cannot pack it
            client.add_lasso_interaction(np.zeros((0, 1, 1), np.uint8), True)
        with raises(AttributeError):
            client.add_point_interaction([1, 1, 1], True, interaction_bbox=[]) if False else client.no_such_call()
        for override in (True, False):
            client.add_point_interaction([10, 15, 20], True, override_capability_checks=override)
        expected |= zone_of((7, 14), (12, 19), (17, 24)) & BRIGHT
        check(None, "twice the same point")
        # queued prompts
        before = buffer.copy()
        assert client.add_point_interaction([7, 10, 12], True, run_prediction=False) is None
        assert client.add_point_interaction([7, 10, 16], True, False) is None
        assert np.array_equal(before, buffer)
        box = client._predict()
        expected |= zone_of((4, 11), (7, 14), (9, 20)) & BRIGHT
        check(box, "queued points, then predict")
        assert client._predict() is None and client._predict(force_full_refine=True) is None
        client.set_do_autozoom(False)
        assert client.do_autozoom is False
        with raises(RuntimeWarning) if False else contextlib.nullcontext():
            import warnings

            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                client.initialize_from_trained_model_folder("/nowhere")
            assert seen and seen[0].category is RuntimeWarning
        client.close()


def undo_reset_begin():
    with Server() as server:
        client, buffer = ready(server)
        states = [buffer.copy()]
        for place in ([10, 15, 20], [10, 15, 25], [7, 10, 12]):
            client.add_point_interaction(place, True)
            states.append(buffer.copy())
        for expected in reversed(states[:-1]):
            assert client.undo() is True
            assert np.array_equal(buffer, expected)
        assert client.undo() is False and client._last_paste_bbox is None
        client.add_point_interaction([10, 15, 20], True, run_prediction=False)
        assert client.undo() is True and client._last_paste_bbox is None  # ran, nothing to see
        # begin from a mask: the client writes it by itself, whatever its values
        client.add_point_interaction([10, 15, 20], True)
        known = buffer.copy()
        start = zone_of((2, 6), (2, 9), (3, 12)).astype(np.uint8) * 3
        assert client.add_initial_seg_interaction(start) is None
        assert np.array_equal(buffer, start), "labels as given"
        box = client.add_point_interaction([10, 15, 20], True)
        assert set(np.unique(buffer)) == {0, 1, 3} and box == [[7, 14], [12, 19], [17, 24]]
        assert client.undo() and np.array_equal(buffer, start)
        assert client.undo() and np.array_equal(buffer, known), "undo of the beginning brings back what was before"
        box = client.add_initial_seg_interaction(start.astype(bool), run_prediction=True)
        assert box is None and np.array_equal(buffer != 0, start != 0)
        with raises(httpx.HTTPStatusError, "400"):
            client.add_initial_seg_interaction(np.ones((1, 2, 3), np.uint8)) if False else client._post_binary(
                "/add_initial_seg_interaction", {"run_prediction": False}, pack_array(np.ones((1, 2, 3), np.uint8))
            )
        with raises(ValueError):  # the client's own write into the buffer fails before it asks
            client.add_initial_seg_interaction(np.ones((2, 2, 3), np.uint8))
        server.config.forced["/add_initial_seg_interaction"] = JSONResponse({"detail": "disk full"}, 507)
        with raises(httpx.HTTPStatusError, "507"):
            client.add_initial_seg_interaction(np.ones(SHAPE, np.uint8))
        assert buffer.all(), "refused, but the client's buffer holds it"
        server.config.forced.clear()
        client.reset_interactions()
        assert not buffer.any() and client.undo() is False
        server.config.forced["/reset_interactions"] = JSONResponse({"detail": "no"}, 500)
        client.add_point_interaction([10, 15, 20], True)
        with raises(httpx.HTTPStatusError, "500"):
            client.reset_interactions()
        assert not buffer.any(), "the client empties its buffer before it asks"
        client.close()


def foreign_answers():
    """What the client makes of answers of another shape."""
    with Server() as server:
        client, buffer = ready(server)
        path = "/add_point_interaction"

        def answer(meta, body=b""):
            headers = {} if meta is None else {"X-Meta": json.dumps(meta)}
            server.config.forced[path] = Response(body, headers=headers)
            return client.add_point_interaction([1, 1, 1], True)

        assert answer(None) is None
        assert answer({"ran_prediction": False, "bbox": [[0, 1]] * 3}) is None
        assert answer({"ran_prediction": True, "bbox": None}) is None
        assert answer({"ran_prediction": True, "bbox": [[0, 1]] * 3}) == [[0, 1]] * 3 and not buffer.any()
        assert answer({"bbox": [[0, 1]] * 3}, b"rubbish") is None, "without ran_prediction the body is not read"
        ones = nnia.pack(np.ones((2, 3, 4), np.uint8))
        assert answer({"ran_prediction": True, "bbox": [[0, 2], [0, 3], [0, 4]]}, ones) and buffer.sum() == 24
        assert answer({"ran_prediction": True, "bbox": [[0, 2], [0, 3], [0, 4]]}, nnia.pack(np.full((2, 3, 4), 0.7, np.float32)))
        assert buffer.sum() == 0, "cast to the buffer's dtype: 0.7 becomes 0"
        with raises(ValueError):
            answer({"ran_prediction": True, "bbox": [[0, 2], [0, 3], [0, 5]]}, ones)
        with raises(ValueError, "bad magic"):
            answer({"ran_prediction": True, "bbox": [[0, 2], [0, 3], [0, 4]]}, b"x" * 40)
        assert answer({"ran_prediction": True, "bbox": [[0, 2], [0, 3], [0, 4]]}, pack_array(np.ones((2, 3, 4), bool)))
        server.config.forced[path] = JSONResponse({"ran_prediction": True, "bbox": None})
        assert client.add_point_interaction([1, 1, 1], True) is None, "JSON in the body is not read"
        server.config.forced.clear()
        client.close()


def errors():
    with Server() as server:
        client, buffer = ready(server)
        calls = {
            "/set_image": lambda: client.set_image(image()),
            "/set_target_buffer": lambda: client.set_target_buffer(buffer),
            "/set_do_autozoom": lambda: client.set_do_autozoom(True),
            "/reset_interactions": lambda: client.reset_interactions(),
            "/undo": lambda: client.undo(),
            "/predict": lambda: client._predict(),
            "/add_bbox_interaction": lambda: client.add_bbox_interaction([[1, 2], [1, 5], [1, 5]], True),
            "/add_point_interaction": lambda: client.add_point_interaction([1, 1, 1], True),
            "/add_scribble_interaction": lambda: client.add_scribble_interaction(np.ones(SHAPE, np.uint8), True),
            "/add_lasso_interaction": lambda: client.add_lasso_interaction(np.ones(SHAPE, np.uint8), True),
            "/add_initial_seg_interaction": lambda: client.add_initial_seg_interaction(np.ones(SHAPE, np.uint8)),
            "/heartbeat": lambda: client.heartbeat(),
            "/lease_status": lambda: client.lease_status(),
        }
        for path, call in calls.items():
            for status, kind in ((410, SessionExpiredError), (503, ServerAtCapacityError)):
                server.config.forced[path] = JSONResponse({"detail": f"told {status}"}, status)
                with raises(kind, f"told {status}"):
                    call()
            for status in (307, 400, 401, 403, 404, 409, 413, 422, 429, 500, 507):
                server.config.forced[path] = JSONResponse({"detail": "told"}, status)
                with raises(httpx.HTTPStatusError, str(status)):
                    call()
            server.config.forced.clear()
        try:
            server.config.forced["/undo"] = JSONResponse({"detail": "why not"}, 400)
            client.undo()
        except httpx.HTTPStatusError as error:
            assert error.response.json()["detail"] == "why not" and "why not" not in str(error)
            print("   text of a 400 for the person:", str(error).splitlines()[0])
        server.config.forced.clear()
        assert client.ping() is True
        server.config.forced["/healthz"] = Response(status_code=204)
        assert client.ping() is False, "only 200 counts"
        server.config.forced["/healthz"] = Response("anything", 200)
        assert client.ping() is True, "the body is not read"
        server.config.forced.clear()
        assert httpx.get(server.url + "/healthz").json() == {"ok": True}, "without a key"
        server.config.forced["/release"] = JSONResponse({"detail": "gone"}, 410)
        client.close()  # not looked at
        with raises(RuntimeError):
            client.undo()


def leases():
    with Server(idle_s=1.5, liveness_s=60) as server:
        client, _ = ready(server)
        assert 0.5 < client.heartbeat() <= 1.5
        status = client.lease_status()
        assert set(status) == {"remaining_seconds", "idle_timeout_seconds"}
        end = time.time() + 3
        while time.time() < end:  # heartbeats do not postpone idleness
            try:
                client.heartbeat()
            except SessionExpiredError as error:
                print("   idle:", error)
                break
            time.sleep(0.2)
        else:
            raise AssertionError("a session with heartbeats did not go idle")
        with raises(SessionExpiredError):
            client.lease_status()
        with raises(SessionExpiredError):
            client.add_point_interaction([1, 1, 1], True)
        client.close()
    with Server(idle_s=600, liveness_s=1.0) as server:
        client, _ = ready(server)
        assert client._heartbeat_interval == 5.0, "never more often than every 5 s"
        time.sleep(1.6)
        with raises(SessionExpiredError):
            client.undo()
        client.close()
        # a client that vanishes frees its slot
        client, _ = ready(server)
        client._stop_heartbeat.set()
        time.sleep(1.6)
        assert server.open_sessions == 0
        client.close()
        # a long answer keeps its session although nothing else is heard
        client, buffer = ready(server)
        server.config.delay_s["/add_point_interaction"] = 2.0
        assert client.add_point_interaction([10, 15, 20], True)
        server.config.delay_s.clear()
        assert client.undo() is True
        client.close()
    with Server(liveness_s=0.0, idle_s=600) as server:
        server.config.liveness_s = 1e9
        server.config.forced["/claim"] = None
        del server.config.forced["/claim"]
        server.config.liveness_s = 0.0
        server.app.state.leases.config.sweep_s = 999
        client = Client(server.url, api_key=KEY)
        assert client._heartbeat_thread is None, "0 means: no heartbeats"
    with Server(liveness_s=11.0) as server:
        client, _ = ready(server)
        assert client._heartbeat_interval == 5.5
        time.sleep(12.5)
        beats = [entry for entry in server.wire if entry[1] == "/heartbeat"]
        print("   heartbeats of its own in 12.5 s:", len(beats), beats[0][2]["content-type"], beats[0][2]["content-length"])
        assert len(beats) == 2 and server.open_sessions == 1
        server.config.forced["/heartbeat"] = JSONResponse({"detail": "busy"}, 503)
        client._heartbeat_thread.join(7)
        assert not client._heartbeat_thread.is_alive(), "a 503 to a heartbeat ends the thread silently"
        server.config.forced.clear()
        client.close()


def timeouts():
    with Server() as server:
        client, buffer = ready(server, read_timeout=0.6)
        server.config.delay_s["/add_point_interaction"] = 1.5
        with raises(httpx.ReadTimeout):
            client.add_point_interaction([10, 15, 20], True)
        server.config.delay_s.clear()
        time.sleep(1.5)
        assert not buffer.any()
        box = client.add_point_interaction([7, 10, 25], True)
        expected = zone_of((4, 11), (7, 14), (22, 29)) & BRIGHT
        print("   after a read timeout: buffer", int((buffer != 0).sum()), "expected", int(expected.sum()), "box", box)
        assert np.array_equal(buffer != 0, expected), "the prompt that timed out was taken back"
        # heartbeats go through while an answer is computed
        server.config.delay_s["/undo"] = 0.5
        worker = threading.Thread(target=client.undo)
        worker.start()
        began = time.time()
        client.heartbeat()
        assert time.time() - began < 0.3
        worker.join()
        client.close()
        # set_image has a read timeout of its own
        client = server.client(read_timeout=0.3, set_image_read_timeout=5)
        server.config.forced.clear()
        client.set_image(np.zeros((1, 64, 128, 128), np.float32))
        client.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with raises(httpx.ConnectError):
        Client(f"http://127.0.0.1:{port}", api_key=KEY)
    with socket.socket() as deaf:  # accepts, reads nothing, says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        with raises(httpx.ReadTimeout):
            Client(f"http://127.0.0.1:{deaf.getsockname()[1]}", api_key=KEY, read_timeout=0.5)
    server = Server()
    with server:
        client, _ = ready(server)
    with raises(httpx.HTTPError):
        client.add_point_interaction([1, 1, 1], True)
    assert client.ping() is False
    client.close()
    with Server() as second:  # a restarted server knows no lease
        client._http = httpx.Client(base_url=second.url, headers={"Authorization": f"Bearer {KEY}", "X-Lease-Token": "old"})
        with raises(SessionExpiredError, "lease expired or unknown"):
            client.undo()


def early_answers():
    """A refusal that comes before the body was read still arrives as what it is; a body nobody reads times out."""
    noise = np.random.default_rng(0).integers(-1000, 3000, (1, 60, 512, 512)).astype(np.int16)  # about 22 MB packed
    with Server(most_bytes=1 << 20) as server:
        client = server.client()
        with raises(httpx.HTTPStatusError, "413"):
            client.set_image(noise)
        server.config.forced["/set_image"] = JSONResponse({"detail": "busy"}, 503)
        with raises(ServerAtCapacityError, "busy"):
            client.set_image(noise)
        server.config.forced.clear()
        server.app.state.leases.by_token.clear()
        with raises(SessionExpiredError, "lease expired"):
            client.set_image(noise)
        client.close()
    with Server() as server:
        import asyncio

        client = server.client(write_timeout=0.5)
        outer = server.server.config.loaded_app

        class Sitting:
            def __init__(self, app):
                self.app = app

            async def __call__(self, scope, receive, send):
                if scope["type"] == "http" and scope["path"].endswith("/set_image"):
                    await asyncio.sleep(2)
                await self.app(scope, receive, send)

        outer.app = Sitting(outer.app)
        with raises(httpx.WriteTimeout):
            client.set_image(noise)
        client.close()


def together():
    with Server(max_sessions=8) as server:
        failures = []

        def one(seed):
            try:
                rng = np.random.default_rng(seed)
                with server.client() as client:
                    client.set_image(image())
                    buffer = np.zeros(SHAPE, np.uint8)
                    client.set_target_buffer(buffer)
                    expected = np.zeros(SHAPE, bool)
                    for _ in range(15):
                        place = [int(rng.integers(4, size - 4)) for size in SHAPE]
                        client.add_point_interaction(place, True)
                        expected |= zone_of(*((p - 3, p + 4) for p in place)) & BRIGHT
                        assert np.array_equal(buffer != 0, expected)
            except BaseException as error:
                failures.append(repr(error))

        workers = [threading.Thread(target=one, args=(seed,)) for seed in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failures, failures
        assert server.open_sessions == 0


def hostile():
    """What the real client never sends."""
    import struct

    with Server(most_bytes=1 << 22) as server:
        client, _ = ready(server)
        http = client._http
        good = nnia.pack(np.ones(SHAPE, np.uint8))
        meta = {"X-Meta": '{"include_interaction": true}'}

        def post(path, body, headers=meta):
            answer = http.post(path, content=body, headers=headers)
            return answer.status_code, answer.json().get("detail")

        header = lambda name, shape, chunks=0: (
            struct.pack(f"<4sBBBB{len(name)}s", b"NNIA", 1, 1, len(shape), len(name), name)
            + struct.pack(f"<{len(shape)}q", *shape)
            + struct.pack("<I", chunks)
        )
        cases = {
            "empty": b"", "short": b"NNIA", "magic": b"X" * 60, "version": b"NNIA\x02" + good[5:],
            "codec": good[:5] + b"\x09" + good[6:], "bomb": header(b"uint8", (1 << 20, 1 << 14, 1 << 6)),
            "overflow": header(b"uint8", ((1 << 62), 4, 4)), "negative": header(b"uint8", (-1, -1, 4)),
            "object": header(b"object", (2, 2, 2)), "chunks": header(b"uint8", (2, 2, 2), 4_000_000_000),
            "cut": good[:-5], "long": good + b"x", "rubbish chunk": good[:-20] + b"\xff" * 20,
        }
        at = len(header(b"uint8", SHAPE)) + 16
        cases["plug-in codec"] = good[: at + 22] + b"\xa0" + good[at + 23 :]
        cases["plug-in filter"] = good[: at + 21] + b"\xa0" + good[at + 22 :]
        for name, body in cases.items():
            status, told = post("/add_scribble_interaction", body)
            assert status == 400, (name, status)
            print(f"   {name}: {told}")
        assert post("/add_scribble_interaction", good, {"X-Meta": "{"})[0] == 400
        assert post("/add_scribble_interaction", good, {})[0] == 400, "include_interaction is needed"
        assert post("/add_scribble_interaction", good, {"X-Meta": "[]"})[0] == 400
        assert post("/add_scribble_interaction", bytes(1 << 23))[0] == 413
        for body in (b"", b"[]", b"{", b'{"coordinates": [1, 2], "include_interaction": true}',
                     b'{"coordinates": [1, 2, NaN], "include_interaction": true}', b'{"coordinates": [1, 2, 1e999], "include_interaction": true}',
                     b'{"coordinates": [1, 2, 3]}', b'{"coordinates": [1, 2, 3], "include_interaction": 1}'):
            assert post("/add_point_interaction", body, {})[0] == 400, body
        big = {"X-Meta": json.dumps({"image_properties": {"note": "x" * 70_000}})}
        answer = http.post("/set_image", content=good, headers=big)
        print("   X-Meta of 70 kB:", answer.status_code, answer.text[:80])
        for path in ("/undo", "/set_image", "/heartbeat"):
            with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as other:
                assert other.post(path).status_code == 410
        client.close()


def codec():
    rng = np.random.default_rng(5)
    for dtype in sorted(nnia._DTYPES):
        for shape in ((1,), (3, 4), (2, 3, 4), (1, 5, 6, 7)):
            array = rng.integers(0, 2, shape).astype(dtype)
            assert np.array_equal(unpack_array(nnia.pack(array)), array)
            assert np.array_equal(nnia.unpack(pack_array(array), most_bytes=1 << 20), array)
    big = rng.integers(-1000, 2000, (1, 60, 256, 256)).astype(np.int16)
    began = time.perf_counter()
    body = pack_array(big, nthreads=1)
    packed = time.perf_counter()
    assert np.array_equal(nnia.unpack(body, most_bytes=1 << 30), big)
    print(f"   noise int16 {big.nbytes / 1e6:.0f} MB: {len(body) / 1e6:.1f} MB, pack {packed - began:.2f} s, unpack {time.perf_counter() - packed:.2f} s")


if __name__ == "__main__":
    chosen = [codec, construction, capacity, images_and_buffers, interactions, undo_reset_begin, foreign_answers, errors, leases, timeouts, early_answers, together, hostile]
    failed = 0
    for step in chosen:
        began = time.time()
        print(f"{step.__name__} ...", flush=True)
        try:
            step()
            print(f"   ok, {time.time() - began:.1f} s", flush=True)
        except BaseException:
            failed += 1
            traceback.print_exc()
    print("FAILED" if failed else "ALL OK", failed)
    os._exit(failed)
