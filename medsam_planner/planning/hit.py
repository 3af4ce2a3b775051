r"""Probability that the tool touches a structure, given uncertain masks and an uncertain tool position.

Voxels are not independent: :math:`1 - \prod (1 - p)` over the voxels on a path depends on the size of the voxels. Here
whole masks and whole displacements of the tool are sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index, require_affine, spacing_mm
from medsam_planner.planning.distance_field import DistanceField, Layer
from medsam_planner.planning.interval_search import ClearanceSearch
from medsam_planner.planning.region import IndexBox, window
from medsam_planner.planning.soft_surface import surface_distance_mm
from medsam_planner.planning.structures import (
    SampledMasks,
    StayInside,
    Structure,
    bool_array,
    mask_volumes,
    require_right_angles,
)
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress, track

__all__ = [
    "CONFIDENCE",
    "FAR_DEVIATIONS",
    "HitProbability",
    "clopper_pearson",
    "counted_masks",
    "distance_in_region",
    "hit_of_fields",
    "hit_probability",
    "sampled_masks",
    "sampled_path",
    "structure_hit_probability",
]

CONFIDENCE = 0.95
FAR_DEVIATIONS = 5.0
"""A displacement longer than this has a probability of 1.5e-5 in 3D; such hits are ignored."""
_PIECE_MM = 40.0
"""Long trajectories are processed in pieces, so that the voxels around an oblique trajectory stay few."""
_TOLERANCE_MM = 0.05
_NEAR_STEP_MM = 4.0
_BORDER_VOXELS = 4
"""Voxels kept around those within reach: the blur of a surface reaches three voxels."""


@dataclass(frozen=True, slots=True, eq=False)
class HitProbability:
    """Probability that the tool touches a structure."""

    probability: float
    interval: tuple[float, float]
    """Clopper–Pearson over the mask samples, at confidence `CONFIDENCE`. One mask says next to nothing about the
    segmentation, and its interval is accordingly wide."""
    per_sample: NDArray[np.float64]
    """(T,) share of the displaced tools that touch each mask."""


def hit_probability(
    trajectory_lps_mm: ArrayLike,
    mask_samples: Sequence[highdicom.Volume] | SampledMasks | NDArray[np.bool_],
    tool: Tool,
    draws: int = 1000,
    seed: int = 0,
    *,
    affine: ArrayLike | None = None,
    progress: Progress | None = None,
) -> HitProbability:
    """Mean over mask samples and tool errors of [the displaced trajectory comes within the tool's radius of the mask].

    A displacement is one standard normal vector n, drawn afresh for every tool: the place at the fraction s of the path
    moves by ``σ(s) n``, where σ runs linearly from the tool's entry error to its target error. With equal errors the
    trajectory moves in parallel. The surface of a mask is
    estimated between its voxels (:mod:`medsam_planner.planning.soft_surface`).

    Parameters
    ----------
    trajectory_lps_mm : (2, 3) float
        Entry and target.
    mask_samples : sequence of highdicom.Volume, SampledMasks, or (T, K, J, I) bool with `affine`
        T >= 1 masks from stochastic passes. An empty mask cannot be hit.
    tool : Tool
        Its errors are standard deviations along each axis.
    draws : int
        Displacements per mask.
    seed : int
    affine : (4, 4) float, optional
        Index to LPS mm, when the samples are an array.

    Raises
    ------
    PlanningError
        If the trajectory, the samples or the number of draws cannot be right.
    """
    return _probability(
        _trajectory(trajectory_lps_mm), _volumes(mask_samples, affine), tool, draws, seed, False, progress
    )


def structure_hit_probability(
    trajectory_lps_mm: ArrayLike,
    structure: Structure,
    tool: Tool,
    draws: int = 1000,
    seed: int = 0,
    *,
    progress: Progress | None = None,
) -> HitProbability:
    """Probability of touching a structure to avoid, or of breaching a corridor after its free entry.

    From the structure's mask samples; without any, from its one mask, so that only the tool's error counts.
    """
    path, moved_tool = sampled_path(trajectory_lps_mm, structure, tool)
    is_corridor = isinstance(structure, StayInside)
    return _probability(path, counted_masks(sampled_masks(structure)), moved_tool, draws, seed, is_corridor, progress)


def sampled_masks(structure: Structure) -> Sequence[highdicom.Volume] | SampledMasks:
    """The mask samples of a structure; its one mask where there are none."""
    return structure.mask_samples if len(structure.mask_samples) else (structure.mask,)


def sampled_path(trajectory_lps_mm: ArrayLike, structure: Structure, tool: Tool) -> tuple[NDArray[np.float64], Tool]:
    """The part of a trajectory (2, 3) that counts for a structure, and the tool with its errors at the ends of it."""
    trajectory = _trajectory(trajectory_lps_mm)
    if not isinstance(structure, StayInside):
        return trajectory, tool
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    free = min(structure.free_entry_mm / length, 1.0) if length else 0.0
    fractions = np.array([[free], [1.0]])
    sigma = tool.error_mm(fractions.ravel())
    path = trajectory[0] + fractions * (trajectory[1] - trajectory[0])
    return path, Tool(tool.radius_mm, float(sigma[0]), float(sigma[1]))


def clopper_pearson(successes: float, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact binomial interval, continued to a fractional number of successes through the beta distribution.

    A mean of probabilities varies less over its samples than a mean of zeros and ones does, so the interval is not
    too narrow. DOI 10.1093/biomet/26.4.404.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes >= trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high


def counted_masks(samples: Sequence[highdicom.Volume] | SampledMasks) -> tuple[int, Iterable[highdicom.Volume]]:
    """How many masks, and each in turn."""
    return len(samples), mask_volumes(samples)


def _trajectory(trajectory_lps_mm: ArrayLike) -> NDArray[np.float64]:
    trajectory = np.asarray(trajectory_lps_mm, dtype=np.float64)
    if trajectory.shape != (2, 3) or not np.isfinite(trajectory).all():
        raise PlanningError(f"Expected one trajectory as two finite LPS positions (2, 3), got {trajectory.tolist()}.")
    return trajectory


def _volumes(
    samples: Sequence[highdicom.Volume] | SampledMasks | NDArray[np.bool_], affine: ArrayLike | None
) -> tuple[int, Iterable[highdicom.Volume]]:
    if isinstance(samples, np.ndarray):
        if affine is None or samples.ndim != 4 or samples.dtype != np.bool_:
            raise PlanningError(
                "Expected mask samples as volumes, or as a bool array (T, K, J, I) together with its affine; got an "
                f"array of shape {samples.shape}, {samples.dtype}, affine={'given' if affine is not None else None}."
            )
        matrix = require_affine(affine)
        return len(samples), (
            highdicom.Volume(array=mask, affine=matrix, coordinate_system="PATIENT") for mask in samples
        )
    return counted_masks(samples)


def _probability(
    trajectory: NDArray[np.float64],
    samples: tuple[int, Iterable[highdicom.Volume]],
    tool: Tool,
    draws: int,
    seed: int,
    complement: bool,
    progress: Progress | None,
) -> HitProbability:
    count, masks = samples
    if count < 1 or draws < 1:
        raise PlanningError(f"Expected at least one mask sample and one draw, got {count} and {draws}.")
    generator = np.random.default_rng(seed)
    shares = np.zeros(count)
    for number, mask in enumerate(track(masks, "hit probability", progress, total=count)):
        moved = _displaced(trajectory, tool, draws, generator)
        shares[number] = _touches(moved, trajectory, mask, tool, complement).mean()
    return _of_shares(shares)


def _touches(
    moved: NDArray[np.float64], trajectory: NDArray[np.float64], mask: highdicom.Volume, tool: Tool, complement: bool
) -> NDArray[np.bool_]:
    """Which of the displaced trajectories (N, 2, 3) come within the radius of the mask or of its complement."""
    inside = bool_array(mask, "mask sample")
    affine = np.asarray(mask.affine, dtype=np.float64)
    require_right_angles(affine, "mask sample")
    spacing = spacing_mm(affine)
    reach = tool.radius_mm + FAR_DEVIATIONS * float(tool.error_mm([0.0, 1.0]).max()) + float(np.linalg.norm(spacing))
    pieces = max(1, int(np.ceil(np.linalg.norm(trajectory[1] - trajectory[0]) / _PIECE_MM)))
    touched = np.zeros(len(moved), dtype=bool)
    for piece in range(pieces):
        ends = np.array([piece, piece + 1])[:, None] / pieces
        nominal = trajectory[0] + ends * (trajectory[1] - trajectory[0])
        field = _distance_near(inside, affine, spacing, nominal, reach, tool.radius_mm, complement)
        if field is None:
            continue
        left = np.flatnonzero(~touched)
        start, step = moved[left, :1], moved[left, 1:] - moved[left, :1]
        touched[left] = _reaches(field, start + ends * step, tool.radius_mm)
    return touched


def _reaches(field: DistanceField, moved: NDArray[np.float64], radius_mm: float) -> NDArray[np.bool_]:
    """Which of the displaced trajectories (N, 2, 3) come within the radius of the surface of a field.

    Only whether the radius is reached matters. The interpolated distance decides: near a smooth surface it is nearly
    exact, where the lower bound would be too small by a part of a voxel.
    """
    ceiling = np.full(len(moved), radius_mm - field.voxel_diagonal_mm)
    search = ClearanceSearch(field, moved, Tool(0.0, 0.0, 0.0), tolerance_mm=_TOLERANCE_MM)
    reached: NDArray[np.bool_] = search.finish(ceiling_mm=ceiling, floor_mm=radius_mm).sampled_mm <= radius_mm
    return reached


def hit_of_fields(
    trajectory_lps_mm: NDArray[np.float64],
    fields: Sequence[DistanceField | None],
    tool: Tool,
    draws: int,
    seed: int,
) -> HitProbability:
    """As :func:`hit_probability`, in one field for each mask sample from :func:`distance_in_region`."""
    generator = np.random.default_rng(seed)
    reach_mm = tool.radius_mm + FAR_DEVIATIONS * float(tool.error_mm([0.0, 1.0]).max())
    shares = np.zeros(len(fields))
    for number, field in enumerate(fields):
        moved = _displaced(trajectory_lps_mm, tool, draws, generator)
        if field is not None and _is_near(field, trajectory_lps_mm, reach_mm):
            shares[number] = _reaches(field, moved, tool.radius_mm).mean()
    return _of_shares(shares)


def _is_near(field: DistanceField, trajectory_lps_mm: NDArray[np.float64], reach_mm: float) -> bool:
    """Whether the surface of a field may lie within reach of a trajectory (2, 3); distances fall by 1 mm a mm."""
    length = float(np.linalg.norm(trajectory_lps_mm[1] - trajectory_lps_mm[0]))
    fraction = np.linspace(0.0, 1.0, max(int(np.ceil(length / _NEAR_STEP_MM)), 1) + 1)[:, None]
    places = trajectory_lps_mm[0] + fraction * (trajectory_lps_mm[1] - trajectory_lps_mm[0])
    nearest = float(field.read(field.index(places).T)[0].min())
    return nearest <= reach_mm + _NEAR_STEP_MM / 2 + field.voxel_diagonal_mm


def _displaced(
    trajectory: NDArray[np.float64], tool: Tool, draws: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """(draws, 2, 3) displaced tools."""
    shift = generator.standard_normal((draws, 1, 3))
    moved: NDArray[np.float64] = trajectory + tool.error_mm([0.0, 1.0])[None, :, None] * shift
    return moved


def _of_shares(shares: NDArray[np.float64]) -> HitProbability:
    low, high = clopper_pearson(float(shares.sum()), len(shares))
    return HitProbability(float(shares.mean()), (low, high), shares)


def _distance_near(
    inside: NDArray[np.bool_],
    affine: NDArray[np.float64],
    spacing: NDArray[np.float64],
    trajectory: NDArray[np.float64],
    reach_mm: float,
    radius_mm: float,
    complement: bool,
) -> DistanceField | None:
    """Distance to the mask's surface where it is within reach of a trajectory, None where it is nowhere."""
    ends = index_from_lps(affine, trajectory)
    grow = reach_mm / spacing
    low = np.floor(ends.min(axis=0) - grow).astype(np.int64)
    high = np.ceil(ends.max(axis=0) + grow).astype(np.int64) + 1
    structure = ~inside if complement else inside
    place = np.argwhere(window(structure, IndexBox(low, high), outside=complement)) + low
    place = place[_segment_distance(place * spacing, ends * spacing) <= reach_mm]
    if not len(place):
        return None
    return _field_around(structure, place, affine, spacing, radius_mm, complement)


def distance_in_region(
    inside: NDArray[np.bool_],
    affine: NDArray[np.float64],
    region_lps_mm: NDArray[np.float64],
    reach_mm: float,
    radius_mm: float,
    complement: bool,
) -> DistanceField | None:
    """Distance to a mask's surface for all lines in a region, None where the mask is within reach of none.

    Parameters
    ----------
    inside : (K, J, I) bool
    affine : (4, 4) float
        Index to LPS mm.
    region_lps_mm : (P, 3) float
        Corners of the region.
    reach_mm : float
        How far from a line the displaced tool can be.
    radius_mm : float
        Largest radius of a tool.
    complement : bool
        Whether the structure is all that is not in the mask.
    """
    spacing = spacing_mm(affine)
    corners = index_from_lps(affine, region_lps_mm)
    low = np.floor(corners.min(axis=0) - reach_mm / spacing).astype(np.int64)
    high = np.ceil(corners.max(axis=0) + reach_mm / spacing).astype(np.int64) + 1
    structure = ~inside if complement else inside
    place = np.argwhere(window(structure, IndexBox(low, high), outside=complement)) + low
    return _field_around(structure, place, affine, spacing, radius_mm, complement) if len(place) else None


def _field_around(
    structure: NDArray[np.bool_],
    place: NDArray[np.int64],
    affine: NDArray[np.float64],
    spacing: NDArray[np.float64],
    radius_mm: float,
    complement: bool,
) -> DistanceField:
    """Distance to the surface in the box around some voxels (P, 3) of it, grown by a radius."""
    border = np.ceil(radius_mm / spacing).astype(np.int64) + _BORDER_VOXELS
    tight = IndexBox(place.min(axis=0) - border, place.max(axis=0) + 1 + border)
    values, deepest = surface_distance_mm(window(structure, tight, outside=complement), spacing)
    layer = Layer(values, np.zeros(3), np.ones(3, dtype=np.int64), np.inf)
    shifted = affine.copy()
    shifted[:3, 3] = lps_from_index(affine, tight.low)
    return DistanceField("mask sample", (layer,), shifted, spacing, 0.0, deepest, outside_is_structure=False)


def _segment_distance(points: NDArray[np.integer | np.floating], segment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points (P, 3) to one segment (2, 3)."""
    along = segment[1] - segment[0]
    square = float(along @ along)
    offset = points - segment[0]
    fraction = np.clip(offset @ along / square, 0.0, 1.0) if square > 0 else np.zeros(len(points))
    distance: NDArray[np.float64] = np.linalg.norm(offset - fraction[:, None] * along, axis=1)
    return distance
