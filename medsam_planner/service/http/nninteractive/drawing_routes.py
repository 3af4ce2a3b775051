"""Calls of the nnInteractive protocol that draw, each answered by what it changes in the client's buffer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.errors import AtCapacityError, WorkerDiedError, code_of
from medsam_planner.service.core.job import Job, JobState
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.http.nninteractive import interactions
from medsam_planner.service.http.nninteractive.drawing import Drawing
from medsam_planner.service.http.nninteractive.seats import Seat
from medsam_planner.service.http.nninteractive.shared import ActingSeat
from medsam_planner.service.http.nninteractive.wire import array_of, json_of, mask_answer, meta_of, refuse
from medsam_planner.service.http.problems import kind_of, problem
from medsam_planner.service.http.shared import TheService

__all__ = ["router"]

ANSWER_S = 50.0
"""The client reads for 60 s; what takes longer goes on, and comes with its next answer."""
_LOOK_S = 0.02

router = APIRouter()


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
        if box is None:
            drawing.add([])
            return run
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
    service: OnBehalf,
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


async def _act(request: Request, service: OnBehalf, seat: Seat, change: Callable[[Drawing], bool]) -> Response:
    """Do what a person asked for, and answer with what it changes in the client's buffer."""
    drawing = seat.require_drawing()
    if not await run_in_threadpool(change, drawing):
        return mask_answer(ran=False)
    try:
        if drawing.is_due or drawing.job is None:
            await run_in_threadpool(drawing.start)
        ended = await _ended(request, service, drawing)
        if ended is not None and ended.state is not JobState.DONE:
            drawing.is_due = True
            told = ended.problem or {"code": "cancelled", "detail": "The computation was stopped. Ask again."}
            return _refused(told["code"], told["detail"])
        if ended is not None:
            await run_in_threadpool(drawing.take)
    except (AtCapacityError, WorkerDiedError) as error:
        return _refused(code_of(error), str(error))
    if drawing.job is not None:  # not ready yet
        return mask_answer(ran=True)
    changed = await run_in_threadpool(drawing.change)
    box, part = changed if changed is not None else (None, None)
    answer = await run_in_threadpool(mask_answer, ran=True, box=box, part=part)
    if not await request.is_disconnected():
        drawing.delivered()
    return answer


def _refused(code: str, detail: str) -> Response:
    """A computation that failed; the client takes 410 and 503 for its own lease, which is well."""
    is_lease = kind_of(code).status in (410, 503)
    return problem(code, detail, status=500 if is_lease else None)


async def _ended(request: Request, service: OnBehalf, drawing: Drawing) -> Job | None:
    """The job of the drawing once it has ended; None if there is none, it takes too long, or the client is gone."""
    until_s = time.monotonic() + ANSWER_S
    while drawing.job is not None and time.monotonic() < until_s:
        job = service.service.jobs.find(drawing.job)
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
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9
