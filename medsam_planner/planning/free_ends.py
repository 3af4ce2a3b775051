"""Entries and targets that lie inside a structure to avoid; no margin, angle or length makes them possible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import index_from_lps
from medsam_planner.planning.problem import EntryRegion, PlanningProblem
from medsam_planner.planning.structures import Avoid, Structure, bool_array
from prompts.names import UNSEGMENTED_BONE

__all__ = ["FreeEnds", "free_ends"]


@dataclass(frozen=True, slots=True, eq=False)
class FreeEnds:
    """The entries and targets of a problem that lie inside no structure to avoid."""

    problem: PlanningProblem
    """Without the ends inside a structure to avoid; as it was where none would be left."""
    is_blocked: bool
    """Whether every entry or every target lies inside one: then there is no path."""
    reasons: tuple[str, ...]
    """Sentences: which structure holds the ends, or how many of them."""


def free_ends(problem: PlanningProblem) -> FreeEnds:
    """Remove the entries and targets that lie inside a structure to avoid."""
    entries, targets = problem.entry.points_lps_mm, problem.targets_lps_mm
    at_target, at_entry = _held(problem.structures, targets), _held(problem.structures, entries)
    reasons = [
        *_reasons("The target lies", "of the target lies", at_target),
        *_reasons("The entry region lies", "of the entry region lies", at_entry),
    ]
    left, entered = ~_any(at_target, len(targets)), ~_any(at_entry, len(entries))
    if not (left.any() and entered.any()):
        whole = [reason for reason, is_whole in reasons if is_whole] or [reason for reason, _ in reasons]
        return FreeEnds(problem, True, tuple(whole))
    if reasons:
        entry = EntryRegion(entries[entered], problem.entry.outward_normals_lps[entered])
        problem = replace(problem, entry=entry, targets_lps_mm=targets[left])
    return FreeEnds(problem, False, tuple(reason for reason, _ in reasons))


def _held(structures: tuple[Structure, ...], points_lps_mm: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """By structure to avoid, which of the points (P, 3) lie inside; those that hold none are left out."""
    found = {}
    for structure in structures:
        if isinstance(structure, Avoid):
            mask = bool_array(structure.mask, structure.name)
            index = np.floor(index_from_lps(structure.mask.affine, points_lps_mm) + 0.5).astype(np.int64)
            is_seen = ((index >= 0) & (index < np.array(mask.shape))).all(axis=1)
            held = np.zeros(len(index), dtype=bool)
            held[is_seen] = mask[tuple(index[is_seen].T)]
            if held.any():
                found[structure.name] = held
    return found


def _any(held: dict[str, NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    together: NDArray[np.bool_] = np.logical_or.reduce([np.zeros(count, dtype=bool), *held.values()])
    return together


def _reasons(whole: str, part: str, held: dict[str, NDArray[np.bool_]]) -> list[tuple[str, bool]]:
    """A sentence for each structure, and whether it holds all of the end; the structure that holds most comes first."""
    sentences = []
    for name in sorted(held, key=lambda one: -int(held[one].sum())):
        is_whole = bool(held[name].all())
        what = (
            f"unsegmented bone ({UNSEGMENTED_BONE})" if name == UNSEGMENTED_BONE else f'"{name}", a structure to avoid'
        )
        begin = whole if is_whole else f"{100 * held[name].mean():.0f} % {part}"
        sentences.append((f"{begin} inside {what}.", is_whole))
    return sentences
