"""What every picture of one plan shares: colours, window, overlays, the path and the widened structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import number
from medsam_planner.drawing.pictures import ColourScale
from medsam_planner.drawing.reformat import Plane, sample_plane
from medsam_planner.errors import GeometryError
from medsam_planner.geometry import lps_from_index
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.tool import Tool
from medsam_planner.report.faithfulness import saliency_warning
from medsam_planner.report.model import PlanReport
from medsam_planner.report.widened import WidenedStructure, widened_structure

__all__ = ["Overlay", "Path", "Scene", "StructureStyle", "build_scene"]

# Okabe and Ito's colour-blind safe set, https://jfly.uni-koeln.de/color/, without its black and its dark blue, which
# vanish on grey slices. What must not be touched is warm, where the tool belongs is cool.
_COLOURS: dict[StructureRole, tuple[str, ...]] = {
    StructureRole.AVOID: ("#ff6a00", "#f07cc0", "#ffb000", "#ff4d6d", "#c99bff"),
    StructureRole.INSIDE: ("#56b4e9", "#7ad3ff"),
    StructureRole.TARGET: ("#f0e442", "#d9ff66"),
    StructureRole.ENTRY: ("#2fd39b", "#8fe388"),
}
_OTHER_COLOURS = ("#d0d0d0", "#a8c0d8", "#c8b8a0")

_CT_SOFT_TISSUE_HU = (-160.0, 240.0)
"""Width 400, level 40."""
_CT_BONE_HU = (-770.0, 1730.0)
"""Width 2500, level 480."""
_BONE_ABOVE_HU = 150.0
"""A corridor of which more than a quarter is above this is bone, marrow included, and is shown in the bone window."""

_UNCERTAINTY_BITS = ColourScale("magma", 0.0, 1.0, "bit")
_SALIENCY = ColourScale("viridis", 0.0, 1.0, "of its maximum")


@dataclass(frozen=True, slots=True, eq=False)
class StructureStyle:
    """How one structure is drawn."""

    name: str
    colour: str
    role: StructureRole | None
    outline: highdicom.Volume | None
    """What to draw the outline of, at one half: the probability where it says the same as the mask, so that the line
    runs between voxels as the meshes do; else the mask."""
    widened: WidenedStructure | None
    """Of what the path must avoid or stay inside."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """A map laid over the slices. Where several volumes are given the largest value counts."""

    key: str
    label: str
    scale: ColourScale
    volumes: tuple[highdicom.Volume, ...]
    warning: str = ""
    """What stands across every picture of it."""

    def sample(self, plane: Plane) -> NDArray[np.float32]:
        """Values on `plane`, NaN outside the volumes."""
        return np.fmax.reduce([sample_plane(volume, plane) for volume in self.volumes])


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Trajectory of the best alternative or, without one, the trajectory nearest to being a plan."""

    entry_lps_mm: NDArray[np.float64]
    target_lps_mm: NDArray[np.float64]
    limiting_lps_mm: NDArray[np.float64] | None
    """Place on the trajectory with the smallest clearance."""
    contact_lps_mm: NDArray[np.float64] | None
    """Place on the limiting structure that is nearest to it, margin included."""
    tool: Tool
    clearance_mm: float | None
    """Certified; None for a trajectory that is no plan."""

    @property
    def length_mm(self) -> float:
        """From entry to target."""
        return float(np.linalg.norm(self.target_lps_mm - self.entry_lps_mm))

    def at(self, depth_mm: float) -> NDArray[np.float64]:
        """The place `depth_mm` along the trajectory from the entry."""
        along = (self.target_lps_mm - self.entry_lps_mm) / self.length_mm
        place: NDArray[np.float64] = self.entry_lps_mm + depth_mm * along
        return place

    def depth_mm(self, position_lps_mm: NDArray[np.float64]) -> float:
        """Where along the tool, between entry (0) and target, a position is nearest."""
        along = (self.target_lps_mm - self.entry_lps_mm) / self.length_mm
        return float(np.clip((position_lps_mm - self.entry_lps_mm) @ along, 0.0, self.length_mm))


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything the pictures draw."""

    study: highdicom.Volume
    window: tuple[float, float]
    window_label: str
    structures: tuple[StructureStyle, ...]
    overlays: tuple[Overlay, ...]
    path: Path | None
    focus_lps_mm: NDArray[np.float64]
    """(3,) where to look when there is no path."""
    other_paths: tuple[Path, ...] = ()
    """Best alternatives of the other tools."""


def build_scene(report: PlanReport) -> Scene:
    """Choose colours, window and overlays, and find the path of the best alternative."""
    styles = tuple(_styles(report))
    window, label = _window(report)
    return Scene(
        study=report.study,
        window=window,
        window_label=label,
        structures=styles,
        overlays=tuple(_overlays(report)),
        path=_path(report, styles),
        focus_lps_mm=_focus(report),
        other_paths=tuple(
            Path(
                np.asarray(line.entry_lps_mm, dtype=np.float64),
                np.asarray(line.target_lps_mm, dtype=np.float64),
                None,
                None,
                other.tool,
                None,
            )
            for other in report.tools[1:]
            for line in other.plan.alternatives[:1]
        ),
    )


def _styles(report: PlanReport) -> Sequence[StructureStyle]:
    used: dict[StructureRole | None, int] = {}
    styles = []
    for name in report.structures():
        role = report.roles.get(name)
        colours = _OTHER_COLOURS if role is None else _COLOURS[role]
        colour = colours[used.get(role, 0) % len(colours)]
        used[role] = used.get(role, 0) + 1
        mask, widened = report.mask(name), None
        is_constraint = role in (StructureRole.AVOID, StructureRole.INSIDE)
        if mask is not None and is_constraint and mask.array.any():
            widened = widened_structure(mask, report.margins_mm.get(name, 0.0), inwards=role is StructureRole.INSIDE)
        styles.append(StructureStyle(name, colour, role, _outline(report, name), widened))
    return styles


def _path(report: PlanReport, styles: Sequence[StructureStyle]) -> Path | None:
    if report.plan.alternatives:
        best = report.plan.alternatives[0]
        ends, clearance_mm = (best.entry_lps_mm, best.target_lps_mm), best.certified_clearance_mm
    elif report.plan.relaxations:
        best, clearance_mm = None, None
        ends = tuple(report.plan.relaxations[0].witness_lps_mm)
    elif report.plan.nearest_miss is not None:
        best, clearance_mm = None, None
        ends = tuple(report.plan.nearest_miss.trajectory_lps_mm)
    else:
        return None
    entry, target = (np.asarray(end, dtype=np.float64) for end in ends)
    limiting, contact = None, None
    if best is not None and best.limiting_structure:
        limiting = np.asarray(best.limiting_point_lps_mm, dtype=np.float64)
        widened = {style.name: style.widened for style in styles}.get(best.limiting_structure)
        contact = None if widened is None else widened.nearest_lps_mm(limiting)
    if np.linalg.norm(target - entry) == 0:
        raise GeometryError(f"Expected a path with a length, got entry and target both at {entry.tolist()}.")
    return Path(entry, target, limiting, contact, report.tool, clearance_mm)


def _outline(report: PlanReport, name: str) -> highdicom.Volume | None:
    if name in report.segmentations:
        result = report.segmentations[name]
        if np.array_equal(result.probability.array > 0.5, result.mask.array > 0):
            return result.probability
    return report.mask(name)


def _overlays(report: PlanReport) -> Sequence[Overlay]:
    results = report.segmentations
    uncertain = tuple(result.uncertainty for result in results.values() if result.uncertainty is not None)
    overlays = []
    if uncertain:
        label = "Uncertainty" + (" (largest over the structures)" if len(uncertain) > 1 else "")
        overlays.append(Overlay("uncertainty", label, _UNCERTAINTY_BITS, uncertain))
    for order, (name, result) in enumerate(results.items()):
        if result.saliency is not None:
            warning = saliency_warning(result.faithfulness)
            overlays.append(Overlay(f"saliency-{order}", f"Saliency of {name}", _SALIENCY, (result.saliency,), warning))
    return overlays


def _window(report: PlanReport) -> tuple[tuple[float, float], str]:
    source = report.study.source
    is_ct = source is not None and source.modality == "CT"
    unit = " HU" if is_ct else ""
    if report.display_window is not None:
        low, high = report.display_window
        return (float(low), float(high)), f"{number(low, 0)} to {number(high, 0)}{unit}"
    if is_ct:
        corridors = [report.mask(name) for name, role in report.roles.items() if role is StructureRole.INSIDE]
        values = [report.study.array[mask.array > 0] for mask in corridors if mask is not None and mask.array.any()]
        is_bone = bool(values) and float(np.percentile(np.concatenate(values), 75)) > _BONE_ABOVE_HU
        low, high = _CT_BONE_HU if is_bone else _CT_SOFT_TISSUE_HU
        return (low, high), f"{'bone' if is_bone else 'soft tissue'} window, {number(low, 0)} to {number(high, 0)} HU"
    sample = report.study.array[::2, ::2, ::2]
    positive = sample[sample > 0]
    low, high = (float(bound) for bound in np.percentile(positive if positive.size else sample, (0.5, 99.5)))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return (low, high), f"0.5th to 99.5th percentile, {number(low, 0)} to {number(high, 0)}"


def _focus(report: PlanReport) -> NDArray[np.float64]:
    """Middle of the target, else of all structures, else of the volume."""
    targets = [name for name, role in report.roles.items() if role is StructureRole.TARGET]
    for names in (targets, report.structures()):
        masks = [mask for mask in map(report.mask, names) if mask is not None and mask.array.any()]
        if masks:
            centres = [np.argwhere(mask.array).mean(axis=0) for mask in masks]
            return lps_from_index(report.study.affine, np.mean(centres, axis=0))
    return lps_from_index(report.study.affine, (np.array(report.study.spatial_shape) - 1) / 2)
