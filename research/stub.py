"""A minimal server that nninteractive-client 2.6 can drive, with masks by a threshold. Own code, from protocol.md.

Run: venv/bin/python stub.py [--port 1527] [--api-key KEY]      (everything lies below /nninteractive)
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

import nnia

PREFIX = "/nninteractive"
THRESHOLD = 100
CAPABILITIES = {
    "supported_interactions": {"points": True, "bbox2d": True, "bbox3d": True, "scribble": True, "lasso": True},
    "channel_mapping": {"prev_seg": 0, "bbox2d": [1, 2], "bbox3d": [1, 2], "lasso": [1, 2], "points": [3, 4], "scribble": [5, 6]},
    "num_interaction_channels": 7,
    "supports_initial_label": True,
    "supports_zero_shot_label_refinement": True,
    "preferred_scribble_thickness": [3, 3, 3],
    "interaction_decay": None,
    "do_autozoom": True,
    "inference_session_version": "2.6.0",
    "license": "Apache-2.0",
    "supports_undo": True,
}


class Refused(Exception):
    """Answered as a problem (RFC 9457); the client reads nothing but `detail`."""

    def __init__(self, status: int, detail: str, *, code: str = "refused") -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code


@dataclass
class Config:
    api_key: str | None = "secret-key-of-the-stub"
    max_sessions: int = 2
    idle_s: float = 600.0
    liveness_s: float = 60.0
    sweep_s: float = 0.2
    most_bytes: int = 1 << 28
    delay_s: dict[str, float] = field(default_factory=dict)
    """By path: how long an answer takes; for the driver."""
    forced: dict[str, Response] = field(default_factory=dict)
    """By path: an answer given without doing anything; for the driver."""
    capabilities: dict = field(default_factory=lambda: dict(CAPABILITIES))
    work: type | None = None
    """Of :class:`Work`; engine_check.py puts the real Session there."""

    def __post_init__(self) -> None:
        self.work = self.work or Work


@dataclass
class Work:
    """One client's image and interactions. The mask is a function of the list of interactions."""

    image: np.ndarray | None = None
    buffer_shape: tuple[int, ...] | None = None
    buffer_dtype: np.dtype = field(default_factory=lambda: np.dtype("uint8"))
    steps: list[tuple] = field(default_factory=list)
    answered: int = 0
    """How many of the steps a prediction has seen."""
    delivered: np.ndarray | None = None
    """What the client's buffer holds where zero or not, as far as the server knows."""
    autozoom: bool = True
    properties: dict = field(default_factory=dict)

    def mask(self, steps: list[tuple] | None = None) -> np.ndarray:
        out = np.zeros(self.image.shape[1:], bool)
        bright = self.image[0] > THRESHOLD
        for kind, zone, include, _ in self.steps if steps is None else steps:
            if kind == "begin":
                out = zone.copy()
            elif include:
                out |= zone & bright
            else:
                out &= ~zone
        return out


@dataclass
class Lease:
    token: str
    seen: float
    active: float
    in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    work: Work = field(default_factory=Work)


