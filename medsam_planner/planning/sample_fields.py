"""Distance fields of a structure's mask samples, kept for the hit probabilities of many lines in one region."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.geometry import spacing_mm
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.hit import (
    FAR_DEVIATIONS,
    HitProbability,
    counted_masks,
    distance_in_region,
    hit_of_fields,
    sampled_masks,
    sampled_path,
)
from medsam_planner.planning.structures import StayInside, Structure, bool_array, require_right_angles
from medsam_planner.planning.tool import Tool

__all__ = ["SampleFields"]


@dataclass(eq=False)
class SampleFields:
    """The distance to the surface of each mask sample of one structure, around a region.

    They take about half a second for a sample, so they are built beside whatever else is done (:meth:`build`), and
    a probability is there once all of them are.
    """

    structure: Structure
    region_lps_mm: NDArray[np.float64]
    """(P, 3) corners: the lines lie in their bounding box along the axes of the structure's grid."""
    reach_mm: float
    """A displaced tool comes no farther from its line than this; see :meth:`reach_of`."""
    radius_mm: float
    """No tool is thicker."""
    _fields: list[DistanceField | None] = field(default_factory=list)
    _is_stopped: threading.Event = field(default_factory=threading.Event)
    _built: Future[None] | None = None

    @staticmethod
    def reach_of(tool: Tool, structure: Structure) -> float:
        """How far from a line the displaced surface of a tool can be, mm."""
        voxel = float(np.linalg.norm(spacing_mm(np.asarray(structure.mask.affine, dtype=np.float64))))
        return tool.radius_mm + FAR_DEVIATIONS * float(tool.error_mm([0.0, 1.0]).max()) + voxel

    @property
    def count(self) -> int:
        """Number of mask samples."""
        return counted_masks(sampled_masks(self.structure))[0]

    @property
    def is_ready(self) -> bool:
        """Whether every sample has its field."""
        return self._built is not None and self._built.done() and not self._built.cancelled()

    @property
    def memory_bytes(self) -> int:
        """Of the fields that are there."""
        return sum(one.layers[0].values_mm.nbytes for one in self._fields if one is not None)

    def build(self, pool: ThreadPoolExecutor) -> Future[None]:
        """Begin to build them in a thread; once begun, the same future again."""
        if self._built is None:
            self._built = pool.submit(self._build)
        return self._built

    def stop(self) -> None:
        """Give up what is not built yet."""
        self._is_stopped.set()
        if self._built is not None:
            self._built.cancel()

    def hit_probability(self, trajectory_lps_mm: ArrayLike, tool: Tool, draws: int, seed: int) -> HitProbability | None:
        """As :func:`~medsam_planner.planning.hit.structure_hit_probability`; None before the fields are there.

        None, too, for a tool that reaches farther than the fields do.
        """
        is_covered = tool.radius_mm <= self.radius_mm and self.reach_of(tool, self.structure) <= self.reach_mm
        if not self.is_ready or not is_covered:
            return None
        assert self._built is not None
        self._built.result()
        trajectory, tool = sampled_path(trajectory_lps_mm, self.structure, tool)
        return hit_of_fields(trajectory, self._fields, tool, draws, seed)

    def _build(self) -> None:
        is_corridor = isinstance(self.structure, StayInside)
        _, masks = counted_masks(sampled_masks(self.structure))
        for mask in masks:
            if self._is_stopped.is_set():
                raise CancelledError
            affine = np.asarray(mask.affine, dtype=np.float64)
            require_right_angles(affine, "mask sample")
            inside = bool_array(mask, "mask sample")
            self._fields.append(
                distance_in_region(
                    inside, affine, self.region_lps_mm, self.reach_mm, self.radius_mm, complement=is_corridor
                )
            )
