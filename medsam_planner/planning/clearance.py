"""Certified clearance of candidate trajectories from everything they must avoid or stay inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.field_construction import build_distance_field
from medsam_planner.planning.interval_search import ClearanceMinimum, ClearanceSearch
from medsam_planner.planning.lengths import FARTHEST_MM
from medsam_planner.planning.structures import Structure
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress, track

__all__ = ["TOLERANCE_MM", "Clearance", "build_distance_fields", "clearance", "clearance_in", "trajectory_array"]

TOLERANCE_MM = 0.01
"""How far the certified value may stay below the best that the field allows. A smaller value only takes longer."""
_CHUNK = 20_000
"""Trajectories measured together; keeps the working arrays within some tens of megabytes."""
_MAX_THREADS = 4
_Part = TypeVar("_Part")
_Done = TypeVar("_Done")
_ROUNDING_MM = 1e-3
"""Covers float32: distances of 500 mm are rounded to 3e-5 mm, and a distance transform sums three squares."""


@dataclass(frozen=True, slots=True, eq=False)
class Clearance:
    """Clearance of each of N trajectories beyond the margins, the tool's radius and its error.

    Negative where a trajectory breaches them. Never NaN; +inf only when there is no structure.
    """

    certified_mm: NDArray[np.float64]
    """(N,) never above the true clearance (see :mod:`medsam_planner.planning.distance_field` for "true")."""
    sampled_mm: NDArray[np.float64]
    """(N,) smallest value of the voxel field at the samples taken. An estimate, mostly too large by part of a voxel."""
    limiting_structure: NDArray[np.str_]
    """(N,) name of the structure with the smallest certified clearance, "" when there is none."""
    limiting_point_lps_mm: NDArray[np.float64]
    """(N, 3) the place on the trajectory where that is, LPS mm; the entry when there is no structure."""
    by_structure: dict[str, ClearanceMinimum]
    """Each structure by itself, when that was asked for."""


def clearance(
    trajectories_lps_mm: ArrayLike,
    structures: Sequence[Structure],
    tool: Tool,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    each_structure: bool = False,
    progress: Progress | None = None,
) -> Clearance:
    r"""Measure the clearance of straight trajectories.

    The clearance of a trajectory is the minimum over its places x and the structures k of ``D_k(x)`` less the tool's
    radius and error there, with ``D_k(x) = min over z in k of (|x − z| − m_k(z))``. The certified value is the minimum
    of a proven lower bound of the voxel field, with no gap between samples, less one voxel diagonal.

    Parameters
    ----------
    trajectories_lps_mm : (N, 2, 3) float
        Entry, then target.
    structures : sequence of Avoid or StayInside
        Each may lie on a grid of its own.
    tool : Tool
    tolerance_mm : float
        See :data:`TOLERANCE_MM`.
    each_structure : bool
        Also give every structure's own clearance; by default only the smallest is followed to the end, which is faster.
    progress : Progress, optional

    Raises
    ------
    PlanningError
        If the trajectories are not (N, 2, 3) finite numbers within ±:data:`FARTHEST_MM`, or two structures share a
        name.
    GeometryError, EmptyStructureError
        See :class:`Avoid`.
    """
    trajectories = trajectory_array(trajectories_lps_mm)
    fields = (
        build_distance_fields(structures, trajectories.reshape(-1, 3), progress=progress) if len(trajectories) else ()
    )
    return clearance_in(
        fields, trajectories, tool, tolerance_mm=tolerance_mm, each_structure=each_structure, progress=progress
    )


def build_distance_fields(
    structures: Sequence[Structure],
    region_lps_mm: NDArray[np.float64],
    *,
    progress: Progress | None = None,
) -> tuple[DistanceField, ...]:
    """Compute the distance fields once, for many calls of :func:`clearance_in` on trajectories within a region.

    Parameters
    ----------
    structures : sequence of Avoid or StayInside
    region_lps_mm : (P, 3) float
        Corners of the region: all trajectories lie in their bounding box along the axes of each structure's grid.
    """
    names = [structure.name for structure in structures]
    if len(set(names)) < len(names):
        raise PlanningError(f"Expected structures with different names, got {names}.")

    def built(structure: Structure) -> DistanceField:
        return build_distance_field(structure, region_lps_mm)

    return tuple(_mapped(built, structures, "distance fields", progress))


def clearance_in(
    fields: Sequence[DistanceField],
    trajectories_lps_mm: NDArray[np.float64],
    tool: Tool,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    each_structure: bool = False,
    progress: Progress | None = None,
) -> Clearance:
    """As :func:`clearance`, in fields from :func:`build_distance_fields`."""
    count = len(trajectories_lps_mm)
    if not tolerance_mm > 0:
        raise PlanningError(f"Expected tolerance_mm > 0, got {tolerance_mm!r}.")
    parts = [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]

    def measured(part: slice) -> tuple[ClearanceMinimum, NDArray[np.intp], list[ClearanceMinimum]]:
        return _smallest(fields, trajectories_lps_mm[part], tool, tolerance_mm, each_structure)

    found = _mapped(measured, parts, "clearance", progress)
    smallest = _joined([minimum for minimum, _, _ in found])
    limiting = np.concatenate([number for _, number, _ in found]) if found else np.empty(0, dtype=np.intp)
    each = zip(*(every for _, _, every in found), strict=True)
    minima = [_joined(parts) for parts in each] if found else [_joined([]) for _ in fields]
    names = np.array([*(field.name for field in fields), ""], dtype=np.str_)
    points = trajectories_lps_mm[:, 0] + smallest.fraction[:, None] * (
        trajectories_lps_mm[:, 1] - trajectories_lps_mm[:, 0]
    )
    return Clearance(
        certified_mm=smallest.certified_mm,
        sampled_mm=smallest.sampled_mm,
        limiting_structure=names[limiting],
        limiting_point_lps_mm=points,
        by_structure={field.name: one for field, one in zip(fields, minima, strict=True) if each_structure},
    )


def _mapped(
    work: Callable[[_Part], _Done], parts: Sequence[_Part], label: str, progress: Progress | None
) -> list[_Done]:
    """Results of `work` on each part, in order. Parts run in threads, as numpy releases the interpreter lock."""
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        done = pool.map(work, parts) if len(parts) > 1 else map(work, parts)
        return list(track(done, label, progress, total=len(parts)))


def _smallest(
    fields: Sequence[DistanceField],
    trajectories: NDArray[np.float64],
    tool: Tool,
    tolerance_mm: float,
    each_structure: bool,
) -> tuple[ClearanceMinimum, NDArray[np.intp], list[ClearanceMinimum]]:
    """The minimum over all fields, the number of the field that has it (-1 for none), and the minimum of each field."""
    count = len(trajectories)
    smallest = ClearanceMinimum(np.full(count, np.inf), np.full(count, np.inf), np.zeros(count))
    limiting = np.full(count, -1)
    searches = [ClearanceSearch(field, trajectories, tool, tolerance_mm=tolerance_mm) for field in fields]
    each = []
    for number, one in enumerate(searches):
        ceiling = None if each_structure else np.min([other.best for other in searches], axis=0)
        found = one.finish(ceiling_mm=ceiling)
        found.certified_mm -= _ROUNDING_MM
        each.append(found)
        nearer = found.certified_mm < smallest.certified_mm
        limiting[nearer] = number
        smallest.certified_mm[nearer] = found.certified_mm[nearer]
        smallest.fraction[nearer] = found.fraction[nearer]
        np.minimum(smallest.sampled_mm, found.sampled_mm, out=smallest.sampled_mm)
    return smallest, limiting, each


def _joined(parts: Sequence[ClearanceMinimum]) -> ClearanceMinimum:
    """Concatenate minima over the trajectories."""
    none = np.empty(0)
    return ClearanceMinimum(
        np.concatenate([none, *(part.certified_mm for part in parts)]),
        np.concatenate([none, *(part.sampled_mm for part in parts)]),
        np.concatenate([none, *(part.fraction for part in parts)]),
    )


def trajectory_array(trajectories_lps_mm: ArrayLike) -> NDArray[np.float64]:
    """Trajectories as float64 (N, 2, 3).

    Raises
    ------
    PlanningError
        If the shape is another one, or a number is not finite or beyond
        :data:`~medsam_planner.planning.lengths.FARTHEST_MM`.
    """
    trajectories = np.asarray(trajectories_lps_mm, dtype=np.float64)
    if trajectories.ndim != 3 or trajectories.shape[1:] != (2, 3):
        raise PlanningError(
            f"Expected trajectories of shape (N, 2, 3), entry then target in LPS mm, got {trajectories.shape}."
        )
    is_near = (np.abs(trajectories) <= FARTHEST_MM).all(axis=(1, 2))
    if not is_near.all():
        bad = int(np.flatnonzero(~is_near)[0])
        raise PlanningError(
            f"Expected finite positions within ±{FARTHEST_MM:g} mm, trajectory {bad} is "
            f"{trajectories[bad].tolist()}. Check its unit."
        )
    return trajectories
