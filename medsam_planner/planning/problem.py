"""A planning problem: where the tool may enter, what it must reach, and the limits no plan may break."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.planning.lengths import require_mm
from medsam_planner.planning.structures import Structure, bool_array
from medsam_planner.planning.surroundings import Surroundings
from medsam_planner.planning.tool import Tool
from xai.surface import surface_voxels

__all__ = [
    "EntryRegion",
    "Limits",
    "PlanningProblem",
    "SearchSettings",
    "Weights",
    "entry_region_on_surface",
    "points_in_mask",
    "points_in_sphere",
]

_NORMAL_SMOOTHING_MM = 3.0
"""Width of the blur from which a surface normal is taken: skin and bone are smooth at this scale, voxels are not."""
_ORDER_STEP_MM = 1.2345679e-4
"""Coordinates closer than this count as equal when points are ordered. It divides no usual voxel spacing, so that
coordinates that differ by rounding alone fall into the same step."""


@dataclass(frozen=True, slots=True, eq=False)
class EntryRegion:
    """Places where the tool may enter.

    Raises
    ------
    PlanningError
        If there is no point, or the normals do not match the points.
    """

    points_lps_mm: NDArray[np.float64]
    """(E, 3)"""
    outward_normals_lps: NDArray[np.float64]
    """(E, 3) unit vectors that point out of the body."""

    def __post_init__(self) -> None:
        points, normals = self.points_lps_mm, self.outward_normals_lps
        if points.ndim != 2 or points.shape[1:] != (3,) or len(points) == 0 or normals.shape != points.shape:
            raise PlanningError(
                f"Expected entry points (E, 3), E >= 1, and one normal each, got {points.shape} and {normals.shape}. "
                "Widen the entry region, or check that it touches the surface."
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What no plan may break.

    Raises
    ------
    PlanningError
        If a limit is not a number, the shortest length exceeds the longest, or it or the clearance is larger than
        :data:`~medsam_planner.planning.lengths.LARGEST_MM`. The longest length may be infinite: no limit.
    """

    max_length_mm: float = 200.0
    min_length_mm: float = 0.0
    max_entry_angle_deg: float = 60.0
    """Between the tool and the inward normal of the surface."""
    min_clearance_mm: float = 0.0
    """Certified clearance beyond margins, tool radius and tool error."""

    def __post_init__(self) -> None:
        values = (self.max_length_mm, self.min_length_mm, self.max_entry_angle_deg, self.min_clearance_mm)
        if any(math.isnan(value) for value in values) or not 0 <= self.min_length_mm <= self.max_length_mm:
            raise PlanningError(f"Expected 0 <= min_length_mm <= max_length_mm, all numbers, got {self}.")
        require_mm(abs(self.min_clearance_mm), "min_clearance_mm, or minus it,")
        require_mm(self.min_length_mm, "min_length_mm")
        if not 0 < self.max_entry_angle_deg <= 180:
            raise PlanningError(f"Expected max_entry_angle_deg in (0, 180], got {self.max_entry_angle_deg}.")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the soft terms; each term lies between 0 (worst) and 1 (best) before it is weighted."""

    clearance: float = 1.0
    """1 at `clearance_scale_mm` and beyond: a larger clearance does not count."""
    length: float = 0.3
    angle: float = 0.2
    hit_probability: float = 0.5
    bone_density: float = 0.0
    clearance_scale_mm: float = 10.0

    def __post_init__(self) -> None:
        values = (self.clearance, self.length, self.angle, self.hit_probability, self.bone_density)
        if not all(math.isfinite(value) and value >= 0 for value in values) or not self.clearance_scale_mm > 0:
            raise PlanningError(f"Expected weights of at least 0 and a clearance_scale_mm above 0, got {self}.")


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Effort of the search. The same settings and seed give the same plan."""

    candidates: int = 20_000
    """Trajectories of the coarse round; the finer rounds together examine about as many."""
    alternatives: int = 5
    min_separation_mm: float = 6.0
    """Alternatives whose entries and whose targets both lie closer than this count as the same."""
    hit_draws: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.candidates, self.alternatives, self.hit_draws)
        if not all(isinstance(count, int | np.integer) and count >= 1 for count in counts):
            raise PlanningError(f"Expected candidates, alternatives and hit_draws of at least 1, got {self}.")
        if not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise PlanningError(f"Expected a seed of at least 0, got {self.seed!r}.")
        require_mm(self.min_separation_mm, "min_separation_mm of the search")
        for name in ("candidates", "alternatives", "hit_draws", "seed"):
            object.__setattr__(self, name, int(getattr(self, name)))


