"""Check that slices form one regular volume; otherwise name the slices that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.io.study_files import name_files

__all__ = [
    "MIN_SLICES",
    "POSITION_TOLERANCE_MM",
    "TILT_ADVICE",
    "Problem",
    "ProblemKind",
    "SlicePlane",
    "Stack",
    "doubtful_size",
    "stack_affine",
    "stack_problems",
]

MIN_SLICES = 3
"""Two slices fix neither whether their distance is regular nor a surface between them."""

POSITION_TOLERANCE_MM = 0.1
"""Largest distance between where a slice is and where the volume's affine puts it: a quarter of a fine CT pixel.
(highdicom's own tolerance on the stacking direction, 1e-3 on a cosine, is 2.6° and lets 9 mm pass on a 200 mm stack.)
"""

TILT_ADVICE = "Resample it to a straight grid with --resample-tilt (resample_tilt=True)."

_EVEN_STEPS = 0.01
"""Steps within 1 % of their mean need no remark: the tolerance of ``highdicom.get_volume_from_series``."""

_POSITION_TOLERANCE_STEPS = 0.25
"""The same tolerance for thin slices, in steps: a missing slice puts another half a step off its place."""

_ORIENTATION_TOLERANCE = 1e-4
"""Direction cosines closer than this are one orientation written with different rounding (0.03 mm over 250 mm)."""


_SMALLEST_SPACING_MM = 0.01
_LARGEST_SPACING_MM = 50.0
_LARGEST_EXTENT_MM = 3000.0
"""Beyond these no CT or MR of a person lies: the finest clinical CT has pixels of 0.05 mm, a whole body 2 m."""


def doubtful_size(spacing_mm: Sequence[float] | NDArray[np.float64], shape: Sequence[int]) -> str | None:
    """Why voxels of `spacing_mm` cannot be those of a person, or None: their unit is wrong."""
    spacing = [float(value) for value in spacing_mm]
    extents = [value * count for value, count in zip(spacing, shape, strict=False)]
    is_likely = min(spacing) >= _SMALLEST_SPACING_MM and max(spacing) <= _LARGEST_SPACING_MM
    if is_likely and max(extents) <= _LARGEST_EXTENT_MM:
        return None
    voxels = " × ".join(f"{value:.4g}" for value in spacing)
    whole = " × ".join(f"{value:.4g}" for value in extents)
    return (
        f"its voxels measure {voxels} mm and the whole {whole} mm, which cannot be a CT or MR of a patient. The "
        "spacing is damaged or not in millimetres; correct it in the file."
    )


class ProblemKind(Enum):
    """Why files are not one regular scalar volume."""

    LOCALIZER = "localizer"
    SCREENSHOT = "screenshot"
    COLOUR = "colour"
    NO_GEOMETRY = "no geometry"
    TOO_FEW_SLICES = "too few slices"
    MODALITY = "modality"
    MIXED = "mixed slices"
    DUPLICATE = "duplicate slices"
    SPACING = "slice spacing"
    TILT = "gantry tilt"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse a series; the text names the files."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """Where one slice lies in the patient."""

    name: str
    """File, and frame where a file has several."""
    shape: tuple[int, int]
    position_lps_mm: tuple[float, ...]
    """Centre of the first pixel."""
    orientation: tuple[float, ...]
    """Direction in which the column index grows, then that of the row index."""
    pixel_spacing_mm: tuple[float, ...]
    """Between rows, between columns."""
    frame_of_reference_uid: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices of one orientation in the order in which highdicom stacks them (against row × column direction)."""

    order: NDArray[np.intp]
    """Index of the k-th slice among the planes given."""
    normal: NDArray[np.float64]
    """(3,) unit vector in which k grows."""
    offset_mm: NDArray[np.float64]
    """(N,) place of each slice along the normal, from the first."""
    steps_mm: NDArray[np.float64]
    """(N - 1,) along the normal."""
    shift_mm: NDArray[np.float64]
    """(3,) mean movement from one slice to the next within the plane: zero unless the stack is sheared."""

    @property
    def tilt_deg(self) -> float:
        """Angle between the stacking direction and the normal of the slices."""
        return float(np.rad2deg(np.arctan2(np.linalg.norm(self.shift_mm), self.steps_mm.mean())))

    @property
    def largest_shift_mm(self) -> float:
        """How far within the plane the last slice is from straight behind the first."""
        return float(np.linalg.norm(self.shift_mm)) * len(self.steps_mm)

    @property
    def stray_mm(self) -> NDArray[np.float64]:
        """(N,) how far along the normal each slice lies from its place between the first and the last."""
        return self.offset_mm - np.arange(len(self.offset_mm)) * self.steps_mm.mean()

    @property
    def is_even(self) -> bool:
        """Whether all steps are equal, up to the rounding of positions."""
        most = min(POSITION_TOLERANCE_MM, _POSITION_TOLERANCE_STEPS * float(self.steps_mm.mean()))
        return bool(np.abs(self.stray_mm).max() <= most)

    @property
    def note(self) -> str | None:
        """Note on steps that differ but count as equal."""
        if not self.is_even or np.allclose(self.steps_mm, self.steps_mm.mean(), rtol=_EVEN_STEPS, atol=0.0):
            return None
        return (
            f"Its slices lie up to {np.abs(self.stray_mm).max():.3f} mm off equal steps of "
            f"{self.steps_mm.mean():.4g} mm, as rounded positions do; they are taken as equally spaced."
        )

    @classmethod
    def of(cls, planes: Sequence[SlicePlane]) -> Stack:
        """Order `planes` (at least two, of one orientation)."""
        orientation = np.asarray(planes[0].orientation)
        normal = np.cross(orientation[3:], orientation[:3])
        normal /= np.linalg.norm(normal)
        positions = np.asarray([plane.position_lps_mm for plane in planes], dtype=np.float64)
        order = np.argsort(positions @ normal, kind="stable")
        positions = positions[order]
        offset = (positions - positions[0]) @ normal
        mean_move = (positions[-1] - positions[0]) / (len(planes) - 1)
        return cls(order, normal, offset, np.diff(offset), mean_move - normal * (mean_move @ normal))


def stack_affine(planes: Sequence[SlicePlane]) -> NDArray[np.float64]:
    """Index (slice, row, column) to LPS mm of planes that form a straight stack, as highdicom orders them."""
    stack = Stack.of(planes)
    first = planes[int(stack.order[0])]
    orientation = np.asarray(first.orientation, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = stack.normal * stack.steps_mm.mean()
    affine[:3, 1] = orientation[3:] * first.pixel_spacing_mm[0]
    affine[:3, 2] = orientation[:3] * first.pixel_spacing_mm[1]
    affine[:3, 3] = first.position_lps_mm
    return affine


def stack_problems(planes: Sequence[SlicePlane]) -> tuple[Problem, ...]:
    """Everything that keeps `planes` from being one regular volume; empty when nothing does."""
    mixed = _mixture_problems(planes)
    if mixed:
        return mixed
    if len(planes) < MIN_SLICES:
        text = (
            f"it has {len(planes)} slice{'s' * (len(planes) != 1)} ({name_files(plane.name for plane in planes)}); "
            f"a volume needs at least {MIN_SLICES}. Name the folder that holds the whole series."
        )
        return (Problem(ProblemKind.TOO_FEW_SLICES, text),)
    stack = Stack.of(planes)
    doubt = doubtful_size((float(stack.steps_mm.mean()), *planes[0].pixel_spacing_mm), (len(planes), *planes[0].shape))
    names = [planes[index].name for index in stack.order]
    problems = _duplicate_problems(stack, names)
    if problems:
        return problems
    if doubt is not None:
        return (Problem(ProblemKind.SPACING, doubt),)
    problems = _spacing_problems(stack, names)
    if stack.largest_shift_mm > POSITION_TOLERANCE_MM:
        problems += (_tilt_problem(stack),)
    elif not problems:
        problems += _stray_problems(planes, stack, names)
    return problems


def _mixture_problems(planes: Sequence[SlicePlane]) -> tuple[Problem, ...]:
    """Slices that differ in something one volume has once."""
    problems = []
    for what, unit, value_of, tolerance in (
        ("orientations", "", lambda plane: plane.orientation, _ORIENTATION_TOLERANCE),
        ("sizes", "rows × columns", lambda plane: plane.shape, 0.0),
        ("pixel spacings", "mm", lambda plane: plane.pixel_spacing_mm, 1e-4),
    ):
        groups: list[tuple[tuple[float, ...], list[str]]] = []
        for plane in planes:
            value = value_of(plane)
            for known, names in groups:
                if np.allclose(known, value, rtol=0.0, atol=tolerance):
                    names.append(plane.name)
                    break
            else:
                groups.append((value, [plane.name]))
        if len(groups) > 1:
            listed = "; ".join(
                f"{tuple(round(float(v), 4) for v in value)} {unit}".strip() + f" in {name_files(names, most=2)}"
                for value, names in groups[:4]
            )
            text = f"its slices have {len(groups)} different {what} where a volume has one: {listed}. Separate them."
            problems.append(Problem(ProblemKind.MIXED, text))
    frames = {plane.frame_of_reference_uid for plane in planes}
    if len(frames) > 1:
        text = f"its slices have {len(frames)} different frames of reference, so their places cannot be compared."
        problems.append(Problem(ProblemKind.MIXED, text))
    return tuple(problems)


def _duplicate_problems(stack: Stack, names: Sequence[str]) -> tuple[Problem, ...]:
    same = np.flatnonzero(stack.steps_mm < 1e-3)
    if not len(same):
        return ()
    pairs = name_files((f"{names[k]} and {names[k + 1]}" for k in same.tolist()), most=3)
    count = f"{len(same)} slice{'s lie' if len(same) != 1 else ' lies'}"
    text = (
        f"{count} at the place of another: {pairs}. These are copies, "
        "or several acquisitions (phases, echoes) in one series: keep one slice per place."
    )
    return (Problem(ProblemKind.DUPLICATE, text),)


def _spacing_problems(stack: Stack, names: Sequence[str]) -> tuple[Problem, ...]:
    steps = stack.steps_mm
    if stack.is_even:
        return ()
    values, counts = np.unique(np.round(steps, 2), return_counts=True)
    usual = float(values[np.argmax(counts)])
    multiples = steps / usual
    gaps = np.flatnonzero(np.round(multiples) > 1)
    listed = ", ".join(f"{value:g} mm ({count} times)" for value, count in list(zip(values, counts, strict=True))[:6])
    if len(gaps) and np.allclose(multiples, np.round(multiples), rtol=0.0, atol=0.05):
        missing = int(np.round(multiples[gaps] - 1).sum())
        where = name_files(
            (f"between {names[k]} and {names[k + 1]} ({steps[k]:.2f} mm)" for k in gaps.tolist()), most=3
        )
        text = (
            f"{missing} slice{'s are' if missing != 1 else ' is'} missing: steps of {usual:g} mm, but {where}. "
            "Copy the whole series again."
        )
    else:
        text = (
            f"its slices are not equally spaced: steps of {listed}. One volume has one slice distance: "
            "separate the parts or export an equally spaced reconstruction."
        )
    return (Problem(ProblemKind.SPACING, text),)


def _tilt_problem(stack: Stack) -> Problem:
    text = (
        f"its slices are stacked {stack.tilt_deg:.1f}° off their normal (gantry tilt), {stack.largest_shift_mm:.1f} mm "
        "from first to last; read as a straight stack, everything would lie in the wrong place."
    )
    return Problem(ProblemKind.TILT, text)


def _stray_problems(planes: Sequence[SlicePlane], stack: Stack, names: Sequence[str]) -> tuple[Problem, ...]:
    """Slices off the straight, even line although first and last are on it."""
    positions = np.asarray([planes[index].position_lps_mm for index in stack.order])
    ideal = positions[0] + np.outer(np.arange(len(planes)) * stack.steps_mm.mean(), stack.normal)
    distance = np.linalg.norm(positions - ideal, axis=1)
    stray = np.flatnonzero(distance > POSITION_TOLERANCE_MM)
    if not len(stray):
        return ()
    count = f"{len(stray)} slice{'s lie' if len(stray) != 1 else ' lies'}"
    text = (
        f"{count} up to {distance.max():.2f} mm off the others' stack: "
        f"{name_files(names[k] for k in stray.tolist())}. Rounding explains at most {POSITION_TOLERANCE_MM} mm."
    )
    return (Problem(ProblemKind.SPACING, text),)
