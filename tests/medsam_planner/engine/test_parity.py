"""Our MedSAM gives the logits of the official ``segment-anything`` network on the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.medsam_network import network_input
from medsam_planner.engine.protocol import SlicePrompt

# Rows and columns differ everywhere, so that an exchange of axes cannot hide.
BOX = np.array([10.0, 30.0, 70.5, 110.25])
POINTS = np.array([[20.0, 90.0], [64.0, 33.5], [5.0, 7.0]])
LABELS = np.array([True, True, False])


def image(size: int) -> NDArray[np.float32]:
    """A smooth picture with values far from [0, 1] and structure that is not symmetric."""
    row, column = np.mgrid[:size, :size] / size
    noise = np.random.default_rng(5).normal(0, 0.05, (size, size))
    return (40.0 + 300.0 * (np.sin(7 * row) * np.cos(11 * column**2) + noise)).astype(np.float32)


def mask(size: int) -> NDArray[np.float32]:
    row, column = np.mgrid[:size, :size] / size
    return (1 / (1 + np.exp(40 * ((row - 0.4) ** 2 + 2 * (column - 0.6) ** 2 - 0.05)))).astype(np.float32)


def official_answer(sam: Any, picture: NDArray[np.float32], prompt: SlicePrompt) -> tuple[torch.Tensor, torch.Tensor]:
    """MedSAM's published inference: min–max to [0, 1], no mean and deviation, one mask; (x, y) coordinates."""
    stretched = (picture - picture.min()) / np.clip(picture.max() - picture.min(), 1e-8, None)
    pixels = torch.from_numpy(np.repeat(stretched[None, None], 3, axis=1))
    size = picture.shape[0]
    points = boxes = masks = None
    if prompt.points is not None:
        assert prompt.labels is not None
        points = (torch.tensor(prompt.points[None, :, ::-1].copy()).float(), torch.tensor(prompt.labels[None]).int())
    if prompt.box is not None:
        boxes = torch.tensor(prompt.box[[1, 0, 3, 2]]).float()[None]
    if prompt.mask is not None:
        bound = 1 / (1 + math.exp(-6.0))
        probability = np.clip(prompt.mask, 1 - bound, bound)
        logits = torch.from_numpy(np.log(probability / (1 - probability)))[None, None]
        masks = torch.nn.functional.avg_pool2d(logits, 4)
    with torch.no_grad():
        embedding = sam.image_encoder(pixels)
        sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        low, quality = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        full = torch.nn.functional.interpolate(low, (size, size), mode="bilinear", align_corners=False)
    return full[0, 0], quality[0, 0]


def both(sam: Any, tmp_path: Path, prompt: SlicePrompt) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    path = tmp_path / "medsam_vit_b.pth"
    torch.save(sam.state_dict(), path)
    ours = MedSam.load(path)
    picture = image(ours.size)
    embedding = ours.encoder.embed(network_input(picture[None]), ours.network.vision_encoder)  # before it is rounded
    decoded = ours.decode(torch.from_numpy(embedding), prompt)
    expected, quality = official_answer(sam, picture, prompt)
    np.testing.assert_allclose(decoded.quality[0], quality.clamp(0, 1), atol=1e-4)
    return decoded.logits[0], expected.numpy()


@pytest.mark.parametrize(
    "prompt",
    [
        SlicePrompt(box=BOX),
        SlicePrompt(points=POINTS, labels=LABELS),
        SlicePrompt(points=POINTS[:1], labels=LABELS[:1]),
        SlicePrompt(box=BOX, points=POINTS, labels=LABELS),
        SlicePrompt(mask=mask(128)),
        SlicePrompt(box=BOX, mask=mask(128)),
        SlicePrompt(box=BOX, points=POINTS, labels=LABELS, mask=mask(128)),
    ],
    ids=["box", "points", "one point", "box and points", "mask", "box and mask", "everything"],
)
def test_small_network_gives_the_official_logits(
    official_sam: Callable[..., Any], tmp_path: Path, prompt: SlicePrompt
) -> None:
    ours, expected = both(official_sam(), tmp_path, prompt)
    assert expected.std() > 0.05, "a flat answer would agree with anything"
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_exchanged_rows_and_columns_would_be_seen(official_sam: Callable[..., Any], tmp_path: Path) -> None:
    ours, _ = both(official_sam(), tmp_path, SlicePrompt(box=BOX))
    _, exchanged = both(official_sam(), tmp_path, SlicePrompt(box=BOX[[1, 0, 3, 2]]))
    assert np.abs(ours - exchanged).max() > 0.01


def test_vit_b_at_a_quarter_of_its_input_gives_the_official_logits(
    official_sam: Callable[..., Any], tmp_path: Path
) -> None:
    """MedSAM's width, depth, heads and windows; only the picture is smaller, so that it takes seconds."""
    sam = official_sam(size=256, width=768, depth=12, heads=12, window=14, features=256)
    ours, expected = both(sam, tmp_path, SlicePrompt(box=2 * BOX))
    assert expected.std() > 0.05
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.slow
def test_vit_b_at_1024_gives_the_official_logits(official_sam: Callable[..., Any], tmp_path: Path) -> None:
    sam = official_sam(size=1024, width=768, depth=12, heads=12, window=14, features=256)
    ours, expected = both(sam, tmp_path, SlicePrompt(box=8 * BOX))
    assert expected.std() > 0.05
    np.testing.assert_allclose(ours, expected, atol=1e-4)
