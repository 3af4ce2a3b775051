"""A small study with prompts that the model can segment in seconds."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.io.dicom_writer import write_ct_series
from prompts import Box, PromptFile, PromptLog, write_prompt_file

__all__ = ["write_ball"]

AFFINE = np.array([[0, 0, 1.5, -23], [0, 1.5, 0, -23], [2.0, 0, 0, 40], [0, 0, 0, 1]])


def write_ball(folder: Path) -> tuple[Path, Path]:
    """A CT of a ball, and the prompt file for it: their paths."""
    index = np.moveaxis(np.indices((8, 32, 32)), 0, -1)
    inside = (((index - (4, 16, 16)) / (3, 5, 5)) ** 2).sum(-1) < 1
    volume = highdicom.Volume(np.where(inside, 150.0, 20.0), AFFINE, "PATIENT")
    write_ct_series(volume, folder / "ball")
    log = PromptLog("ball")
    log.add(Box(tuple(AFFINE[:3] @ (4, 10, 10, 1)), tuple(AFFINE[:3] @ (4, 21, 21, 1))))
    write_prompt_file(folder / "ball.json", PromptFile((log,)))
    return folder / "ball", folder / "ball.json"
