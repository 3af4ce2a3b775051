"""A client of nnInteractive as the programs use it, an image for it, and a local session on the same image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import highdicom
import numpy as np
from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession
from numpy.typing import NDArray

from medsam_planner import Session
from medsam_planner.errors import PromptError
from medsam_planner.service.http.nninteractive.interactions import grid_affine
from prompts import Box, Click

SHAPE = (24, 80, 96)
SPACING_MM = [3.0, 1.0, 1.0]
CENTRE = (12, 40, 50)


def ball(radius_mm: float = 22.0) -> NDArray[np.bool_]:
    """A ball around CENTRE."""
    index = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    away = [(one - middle) * mm for one, middle, mm in zip(index, CENTRE, SPACING_MM, strict=True)]
    inside: NDArray[np.bool_] = np.linalg.norm(away, axis=0) < radius_mm
    return inside


def image() -> NDArray[np.float32]:
    """(1, a, b, c): a bright ball in noise, with air beside it."""
    values = np.random.default_rng(3).normal(30, 10, SHAPE)
    values[ball()] += 90
    values[:, :3] = -1000
    return values.astype(np.float32)[None]


@contextmanager
def connected(address: str, *, token: str | None = None) -> Iterator[Any]:
    """A client that leaves at the end of the block."""
    client = nnInteractiveRemoteInferenceSession(f"{address}/nninteractive", api_key=token)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def drawing(address: str, *, token: str | None = None) -> Iterator[tuple[Any, NDArray[np.uint8]]]:
    """A client with an image, and its buffer."""
    with connected(address, token=token) as client:
        client.set_image(image(), {"spacing": SPACING_MM})
        buffer = np.zeros(SHAPE, np.uint8)
        client.set_target_buffer(buffer)
        yield client, buffer


def local_session(model: str) -> Session:
    """A session on the image, without a server."""
    volume = highdicom.Volume(array=image()[0], affine=grid_affine(SPACING_MM), coordinate_system="PATIENT")
    return Session(volume, model)


def mask_of(session: Session) -> NDArray[np.bool_]:
    """What a session says of its structure; nothing as long as no prompt says where it is."""
    try:
        mask: NDArray[np.bool_] = session.segment(samples=0).mask.array
    except PromptError:
        return np.zeros(SHAPE, bool)
    return mask


def lps(k: float, j: float, i: float) -> tuple[float, float, float]:
    """LPS mm of a voxel."""
    return i * SPACING_MM[2], j * SPACING_MM[1], k * SPACING_MM[0]


def click(k: int, j: int, i: int, positive: bool = True) -> Click:
    """A click on a voxel."""
    return Click(lps(k, j, i), positive)


def box(low: tuple[int, int, int], last: tuple[int, int, int]) -> Box:
    """A box between two voxels, both within it."""
    return Box(lps(*low), lps(*last))
