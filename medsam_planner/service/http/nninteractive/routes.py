"""The calls of the nnInteractive protocol. Their client takes 410 for a lost session and 503 for a full server only."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.engine.manifest import read_manifest
from medsam_planner.service.core.jobs import Job, JobState
from medsam_planner.service.core.service import Service
from medsam_planner.service.http.nninteractive import interactions
from medsam_planner.service.http.nninteractive.drawing import Drawing
from medsam_planner.service.http.nninteractive.image import keep_image, spacing_of
from medsam_planner.service.http.nninteractive.seats import Seat, Seats
from medsam_planner.service.http.nninteractive.wire import array_of, json_of, mask_answer, meta_of, refuse
from medsam_planner.service.http.problems import problem
from medsam_planner.service.http.shared import TheService

__all__ = ["PREFIX", "router"]

PREFIX = "/nninteractive"
_ANSWER_S = 50.0
"""The client reads for 60 s; what takes longer goes on, and comes with its next answer."""
_LOOK_S = 0.02

router = APIRouter(prefix=PREFIX, include_in_schema=False)


def _seats(request: Request) -> Seats:
    seats: Seats = request.app.state.seats
    return seats


TheSeats = Annotated[Seats, Depends(_seats)]


async def _acting(request: Request, seats: TheSeats) -> AsyncIterator[Seat]:
    async with seats.acting(request) as seat:
        yield seat


ActingSeat = Annotated[Seat, Depends(_acting)]
"""The client of a call that acts; it has the turn until the call is answered."""


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Whether the server answers."""
    return {"ok": True}


@router.post("/claim")
def claim(service: TheService, seats: TheSeats) -> dict[str, Any]:
    """Let a client in."""
    return {
        "lease_token": seats.claim().token,
        "idle_timeout_seconds": service.leases.idle_s,
        "liveness_timeout_seconds": seats.liveness_s,
        "max_sessions": service.leases.most,
    }


@router.get("/capabilities")
def capabilities(service: TheService) -> dict[str, Any]:
    """What the engine can do, in the protocol's words."""
    entry = read_manifest().get(service.settings.model)
    return {
        "supported_interactions": dict.fromkeys(("points", "bbox2d", "bbox3d", "scribble", "lasso"), True),
        "channel_mapping": {
            "prev_seg": 0,
            "bbox2d": [1, 2],
            "bbox3d": [1, 2],
            "lasso": [1, 2],
            "points": [3, 4],
            "scribble": [5, 6],
        },
        "num_interaction_channels": 7,
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": False,
        "preferred_scribble_thickness": [3, 3, 3],
        "interaction_decay": None,
        "do_autozoom": True,
        "inference_session_version": "2.6.0",  # of the protocol that is spoken
        "supports_undo": True,
        "license": None if entry is None else entry.licence,
        "server": f"MedSAM Planner {version('medsam-planner')}",
    }


@router.post("/release")
def release(request: Request, seats: TheSeats) -> dict[str, bool]:
    """Let a client go."""
    seats.release(request)
    return {"released": True}


@router.post("/heartbeat")
def heartbeat(request: Request, seats: TheSeats) -> dict[str, float]:
    """A sign of life of the program, not of a person."""
    return {"remaining_seconds": seats.beat(request)}


@router.get("/lease_status")
def lease_status(request: Request, service: TheService, seats: TheSeats) -> dict[str, float]:
    """How long the lease lasts without an action."""
    return {"remaining_seconds": seats.remaining_s(request), "idle_timeout_seconds": service.leases.idle_s}


@router.post("/set_image")
async def set_image(request: Request, service: TheService, seat: ActingSeat) -> dict[str, list[int]]:
    """Begin a session on an image."""
    spacing_mm = spacing_of(meta_of(request).get("image_properties"))
    image = await array_of(request)
    await run_in_threadpool(_begin, service, seat, image, spacing_mm)
    return {"original_image_shape": list(image.shape)}