@dataclass(frozen=True, slots=True, eq=False)
class PlanningProblem:
    """Everything the search needs.

    Raises
    ------
    PlanningError
        If there is no target point.
    """

    structures: tuple[Structure, ...]
    tool: Tool
    entry: EntryRegion
    targets_lps_mm: NDArray[np.float64]
    """(G, 3)"""
    limits: Limits = field(default_factory=Limits)
    weights: Weights = field(default_factory=Weights)
    settings: SearchSettings = field(default_factory=SearchSettings)
    bone: highdicom.Volume | None = None
    """CT in HU, for the bone density along the path; None where it does not matter."""
    surroundings: Surroundings | None = None
    """The image that tells what each path goes through; None leaves that unknown."""

    def __post_init__(self) -> None:
        targets = self.targets_lps_mm
        if targets.ndim != 2 or targets.shape[1:] != (3,) or len(targets) == 0:
            raise PlanningError(f"Expected target points (G, 3) with G >= 1, got shape {targets.shape}.")


def entry_region_on_surface(
    mask: highdicom.Volume,
    *,
    centre_lps_mm: ArrayLike | None = None,
    radius_mm: float | None = None,
) -> EntryRegion:
    """Surface voxels of a mask, with the normals of the smoothed surface.

    Parameters
    ----------
    mask : highdicom.Volume
        bool; the body, head or bone that is entered.
    centre_lps_mm, radius_mm
        Keep only the surface inside this sphere.

    Raises
    ------
    PlanningError
        If no surface is left.
    """
    inside = bool_array(mask, "entry")
    index = np.argwhere(surface_voxels(inside))
    points = lps_from_index(mask.affine, index)
    if centre_lps_mm is not None and radius_mm is not None:
        near = np.linalg.norm(points - np.asarray(centre_lps_mm, dtype=np.float64), axis=1) <= radius_mm
        index, points = index[near], points[near]
    if len(index) == 0:
        raise PlanningError("Expected an entry region that touches the surface, none of the surface lies in it.")
    order = _lps_order(points)
    return EntryRegion(points[order], _outward_normals(inside, mask.affine, index[order]))


def points_in_mask(mask: highdicom.Volume) -> NDArray[np.float64]:
    """(G, 3) centres of a mask's voxels, LPS mm, ordered by their coordinates."""
    points = lps_from_index(mask.affine, np.argwhere(bool_array(mask, "target")))
    return points[_lps_order(points)]


def points_in_sphere(centre_lps_mm: ArrayLike, radius_mm: float, *, count: int = 33) -> NDArray[np.float64]:
    """(count, 3) evenly spread points of a ball, its centre first; only the centre where the radius is 0."""
    centre = np.asarray(centre_lps_mm, dtype=np.float64)
    if radius_mm <= 0 or count <= 1:
        return centre[None]
    # A Fibonacci lattice: golden-angle steps around the axis, equal volumes outward.
    step = np.arange(1, count)
    height = 1 - 2 * (step - 0.5) / (count - 1)
    turn = step * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - height**2)
    shell = radius_mm * (((step * 0.618034) % 1.0) ** (1 / 3))
    offsets = shell[:, None] * np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    return np.concatenate([centre[None], centre + offsets])


def _lps_order(points_lps_mm: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order of points by x, then y, then z: the same however the voxels are stored in memory."""
    return np.lexsort(np.rint(points_lps_mm / _ORDER_STEP_MM).T[::-1])


def _outward_normals(
    inside: NDArray[np.bool_], affine: NDArray[np.float64], index: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Minus the gradient of the blurred mask, turned from index to LPS."""
    spacing = spacing_mm(affine)
    reach = np.ceil(4 * _NORMAL_SMOOTHING_MM / spacing).astype(int) + 2
    low = np.maximum(index.min(axis=0) - reach, 0)
    high = np.minimum(index.max(axis=0) + reach + 1, inside.shape)
    box = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    blurred = ndimage.gaussian_filter(inside[box].astype(np.float32), _NORMAL_SMOOTHING_MM / spacing, mode="nearest")
    at = tuple((index - low).T)
    gradient = np.stack([part[at] for part in np.gradient(blurred)], axis=1).astype(np.float64)
    normals = -gradient @ np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
