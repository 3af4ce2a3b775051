"""Screws in bone: depth of a breach of the wall, Gertzbein–Robbins grade, and density of the bone around them."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, spacing_mm
from medsam_planner.planning.clearance import trajectory_array
from medsam_planner.planning.region import IndexBox, window
from medsam_planner.planning.soft_surface import surface_distance_mm
from medsam_planner.planning.structures import StayInside, bool_array, mask_volumes
from medsam_planner.planning.tool import Tool

__all__ = ["GRADES", "ScrewGrade", "density_along_hu", "density_in_tool_hu", "gertzbein_robbins", "grade_screws"]

GRADES = ("A", "B", "C", "D", "E")
_BREACH_LIMITS_MM = (2.0, 4.0, 6.0)
"""A is no breach, B less than 2 mm, C less than 4, D less than 6, E 6 mm or more (Gertzbein and Robbins, Spine 1990,
doi 10.1097/00007632-199001000-00004)."""
_STEP_MM = 0.5
_FAR_DEVIATIONS = 4.0
_NO_BREACH_MM = 1e-6
_DISC_POINTS = 32


@dataclass(frozen=True, slots=True)
class ScrewGrade:
    """Gertzbein–Robbins grade of one planned screw.

    The planned grade is that of the trajectory itself in the mask itself. The shares are over mask samples and
    displacements of the tool: the grades that the executed plan may have.
    """

    corridor: str
    breach_mm: float
    """How far the planned screw's surface leaves the bone, at most along its path; 0 when it does not."""
    planned: str
    share_by_grade: dict[str, float]
    """Over all samples and displacements; they add up to 1."""
    mask_samples: int
    """Number of sampled masks behind the shares; 0 where there was only the mask itself."""

    @property
    def acceptable_share(self) -> float:
        """Share of grades A and B together, which the literature calls clinically acceptable."""
        return self.share_by_grade["A"] + self.share_by_grade["B"]


def gertzbein_robbins(breach_mm: ArrayLike) -> NDArray[np.str_]:
    """Grade of each breach, mm.

    Raises
    ------
    PlanningError
        If a breach is negative or not a number.
    """
    breach = np.asarray(breach_mm, dtype=np.float64)
    if np.isnan(breach).any() or (breach < 0).any():
        raise PlanningError(f"Expected breaches in mm, >= 0, got {breach_mm!r}.")
    number = np.where(breach <= _NO_BREACH_MM, 0, 1 + np.searchsorted(_BREACH_LIMITS_MM, breach, side="right"))
    return np.array(GRADES)[number]


def grade_screws(
    trajectories_lps_mm: ArrayLike, corridor: StayInside, tool: Tool, draws: int = 300, seed: int = 0
) -> tuple[ScrewGrade, ...]:
    """Grade screws along trajectories of one corridor.

    Parameters
    ----------
    trajectories_lps_mm : (N, 2, 3) float
        Entry, then target. The path of `corridor.free_entry_mm` after the entry is not graded.
    corridor : StayInside
        The bone; its margin is not used. Beyond the volume there is no bone.
    tool : Tool
        Its errors are standard deviations along each axis, as in
        :func:`~medsam_planner.planning.hit.hit_probability`.
    draws : int
        Displacements per mask sample.
    seed : int

    Raises
    ------
    PlanningError
        If the trajectories are not (N, 2, 3) finite numbers, or there is no draw.
    """
    trajectories = trajectory_array(trajectories_lps_mm)
    if draws < 1:
        raise PlanningError(f"Expected at least one draw, got {draws}.")
    if not len(trajectories):
        return ()
    shift = np.random.default_rng(seed).standard_normal((draws, 1, 3))
    moved = trajectories[:, None] + tool.error_mm([0.0, 1.0])[:, None] * shift
    planned = _WallDistance(corridor.mask, trajectories, tool).breach_mm(trajectories, corridor.free_entry_mm)
    counts = np.zeros((len(trajectories), len(GRADES)))
    samples = corridor.mask_samples if len(corridor.mask_samples) else (corridor.mask,)
    for mask in mask_volumes(samples):
        breach = _WallDistance(mask, trajectories, tool).breach_mm(moved.reshape(-1, 2, 3), corridor.free_entry_mm)
        grades = gertzbein_robbins(breach).reshape(len(trajectories), draws)
        counts += (grades[..., None] == np.array(GRADES)).mean(axis=1)
    shares = counts / len(samples)
    return tuple(
        ScrewGrade(
            corridor=corridor.name,
            breach_mm=float(planned[row]),
            planned=str(gertzbein_robbins(planned[row])),
            share_by_grade=dict(zip(GRADES, shares[row].tolist(), strict=True)),
            mask_samples=len(corridor.mask_samples),
        )
        for row in range(len(trajectories))
    )