class Leases:
    """Who holds a session, by token. One lock, held for dictionary work alone."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.by_token: dict[str, Lease] = {}
        self.lock = threading.Lock()

    def claim(self) -> Lease:
        with self.lock:
            if len(self.by_token) >= self.config.max_sessions:
                raise Refused(503, f"all {self.config.max_sessions} sessions are taken", code="at-capacity")
            now = time.monotonic()
            lease = Lease(uuid.uuid4().hex, now, now)
            self.by_token[lease.token] = lease
            return lease

    def find(self, token: str | None, *, sign_of_life: bool = True) -> Lease:
        with self.lock:
            lease = self.by_token.get(token or "")
            if lease is None:
                raise Refused(410, "lease expired or unknown" if token else "lease token missing", code="lease-gone")
            if sign_of_life:
                lease.seen = time.monotonic()
            return lease

    def release(self, token: str | None) -> None:
        with self.lock:
            self.by_token.pop(token or "", None)

    def sweep(self) -> None:
        now = time.monotonic()
        with self.lock:
            for token, lease in list(self.by_token.items()):
                if lease.in_flight:
                    continue  # whoever waits for an answer is there, also where its heartbeat cannot run (MITK)
                if now - lease.seen > self.config.liveness_s or now - lease.active > self.config.idle_s:
                    del self.by_token[token]

    def remaining(self, lease: Lease) -> float:
        return max(0.0, self.config.idle_s - (time.monotonic() - lease.active))


def make_app(config: Config) -> FastAPI:
    leases = Leases(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        async def reap():
            while True:
                await asyncio.sleep(config.sweep_s)
                leases.sweep()

        task = asyncio.create_task(reap())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)
    app.state.leases, app.state.config, app.state.wire = leases, config, deque(maxlen=2000)
    router = APIRouter(prefix=PREFIX)

    @app.exception_handler(Refused)
    async def refuse(request: Request, error: Refused) -> JSONResponse:
        problem = {"type": f"about:blank#{error.code}", "title": error.code, "status": error.status, "detail": error.detail}
        return JSONResponse(problem, error.status, media_type="application/problem+json")

    @app.middleware("http")
    async def note_and_fault(request: Request, call_next):
        path = request.url.path.removeprefix(PREFIX)
        app.state.wire.append((request.method, path, dict(request.headers), str(request.url.query)))
        if path in config.forced:
            return config.forced[path]
        return await call_next(request)

    def require_key(request: Request) -> None:
        if config.api_key and request.headers.get("authorization") != f"Bearer {config.api_key}":
            raise Refused(401, "bearer token missing or wrong", code="unauthenticated")

    keyed = [Depends(require_key)]

    def lease_of(request: Request) -> Lease:
        return leases.find(request.headers.get("x-lease-token"))

    def meta_of(request: Request) -> dict:
        try:
            meta = json.loads(request.headers.get("x-meta", "{}"))
        except ValueError as error:
            raise Refused(400, f"X-Meta is no JSON: {error}") from error
        if not isinstance(meta, dict):
            raise Refused(400, "X-Meta is no JSON object")
        return meta

    async def json_of(request: Request) -> dict:
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        return body

    async def array_of(request: Request) -> np.ndarray:
        if int(request.headers.get("content-length", 0)) > config.most_bytes:
            raise Refused(413, f"at most {config.most_bytes} bytes are taken")
        body = await request.body()
        try:
            return await run_in_threadpool(nnia.unpack, body, most_bytes=config.most_bytes)
        except nnia.FormatError as error:
            raise Refused(400, str(error)) from error

    async def act(request: Request, lease: Lease, change) -> Response:
        """One action of a person: in turn with the others of the session, whole or not at all.

        `change(work)` gives whether something ran. Where the client is gone when the answer is ready (its read timeout),
        the work is as before, so that what the client believes and what the server knows stay one thing.
        """
        lease.in_flight += 1
        lease.active = lease.seen = time.monotonic()
        path = request.url.path.removeprefix(PREFIX)

        def work_on() -> tuple[Response, Work]:
            work = lease.work
            before = (list(work.steps), work.answered, work.delivered)
            try:
                ran = change(work)
                time.sleep(config.delay_s.get(path, 0.0))
                return answer(work, ran), work, before
            except Refused:
                work.steps, work.answered, work.delivered = before
                raise

        def locked():
            with lease.lock:
                return work_on()

        try:
            response, work, before = await run_in_threadpool(locked)
            if await request.is_disconnected():
                work.steps, work.answered, work.delivered = before
            return response
        finally:
            lease.in_flight -= 1
            lease.active = lease.seen = time.monotonic()

    def answer(work: Work, ran: bool) -> Response:
        meta, body = {"ran_prediction": bool(ran), "bbox": None}, b""
        if ran and work.image is not None and work.delivered is not None:
            mask = work.mask(work.steps[: work.answered])
            changed = mask != work.delivered
            if changed.any():
                sides = [np.flatnonzero(changed.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
                box = [[int(side[0]), int(side[-1]) + 1] for side in sides]
                part = mask[tuple(slice(*side) for side in box)].astype(work.buffer_dtype)
                meta |= {"bbox": box, "dtype": part.dtype.name, "shape": list(part.shape)}
                body = nnia.pack(part)
                work.delivered = mask
        headers = {"X-Meta": json.dumps(meta, separators=(",", ":"))}
        return Response(body, media_type="application/octet-stream", headers=headers)

    def require_image(work: Work) -> tuple[int, ...]:
        if work.image is None:
            raise Refused(400, "set an image first", code="no-image")
        return work.image.shape[1:]

    def add(work: Work, kind: str, zone: np.ndarray, include: bool, run: bool, said=None) -> bool:
        work.steps.append((kind, zone, include, said))
        if run:
            work.answered = len(work.steps)
        return run

    def flag(source: dict, name: str, default: bool | None = None) -> bool:
        value = source.get(name, default)
        if not isinstance(value, bool):
            raise Refused(400, f"{name} must be true or false")
        return value

    def sides_of(value, shape) -> list[list[int]]:
        """[[low, high), ...] in voxels, rounded as Python rounds, cut to the grid, at least one voxel each."""
        try:
            sides = [[round(float(low)), round(float(high))] for low, high in value]
        except (TypeError, ValueError, OverflowError) as error:
            raise Refused(400, f"a box is [[x1, x2], [y1, y2], [z1, z2]], got {value!r}") from error
        if len(sides) != 3 or any(low == high for low, high in value):
            raise Refused(400, f"a box has three sides of at least one voxel, got {value!r}")
        cut = []
        for (low, high), size in zip(sides, shape, strict=True):
            low, high = max(0, low), min(size, high)
            if high <= low:
                low, high = (0, 1) if low <= 0 else (min(low, size) - 1, min(low, size))
            cut.append([low, high])
        return cut

    @router.get("/healthz")
    def healthz() -> dict:
        return {"ok": True}

    @router.get("/capabilities", dependencies=keyed)
    def capabilities() -> dict:
        return config.capabilities

    @router.post("/claim", dependencies=keyed)
    def claim() -> dict:
        lease = leases.claim()
        return {
            "lease_token": lease.token,
            "idle_timeout_seconds": config.idle_s,
            "liveness_timeout_seconds": config.liveness_s,
            "max_sessions": config.max_sessions,
        }

    @router.post("/release", dependencies=keyed)
    def release(request: Request) -> dict:
        leases.release(request.headers.get("x-lease-token"))
        return {"released": True}

    @router.post("/heartbeat", dependencies=keyed)
    def heartbeat(request: Request) -> dict:
        return {"remaining_seconds": leases.remaining(lease_of(request))}

    @router.get("/lease_status", dependencies=keyed)
    def lease_status(request: Request) -> dict:
        lease = leases.find(request.headers.get("x-lease-token"), sign_of_life=False)
        return {"remaining_seconds": leases.remaining(lease), "idle_timeout_seconds": config.idle_s}

    @router.post("/set_image", dependencies=keyed)
    async def set_image(request: Request) -> dict:
        lease = lease_of(request)
        lease.in_flight += 1
        try:
            properties = meta_of(request).get("image_properties") or {}
            image = await array_of(request)
            if image.ndim != 4 or image.shape[0] != 1:
                raise Refused(400, f"expected one channel as (1, x, y, z), got {list(image.shape)}")
            spacing = properties.get("spacing", [1.0, 1.0, 1.0])
            if not (isinstance(spacing, list) and len(spacing) == 3 and all(isinstance(s, (int, float)) and 0 < s < 1e4 for s in spacing)):
                raise Refused(400, f"spacing must be three lengths in mm, got {spacing!r}")
            if not np.isfinite(image).all():
                raise Refused(400, "the image holds values that are no numbers")
            with lease.lock:
                lease.work = config.work(image=image, autozoom=lease.work.autozoom)
                lease.work.properties = properties
            lease.active = time.monotonic()
            return {"original_image_shape": list(image.shape)}
        finally:
            lease.in_flight -= 1
            lease.seen = time.monotonic()

    @router.post("/set_target_buffer", dependencies=keyed)
    async def set_target_buffer(request: Request) -> Response:
        lease, body = lease_of(request), await json_of(request)
        shape, name = body.get("shape"), body.get("dtype")
        if lease.work.image is not None and shape != list(lease.work.image.shape[1:]):
            raise Refused(400, f"the buffer {shape} has not the image's shape {list(lease.work.image.shape[1:])}")
        if not isinstance(name, str) or name not in nnia._DTYPES or np.dtype(name).kind not in "biu":
            raise Refused(400, f"a buffer is bool or whole numbers, got {name!r}")

        def change(work: Work) -> bool:
            work.buffer_dtype = np.dtype(name)
            work.delivered = np.zeros(require_image(work), bool)
            return False

        await act(request, lease, change)
        return JSONResponse({})

    @router.post("/set_do_autozoom", dependencies=keyed)
    async def set_do_autozoom(request: Request) -> Response:
        lease, body = lease_of(request), await json_of(request)
        lease.work.autozoom = flag(body, "do_autozoom")
        lease.active = time.monotonic()
        return JSONResponse({})

    @router.post("/reset_interactions", dependencies=keyed)
    async def reset_interactions(request: Request) -> Response:
        def change(work: Work) -> bool:
            work.steps, work.answered = [], 0
            if work.delivered is not None:
                work.delivered = np.zeros_like(work.delivered)
            return False

        await act(request, lease_of(request), change)
        return JSONResponse({})

    @router.post("/undo", dependencies=keyed)
    async def undo(request: Request) -> Response:
        def change(work: Work) -> bool:
            if not work.steps:
                return False
            work.steps.pop()
            work.answered = min(work.answered, len(work.steps))
            return True

        return await act(request, lease_of(request), change)

    @router.post("/predict", dependencies=keyed)
    async def predict(request: Request) -> Response:
        lease = lease_of(request)
        flag(await json_of(request), "force_full_refine", False)

        def change(work: Work) -> bool:
            require_image(work)
            is_due = work.answered < len(work.steps)
            work.answered = len(work.steps)
            return is_due

        return await act(request, lease, change)

    @router.post("/add_point_interaction", dependencies=keyed)
    async def add_point(request: Request) -> Response:
        lease, body = lease_of(request), await json_of(request)
        include, run = flag(body, "include_interaction"), flag(body, "run_prediction", True)

        def change(work: Work) -> bool:
            shape = require_image(work)
            try:
                place = [round(float(value)) for value in body["coordinates"]]
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise Refused(400, "coordinates are three voxel numbers") from error
            if len(place) != 3 or not all(0 <= value < size for value, size in zip(place, shape, strict=True)):
                raise Refused(400, f"the point {place} lies outside the image {list(shape)}")
            zone = np.zeros(shape, bool)
            zone[tuple(slice(max(0, value - 3), value + 4) for value in place)] = True
            return add(work, "point", zone, include, run, body["coordinates"])

        return await act(request, lease, change)

    @router.post("/add_bbox_interaction", dependencies=keyed)
    async def add_bbox(request: Request) -> Response:
        lease, body = lease_of(request), await json_of(request)
        include, run = flag(body, "include_interaction"), flag(body, "run_prediction", True)

        def change(work: Work) -> bool:
            shape = require_image(work)
            zone = np.zeros(shape, bool)
            zone[tuple(slice(*side) for side in sides_of(body.get("bbox_coords"), shape))] = True
            return add(work, "bbox", zone, include, run, body["bbox_coords"])

        return await act(request, lease, change)

    async def add_drawn(request: Request, kind: str) -> Response:
        lease, meta, drawn = lease_of(request), meta_of(request), await array_of(request)
        include, run = flag(meta, "include_interaction"), flag(meta, "run_prediction", True)

        def change(work: Work) -> bool:
            shape = require_image(work)
            box = meta.get("interaction_bbox")
            sides = [[0, size] for size in shape] if box is None else box
            try:
                fits = [high - low for low, high in sides] == list(drawn.shape) and all(
                    0 <= low < high <= size for (low, high), size in zip(sides, shape, strict=True)
                )
            except (TypeError, ValueError):
                fits = False
            if not fits:
                raise Refused(400, f"the drawn part {list(drawn.shape)} does not fit its box {box} in {list(shape)}")
            zone = np.zeros(shape, bool)
            zone[tuple(slice(*side) for side in sides)] = drawn != 0
            return add(work, kind, zone, include, run, (drawn, sides))

        return await act(request, lease, change)

    @router.post("/add_scribble_interaction", dependencies=keyed)
    async def add_scribble(request: Request) -> Response:
        return await add_drawn(request, "scribble")

    @router.post("/add_lasso_interaction", dependencies=keyed)
    async def add_lasso(request: Request) -> Response:
        return await add_drawn(request, "lasso")

    @router.post("/add_initial_seg_interaction", dependencies=keyed)
    async def add_initial_seg(request: Request) -> Response:
        lease, meta, seg = lease_of(request), meta_of(request), await array_of(request)
        run = flag(meta, "run_prediction", False)

        def change(work: Work) -> bool:
            if list(seg.shape) != list(require_image(work)):
                raise Refused(400, f"the segmentation {list(seg.shape)} has not the image's shape {list(work.image.shape[1:])}")
            work.steps.append(("begin", seg != 0, True, None))  # a step like the others: undo brings back what was before
            work.answered = len(work.steps)
            if work.delivered is not None:
                work.delivered = seg != 0  # the client has written it into its buffer before it asked
            return run

        return await act(request, lease, change)

    app.include_router(router)
    return app


if __name__ == "__main__":
    import argparse

    import uvicorn

    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=1527)
    options.add_argument("--api-key", default="secret-key-of-the-stub")
    given = options.parse_args()
    uvicorn.run(make_app(Config(api_key=given.api_key)), host="127.0.0.1", port=given.port, log_level="info")
