"""Read lines that a person places: the measures of the planner, in fields that are built once for a region."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm, voxel_diagonal_mm
from medsam_planner.planning.alternatives import Alternative, limited_by, measured_lines, sampled_hit
from medsam_planner.planning.candidates import SHORTEST_MM, entry_angles_deg
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.hit import HitProbability
from medsam_planner.planning.problem import Limits, PlanningProblem, entry_region_on_surface
from medsam_planner.planning.sample_fields import SampleFields
from medsam_planner.planning.structures import Structure
from medsam_planner.planning.tool import Tool

__all__ = ["LineReader", "LineReading"]

_AT_SURFACE_MM = 10.0
"""The direction of a surface is that of its nearest place within this distance."""
_SNAP_MM = 60.0
"""An entry is moved along its line by at most this, to the surface that is entered."""
_SNAP_STEP_MM = 0.25
_UNKNOWN = HitProbability(math.nan, (math.nan, math.nan), np.empty(0))


@dataclass(frozen=True, slots=True, eq=False)
class LineReading:
    """What is known of one line."""

    line: Alternative
    """Its measures. The hit probabilities are NaN while the fields of the mask samples are being built, and the entry
    angle is NaN where the entry does not lie at the surface that is entered."""
    below_surface_mm: float
    """Depth of the entry below the surface that is entered; negative outside. What lies before it is not checked."""
    broken_limits: tuple[str, ...]
    """Limits of the plan that the line does not keep, each as a sentence."""
    is_hit_known: bool

    @property
    def is_at_surface(self) -> bool:
        """Whether the line begins at the surface that is entered, to a voxel."""
        return math.isfinite(self.line.entry_angle_deg)


@dataclass(eq=False)
class LineReader:
    """Reads lines of one tool within a region.

    Parameters
    ----------
    problem : PlanningProblem
        With its surroundings.
    fields : sequence of DistanceField
        Of its structures, for the region.
    samples : mapping
        By structure, the fields of its mask samples for the region.
    entered : highdicom.Volume
        bool mask of what is entered: the body, or a bone.
    """

    problem: PlanningProblem
    fields: Sequence[DistanceField]
    samples: Mapping[str, SampleFields]
    entered: highdicom.Volume

    def read(self, trajectory_lps_mm: NDArray[np.float64], tool: Tool, *, is_live: bool = True) -> LineReading:
        """Measure one line, (2, 3) LPS mm, entry then target.

        Parameters
        ----------
        trajectory_lps_mm : (2, 3) float
        tool : Tool
            May differ from the problem's: the fields do not depend on it.
        is_live : bool
            Whether to leave out what is not there yet: hit probabilities whose fields are being built, and grades.

        Raises
        ------
        PlanningError
            If entry and target are one point.
        """
        trajectory = np.asarray(trajectory_lps_mm, dtype=np.float64)
        if np.linalg.norm(trajectory[1] - trajectory[0]) < SHORTEST_MM:
            raise PlanningError("Expected an entry and a target apart from each other, got one point for both.")
        problem = replace(self.problem, tool=tool)
        below_mm, angle = self._entry(trajectory)
        (line,) = measured_lines(
            problem,
            self.fields,
            trajectory[None],
            entry_angle_deg=np.array([angle]),
            longest_mm=self._longest_mm(trajectory),
            hit=self._known_hit if is_live else self.hit,
            with_grades=not is_live,
        )
        line = replace(line, is_by_hand=True, reason=f"Placed by hand; {limited_by(line)}.")
        is_known = not any(map(math.isnan, line.hit_probability_by_structure.values()))
        if not is_known:
            line = replace(line, hit_probability=math.nan, hit_probability_interval=(math.nan, math.nan))
        return LineReading(line, below_mm, broken_limits(line, problem.limits), is_known)

    def hit(
        self, trajectory_lps_mm: NDArray[np.float64], structure: Structure, problem: PlanningProblem
    ) -> HitProbability:
        """The hit probability in the kept fields, or without them where they are not there."""
        found = self._known_hit(trajectory_lps_mm, structure, problem)
        return sampled_hit(trajectory_lps_mm, structure, problem) if found is _UNKNOWN else found

    def on_surface(self, trajectory_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The line (2, 3) with its entry moved along it to the nearest place where it leaves what is entered.

        The line as it is, where it leaves it nowhere within 60 mm of the entry.
        """
        entry, target = np.asarray(trajectory_lps_mm, dtype=np.float64)
        length = float(np.linalg.norm(entry - target))
        if length < SHORTEST_MM:
            return np.stack([entry, target])
        outward = (entry - target) / length
        distance = np.arange(max(length - _SNAP_MM, SHORTEST_MM), length + _SNAP_MM, _SNAP_STEP_MM)
        inside = self._is_inside(target + distance[:, None] * outward)
        leaves = np.flatnonzero(inside[:-1] & ~inside[1:])
        if not len(leaves):
            return np.stack([entry, target])
        nearest = leaves[np.argmin(np.abs(distance[leaves] - length))]
        return np.stack([target + distance[nearest] * outward, target])

    def _known_hit(
        self, trajectory_lps_mm: NDArray[np.float64], structure: Structure, problem: PlanningProblem
    ) -> HitProbability:
        settings, kept = problem.settings, self.samples.get(structure.name)
        found = None
        if kept is not None:
            found = kept.hit_probability(trajectory_lps_mm, problem.tool, settings.hit_draws, settings.seed)
        return _UNKNOWN if found is None else found

    def _longest_mm(self, trajectory: NDArray[np.float64]) -> float:
        length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
        limit = self.problem.limits.max_length_mm
        return max(limit, length) if math.isfinite(limit) else length

    def _is_inside(self, places_lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        index = np.floor(index_from_lps(self.entered.affine, places_lps_mm) + 0.5).astype(np.int64)
        shape = np.array(self.entered.spatial_shape)
        is_known = ((index >= 0) & (index < shape)).all(axis=1)
        inside = np.zeros(len(index), dtype=bool)
        inside[is_known] = self.entered.array[tuple(index[is_known].T)] > 0
        return inside

    def _near(self, entry_lps_mm: NDArray[np.float64]) -> highdicom.Volume | None:
        """What is entered, around an entry; None where the entry lies far from the images or from its surface."""
        affine = np.asarray(self.entered.affine, dtype=np.float64)
        reach = np.ceil(2 * _AT_SURFACE_MM / spacing_mm(affine)).astype(np.int64)
        middle = np.rint(index_from_lps(affine, entry_lps_mm)).astype(np.int64)
        low = np.clip(middle - reach, 0, np.array(self.entered.spatial_shape))
        high = np.clip(middle + reach + 1, 0, np.array(self.entered.spatial_shape))
        if (high - low < 2).any():
            return None
        part = self.entered.array[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] > 0
        if part.all() or not part.any():
            return None
        shifted = affine.copy()
        shifted[:3, 3] = lps_from_index(affine, low)
        return highdicom.Volume(array=part, affine=shifted, coordinate_system="PATIENT")

    def _entry(self, trajectory: NDArray[np.float64]) -> tuple[float, float]:
        """Depth of the entry below the surface that is entered, and the angle to its normal in degrees.

        The depth is infinite beyond 10 mm or so; the angle is NaN beyond a voxel's diagonal.
        """
        sign = 1.0 if self._is_inside(trajectory[:1])[0] else -1.0
        near = self._near(trajectory[0])
        if near is None:
            return sign * math.inf, math.nan
        region = entry_region_on_surface(near)
        distance_mm = np.linalg.norm(region.points_lps_mm - trajectory[0], axis=1)
        nearest = int(np.argmin(distance_mm))
        below_mm = sign * float(distance_mm[nearest])
        if abs(below_mm) > voxel_diagonal_mm(near.affine):
            return below_mm, math.nan
        normal = region.outward_normals_lps[nearest : nearest + 1]
        return below_mm, float(entry_angles_deg(trajectory[None], normal)[0])


def broken_limits(line: Alternative, limits: Limits) -> tuple[str, ...]:
    """The limits that a line does not keep, each as a sentence."""
    broken = []
    if line.length_mm > limits.max_length_mm:
        broken.append(f"It is {line.length_mm:.1f} mm long; at most {limits.max_length_mm:.0f} mm are allowed.")
    if line.length_mm < limits.min_length_mm:
        broken.append(f"It is {line.length_mm:.1f} mm long; at least {limits.min_length_mm:.0f} mm are asked for.")
    if line.entry_angle_deg > limits.max_entry_angle_deg:
        broken.append(
            f"It enters at {line.entry_angle_deg:.0f}°; at most {limits.max_entry_angle_deg:.0f}° are allowed."
        )
    if line.certified_clearance_mm < limits.min_clearance_mm:
        broken.append(
            f"Its certified clearance is {line.certified_clearance_mm:.1f} mm; at least "
            f"{limits.min_clearance_mm:.1f} mm are asked for."
        )
    return tuple(broken)