class _WallDistance:
    """Signed distance to the wall of a bone around some trajectories: positive inside."""

    def __init__(self, mask: highdicom.Volume, trajectories_lps_mm: NDArray[np.float64], tool: Tool) -> None:
        self.affine = np.asarray(mask.affine, dtype=np.float64)
        self.radius_mm = tool.radius_mm
        spacing = spacing_mm(self.affine)
        index = index_from_lps(self.affine, trajectories_lps_mm.reshape(-1, 3))
        reach = tool.radius_mm + _FAR_DEVIATIONS * float(tool.error_mm([0.0, 1.0]).max()) + _BREACH_LIMITS_MM[-1]
        grow = np.ceil(reach / spacing)
        self.low = np.floor(index.min(axis=0) - grow).astype(np.int64)
        box = IndexBox(self.low, np.ceil(index.max(axis=0) + grow).astype(np.int64) + 1)
        bone = window(bool_array(mask, "corridor"), box, outside=False)
        within, _ = surface_distance_mm(~bone, spacing)
        beyond, _ = surface_distance_mm(bone, spacing)
        self.distance_mm = np.where(bone, within, -beyond)

    def breach_mm(self, trajectories_lps_mm: NDArray[np.float64], free_entry_mm: float) -> NDArray[np.float64]:
        """(N,) how far the tool's surface leaves the bone along each trajectory, after its free entry."""
        length = np.linalg.norm(trajectories_lps_mm[:, 1] - trajectories_lps_mm[:, 0], axis=1)
        free = np.minimum(free_entry_mm / np.maximum(length, 1e-9), 1.0)
        places = max(int(np.ceil(length.max() / _STEP_MM)), 1) + 1
        fraction = free[:, None] + (1 - free[:, None]) * np.linspace(0, 1, places)
        path = trajectories_lps_mm[:, :1] + fraction[..., None] * (
            trajectories_lps_mm[:, 1:] - trajectories_lps_mm[:, :1]
        )
        index = (index_from_lps(self.affine, path) - self.low).reshape(-1, 3).T
        inside_mm = ndimage.map_coordinates(self.distance_mm, index, order=1, mode="nearest").reshape(fraction.shape)
        breach: NDArray[np.float64] = np.maximum(self.radius_mm - inside_mm.min(axis=1), 0.0).astype(np.float64)
        return breach


def density_along_hu(bone: highdicom.Volume, trajectory_lps_mm: ArrayLike) -> float:
    """Mean CT value along the axis of a trajectory (2, 3), HU; beyond the volume its edge counts."""
    return _mean_hu(bone, _axis(trajectory_lps_mm))


def density_in_tool_hu(bone: highdicom.Volume, trajectory_lps_mm: ArrayLike, radius_mm: float) -> float:
    """Mean CT value inside the cylinder that the tool fills, HU: evenly spread places of each cross-section."""
    axis = _axis(trajectory_lps_mm)
    along = axis[-1] - axis[0]
    length = float(np.linalg.norm(along))
    if length == 0 or radius_mm <= 0:
        return _mean_hu(bone, axis)
    least = np.eye(3)[int(np.argmin(np.abs(along)))]
    across = np.cross(along, least)
    across /= np.linalg.norm(across)
    athwart = np.cross(along / length, across)
    step = np.arange(_DISC_POINTS) + 0.5
    distance, turn = radius_mm * np.sqrt(step / _DISC_POINTS), step * np.pi * (3 - np.sqrt(5))
    disc = (distance * np.cos(turn))[:, None] * across + (distance * np.sin(turn))[:, None] * athwart
    return _mean_hu(bone, (axis[:, None] + disc).reshape(-1, 3))


def _axis(trajectory_lps_mm: ArrayLike) -> NDArray[np.float64]:
    trajectory = trajectory_array(np.asarray(trajectory_lps_mm)[None])[0]
    count = max(int(np.ceil(np.linalg.norm(trajectory[1] - trajectory[0]) / _STEP_MM)), 1) + 1
    places: NDArray[np.float64] = trajectory[0] + np.linspace(0, 1, count)[:, None] * (trajectory[1] - trajectory[0])
    return places


def _mean_hu(bone: highdicom.Volume, position_lps_mm: NDArray[np.float64]) -> float:
    index = index_from_lps(bone.affine, position_lps_mm)
    values = ndimage.map_coordinates(bone.array, index.T, order=1, mode="nearest", output=np.float64)
    return float(values.mean())
