"""The prompts of the active structure as a list: what each is, on which slice it lies, and where to look at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medsam_planner.geometry import index_from_lps
from medsam_planner.report.table_rows import prompt_row
from medsam_planner.service.snapshot import Snapshot
from prompts import Box, Click, Edit, InitialMask, Prompt

__all__ = ["ListedPrompt", "listed_prompts"]


@dataclass(frozen=True, slots=True)
class ListedPrompt:
    """One prompt that holds."""

    place: int
    """Among the steps of the structure, counted from 0; a removal names it by this."""
    kind: str
    is_inside: bool
    """Whether it says where the structure is, and not where it is not."""
    slice: str
    """The slice or slices in words."""
    index: tuple[int, int, int]
    """Voxel in its middle, along the array axes."""


def listed_prompts(now: Snapshot) -> tuple[ListedPrompt, ...]:
    """The prompts of the active structure, in the order in which they were given; none without a study."""
    structure, display = now.structure, next(iter(now.displays.values()), None)
    if structure is None or display is None:
        return ()
    found = []
    for place, prompt in zip(structure.places, structure.prompts, strict=True):
        row = prompt_row(place, prompt, display.affine, display.shape)
        middle = np.rint(index_from_lps(display.affine, _middle_lps_mm(prompt))).astype(int)
        k, j, i = np.clip(middle, 0, np.array(display.shape) - 1).tolist()
        found.append(ListedPrompt(place, row.kind, row.sign == "structure", row.slice, (k, j, i)))
    return tuple(found)


def _middle_lps_mm(prompt: Prompt) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if isinstance(prompt, Click):
        return np.array(prompt.position_lps_mm)
    if isinstance(prompt, Box):
        return np.mean([prompt.corner_lps_mm, prompt.opposite_lps_mm], axis=0)
    if isinstance(prompt, InitialMask | Edit):
        steps = np.array(prompt.mask.voxel_steps_lps_mm)
        return np.array(prompt.mask.first_voxel_lps_mm) + (np.array(prompt.mask.size) - 1) / 2 @ steps
    return np.array(prompt.positions_lps_mm[len(prompt.positions_lps_mm) // 2])
