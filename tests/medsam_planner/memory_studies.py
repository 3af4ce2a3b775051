"""Tiny networks with and without a memory and a small study: mechanism and determinism need no trained weights."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.compact_weights import save_weights
from medsam_planner.geometry import lps_from_index
from prompts import Box, Click

SHAPE = (14, 48, 48)
AFFINE = np.array([[0, 0, 0.9, -12.0], [0, 0.9, 0, 7.0], [2.0, 0, 0, 30.0], [0, 0, 0, 1.0]])
PROMPTED, OTHER = 6, 10
"""Slices on which the tests prompt."""


def write_memory_weights(path: Path, *, seed: int = 0) -> Path:
    """Weights of a network of 32 model pixels, random but for the memory, which training begins with zeros."""
    import torch

    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    torch.manual_seed(seed)
    network = MemoryNetwork(MemoryArchitecture(size=32, decoder_widths=(8, 8, 16, 16), dropout=0.2))
    torch.nn.init.normal_(network.decoder.memory_reader.out.weight, std=0.3)
    torch.nn.init.normal_(network.decoder.mask_head.weight, std=0.5)
    torch.nn.init.normal_(network.decoder.quality_head[2].weight, std=1.0)
    save_weights(network, path, trained_on=["nothing"])
    return path


def write_weights_without_memory(path: Path) -> Path:
    """Random weights of a network of 32 model pixels; its prediction leans on the prompt's ellipse."""
    import torch

    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork

    torch.manual_seed(0)
    architecture = CompactArchitecture(
        size=32, encoder_widths=(8, 16, 24), decoder_widths=(8, 16, 24), encoder_blocks=(0, 1, 1), dropout=0.2
    )
    save_weights(CompactNetwork(architecture), path, trained_on=["nothing"])
    return path


def study() -> highdicom.Volume:
    """A bright ball of 13 pixels' radius around (6, 24, 22) in noise."""
    k, j, i = np.indices(SHAPE)
    ball = ((k - 6) / 6) ** 2 + ((j - 24) / 13) ** 2 + ((i - 22) / 13) ** 2 <= 1
    noise = np.random.default_rng(3).normal(0, 12, SHAPE)
    return highdicom.Volume((np.where(ball, 140.0, 40.0) + noise).astype(np.float32), AFFINE, "PATIENT")


def box_on(index: int, low: tuple[int, int] = (12, 10), high: tuple[int, int] = (36, 34)) -> Box:
    """A box between two pixels of a slice."""
    return Box(lps_from_index(AFFINE, (index, *low)), lps_from_index(AFFINE, (index, *high)))


def click_on(index: int, at: tuple[int, int] = (24, 22), *, positive: bool = True) -> Click:
    """A click on a pixel of a slice."""
    return Click(lps_from_index(AFFINE, (index, *at)), positive=positive)


def bytes_of(volume: highdicom.Volume | NDArray[np.generic]) -> bytes:
    """Of its voxels."""
    return np.ascontiguousarray(getattr(volume, "array", volume)).tobytes()