def _begin(service: Service, seat: Seat, image: NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
    study = keep_image(service, image, spacing_mm)
    work, _ = service.open_session(study.identifier, held=(seat.holds, seat.token))
    if seat.drawing is not None:
        seat.drawing.stop()
    seat.holds, seat.drawing = work.identifier, Drawing(service, work)


@router.post("/set_target_buffer")
async def set_target_buffer(request: Request, seat: ActingSeat) -> dict[str, Any]:
    """The client's buffer, of zeros."""
    drawing, body = seat.require_drawing(), await json_of(request)
    shape, name = body.get("shape"), body.get("dtype")
    if shape != list(drawing.shape):
        refuse(f"Expected a buffer of the image's shape {list(drawing.shape)}, got {shape!r:.200}.")
    if name not in ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))):
        refuse(f"Expected a buffer of whole numbers or truth values, got {name!r:.200}.")
    drawing.set_buffer(np.dtype(name))
    return {}


@router.post("/set_do_autozoom")
async def set_do_autozoom(seat: ActingSeat) -> dict[str, Any]:
    """Without effect: a model that zooms always does. It is said before there is an image."""
    return {}


@router.post("/reset_interactions")
async def reset_interactions(seat: ActingSeat) -> dict[str, Any]:
    """Begin the next structure; what was drawn stays in the session."""
    if seat.drawing is not None:
        await run_in_threadpool(seat.drawing.begin_next)
    return {}


