"""Calls of the nnInteractive protocol: leases and images. Its client takes 410 for a lost session and 503 for a full
server, so nothing else is told by these two."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from medsam_planner.engine.manifest import read_manifest
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.http.nninteractive import drawing_routes
from medsam_planner.service.http.nninteractive.drawing import Drawing
from medsam_planner.service.http.nninteractive.image import keep_image, spacing_of
from medsam_planner.service.http.nninteractive.seats import Seat
from medsam_planner.service.http.nninteractive.shared import ActingSeat, TheSeats
from medsam_planner.service.http.nninteractive.wire import WHOLE_TYPES, array_of, json_of, meta_of, refuse
from medsam_planner.service.http.shared import TheService

__all__ = ["PREFIX", "router"]

PREFIX = "/nninteractive"

router = APIRouter(prefix=PREFIX, include_in_schema=False)
router.include_router(drawing_routes.router)


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Whether the server answers."""
    return {"ok": True}


@router.post("/claim")
def claim(service: TheService, seats: TheSeats) -> dict[str, Any]:
    """Let a client in."""
    return {
        "lease_token": seats.claim(service).token,
        "idle_timeout_seconds": service.service.leases.idle_s,
        "liveness_timeout_seconds": seats.liveness_s,
        "max_sessions": service.service.leases.most,
    }


@router.get("/capabilities")
def capabilities(service: TheService) -> dict[str, Any]:
    """What the engine can do, in the protocol's words."""
    entry = read_manifest().get(service.service.settings.model)
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
    return {"remaining_seconds": seats.remaining_s(request), "idle_timeout_seconds": service.service.leases.idle_s}


@router.post("/set_image")
async def set_image(request: Request, service: TheService, seat: ActingSeat) -> dict[str, list[int]]:
    """Begin a session on an image."""
    spacing_mm = spacing_of(meta_of(request).get("image_properties"))
    image = await array_of(request)
    await run_in_threadpool(_begin, service, seat, image, spacing_mm)
    return {"original_image_shape": list(image.shape)}


def _begin(service: OnBehalf, seat: Seat, image: NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
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
    if not isinstance(name, str) or name not in WHOLE_TYPES:
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