@router.post("/undo")
async def undo(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """Take back one interaction."""
    return await _act(request, service, seat, lambda drawing: drawing.undo())


@router.post("/predict")
async def predict(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """Predict what was only noted, and what took too long for the answer before."""
    return await _act(request, service, seat, lambda drawing: drawing.is_due or drawing.job is not None)


@router.post("/add_point_interaction")
async def add_point(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """A click."""
    body = await json_of(request)
    include, run = _flag(body, "include_interaction"), _flag(body, "run_prediction", True)
    (voxel,) = _voxels([body.get("coordinates")], "coordinates", 3)

    def change(drawing: Drawing) -> bool:
        index = interactions.place(voxel)
        drawing.add(interactions.point_prompts(index, drawing.affine, drawing.shape, include=include))
        return run

    return await _act(request, service, seat, change)


@router.post("/add_bbox_interaction")
async def add_bbox(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """A box; a negative one clears what lies in it."""
    body = await json_of(request)
    include, run = _flag(body, "include_interaction"), _flag(body, "run_prediction", True)
    low_high = _voxels(body.get("bbox_coords"), "bbox_coords", 2)
    if len(low_high) != 3 or any(low >= high for low, high in low_high):
        refuse("Expected bbox_coords as [[x1, x2], [y1, y2], [z1, z2]] of at least one voxel each.")

    def change(drawing: Drawing) -> bool:
        box = interactions.sides(low_high, drawing.shape)
        region = np.ones([end - first for first, end in box], dtype=bool)
        drawing.add(interactions.box_prompts(box, drawing.affine) if include else _cleared(drawing, region, box))
        return run

    return await _act(request, service, seat, change)


@router.post("/add_scribble_interaction")
async def add_scribble(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """A stroke."""

    def prompts(drawing: Drawing, drawn: NDArray[Any], box: interactions.Sides, include: bool) -> Sequence[Any]:
        return interactions.scribble_prompts(drawn, box, drawing.affine, include=include)

    return await _draw(request, service, seat, prompts)


@router.post("/add_lasso_interaction")
async def add_lasso(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """A region around a structure; a negative one clears what lies in it."""

    def prompts(drawing: Drawing, drawn: NDArray[Any], box: interactions.Sides, include: bool) -> Sequence[Any]:
        if include:
            return interactions.lasso_prompts(drawn, box, drawing.affine)
        return _cleared(drawing, drawn != 0, box)

    return await _draw(request, service, seat, prompts)


@router.post("/add_initial_seg_interaction")
async def add_initial_seg(request: Request, service: TheService, seat: ActingSeat) -> Response:
    """A mask to begin from, which the client has already in its buffer."""
    run = _flag(meta_of(request), "run_prediction", False)
    mask = await array_of(request)

    def change(drawing: Drawing) -> bool:
        if mask.shape != drawing.shape:
            refuse(f"Expected a mask of the image's shape {list(drawing.shape)}, got {list(mask.shape)}.")
        drawing.begin_from(mask != 0)
        return run

    return await _act(request, service, seat, change)


async def _draw(
    request: Request,
    service: Service,
    seat: Seat,
    prompts: Callable[[Drawing, NDArray[Any], interactions.Sides, bool], Sequence[Any]],
) -> Response:
    """An interaction that was drawn as voxels."""
    meta = meta_of(request)
    include, run = _flag(meta, "include_interaction"), _flag(meta, "run_prediction", True)
    low_high = (
        None if meta.get("interaction_bbox") is None else _voxels(meta["interaction_bbox"], "interaction_bbox", 2)
    )
    drawn = await array_of(request)

    def change(drawing: Drawing) -> bool:
        box = tuple((0, size) for size in drawing.shape)
        if low_high is not None:
            box = tuple((round(low), round(high)) for low, high in low_high)
        fits = len(box) == 3 and all(0 <= a < b <= size for (a, b), size in zip(box, drawing.shape, strict=True))
        if not fits or drawn.shape != tuple(end - first for first, end in box):
            refuse(
                f"Expected an array that fills its interaction_bbox within the image {list(drawing.shape)}, got "
                f"{list(drawn.shape)} in {[list(one) for one in box]}."
            )
        drawing.add(prompts(drawing, drawn, box, include) if drawn.any() else [])
        return run

    return await _act(request, service, seat, change)


async def _act(request: Request, service: Service, seat: Seat, change: Callable[[Drawing], bool]) -> Response:
    """Do what a person asked for, and answer with what it changes in the client's buffer."""
    drawing = seat.require_drawing()
    if not await run_in_threadpool(change, drawing):
        return mask_answer(ran=False)
    if drawing.is_due or drawing.job is None:
        await run_in_threadpool(drawing.start)
    ended = await _ended(request, service, drawing)
    if ended is not None and ended.state is not JobState.DONE:
        drawing.is_due = True
        told = ended.problem or {"code": "cancelled", "detail": "The computation was stopped. Ask again."}
        return problem(told["code"], told["detail"])
    if ended is not None:
        await run_in_threadpool(drawing.take)
    if drawing.job is not None:  # not ready yet
        return mask_answer(ran=True)
    changed = await run_in_threadpool(drawing.change)
    box, part = changed if changed is not None else (None, None)
    answer = await run_in_threadpool(mask_answer, ran=True, box=box, part=part)
    if not await request.is_disconnected():
        drawing.delivered()
    return answer


async def _ended(request: Request, service: Service, drawing: Drawing) -> Job | None:
    """The job of the drawing once it has ended; None if there is none, it takes too long, or the client is gone."""
    until_s = time.monotonic() + _ANSWER_S
    while drawing.job is not None and time.monotonic() < until_s:
        job = service.jobs.find(drawing.job)
        if job.state.is_final:
            return job
        if await request.is_disconnected():
            await run_in_threadpool(drawing.stop)
            drawing.is_due = True
        await asyncio.sleep(_LOOK_S)
    return None


def _cleared(drawing: Drawing, region: NDArray[np.bool_], box: interactions.Sides) -> Sequence[Any]:
    i, j, k = (first for first, _ in box)
    return drawing.clearing(region, (i, j, k))


def _flag(source: dict[str, Any], name: str, default: bool | None = None) -> bool:
    value = source.get(name, default)
    if not isinstance(value, bool):
        refuse(f"Expected {name} to be true or false, got {value!r:.200}.")
    return value


def _voxels(value: Any, name: str, count: int) -> list[list[float]]:
    """Rows of finite numbers."""
    rows = value if isinstance(value, list) else []
    found = [row for row in rows if isinstance(row, list) and len(row) == count and all(map(_is_number, row))]
    if not found or len(found) != len(rows):
        refuse(f"Expected {name} as rows of {count} finite numbers, got {value!r:.200}.")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9
