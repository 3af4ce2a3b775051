"""How a slice is shown on the screen: its orientation, its pixel size, and the way back to patient space.

Radiological convention: an axial slice is seen from the feet and a coronal one from the front, so the patient's right
is on the left of the screen; on a sagittal slice anterior is on the left. The three planes are the three array axes of
the volume, each named after the nearest anatomical plane; nothing is resampled.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from typing import Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.geometry import index_from_lps, lps_from_index, slice_across, spacing_mm
from medsam_planner.io.intensity import CT_WINDOWS, Normalisation, Window, volume_modality

__all__ = ["SIDE_NAMES", "Plane", "SliceDisplay", "display_for", "display_windows", "side_letters"]

_DISPLAY_WINDOWS = {name: CT_WINDOWS[name] for name in ("soft-tissue", "lung")} | {
    "liver": Window(90.0, 150.0),
    **{name: CT_WINDOWS[name] for name in ("bone", "brain", "full")},
}
"""In HU; the first five in the order in which OHIF has them on the keys 1 to 5."""
_VISIBLE_SHARE = 0.3
"""Direction cosine from which a side letter is shown, 17° from the perpendicular; a smaller tilt is not visible."""


class Plane(Enum):
    """The anatomical plane a slice is nearest to."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


SIDE_NAMES = {"L": "left", "R": "right", "P": "back", "A": "front", "S": "head", "I": "feet"}
"""Of the letters at the border of a slice."""
_NORMAL = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}
"""LPS axis perpendicular to each plane."""
_SCREEN_LPS = {
    Plane.AXIAL: ((1, 0, 0), (0, 1, 0)),
    Plane.CORONAL: ((1, 0, 0), (0, 0, -1)),
    Plane.SAGITTAL: ((0, 1, 0), (0, 0, -1)),
}
"""Patient direction rightwards and downwards on the screen."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceDisplay:
    """One plane of one volume on the screen.

    Screen positions are (column, row) in voxels of the slice, fractional, 0 at the centre of the first pixel.
    """

    plane: Plane
    affine: NDArray[np.float64]
    """Index → LPS mm."""
    shape: tuple[int, int, int]
    axis: int
    """Array axis across the slices."""
    across: int
    """Array axis that runs along the rows of the screen."""
    down: int
    """Array axis that runs along the columns of the screen."""
    flip_across: bool
    """Whether the index falls rightwards."""
    flip_down: bool
    """Whether the index falls downwards."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the picture."""
        return self.shape[self.across], self.shape[self.down]

    @property
    def slice_count(self) -> int:
        """Number of slices of this plane."""
        return self.shape[self.axis]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Width and height of a pixel."""
        spacing = spacing_mm(self.affine)
        return float(spacing[self.across]), float(spacing[self.down])

    @property
    def letters(self) -> dict[str, str]:
        """Patient sides at the ``left``, ``right``, ``top`` and ``bottom`` of the screen."""
        right, down = self.lps_steps
        return {
            "left": side_letters(-right),
            "right": side_letters(right),
            "top": side_letters(-down),
            "bottom": side_letters(down),
        }

    @property
    def lps_steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """LPS mm from a pixel to the next one rightwards, and to the next one downwards."""
        right = self.affine[:3, self.across] * (-1 if self.flip_across else 1)
        down = self.affine[:3, self.down] * (-1 if self.flip_down else 1)
        return right, down

    @property
    def document(self) -> dict[str, Any]:
        """The plane as plain JSON values, from which a client converts between voxels and the screen."""
        return {
            "count": self.slice_count,
            "axis": self.axis,
            "across": self.across,
            "down": self.down,
            "flip_across": self.flip_across,
            "flip_down": self.flip_down,
            "size": list(self.size),
            "pixel_mm": list(self.pixel_mm),
            "letters": self.letters,
            "normal": _NORMAL[self.plane],
        }

    def within(self, slice_index: int) -> int:
        """The nearest slice that there is."""
        return min(max(slice_index, 0), self.slice_count - 1)

    def index_at(self, slice_index: int, column: float, row: float) -> NDArray[np.float64]:
        """Fractional voxel index (3,) at a screen position."""
        index = np.empty(3)
        index[self.axis] = slice_index
        index[self.across] = self.size[0] - 1 - column if self.flip_across else column
        index[self.down] = self.size[1] - 1 - row if self.flip_down else row
        return index

    def lps_at(self, slice_index: int, column: float, row: float) -> NDArray[np.float64]:
        """LPS mm (3,) at a screen position."""
        return lps_from_index(self.affine, self.index_at(slice_index, column, row))

    def screen_from_index(self, index: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3) to (column, row, slice), all fractional."""
        found = np.asarray(index, dtype=np.float64)
        column, row = found[..., self.across], found[..., self.down]
        column = self.size[0] - 1 - column if self.flip_across else column
        row = self.size[1] - 1 - row if self.flip_down else row
        return np.stack([column, row, found[..., self.axis]], axis=-1)

    def screen_from_lps(self, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """LPS mm (..., 3) to (column, row, slice), all fractional."""
        return self.screen_from_index(index_from_lps(self.affine, position_lps_mm))

    def picture(self, array: NDArray[Any], slice_index: int) -> NDArray[Any]:
        """The slice of a (K, J, I) array as (rows, columns) of the screen; a view, not a copy."""
        return self.upright(slice_across(array, self.axis, slice_index))

    def upright(self, section: NDArray[Any]) -> NDArray[Any]:
        """Orient a section as it is shown; its axes are the two in-plane array axes in their order."""
        picture = section if self.down < self.across else section.T
        picture = picture[:, ::-1] if self.flip_across else picture
        return picture[::-1] if self.flip_down else picture


def display_for(volume: highdicom.Volume, plane: Plane) -> SliceDisplay:
    """How `plane` of `volume` is shown.

    The three array axes are matched to the three patient directions together, so that the sum of the direction cosines
    is largest; matched one by one, two axes of a grid rotated by 45° could get the same direction.

    Parameters
    ----------
    volume : highdicom.Volume
    plane : Plane
    """
    affine = np.asarray(volume.affine, dtype=np.float64)
    k, j, i = (int(size) for size in volume.spatial_shape)
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axis_of_direction = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(cosines[direction, axis]) for direction, axis in enumerate(axes)),
    )
    right_lps, down_lps = (np.array(direction) for direction in _SCREEN_LPS[plane])
    across = axis_of_direction[int(np.flatnonzero(right_lps)[0])]
    down = axis_of_direction[int(np.flatnonzero(down_lps)[0])]
    return SliceDisplay(
        plane=plane,
        affine=affine,
        shape=(k, j, i),
        axis=axis_of_direction[_NORMAL[plane]],
        across=across,
        down=down,
        flip_across=bool(cosines[:, across] @ right_lps < 0),
        flip_down=bool(cosines[:, down] @ down_lps < 0),
    )


def side_letters(direction_lps: ArrayLike) -> str:
    """Name a direction by the patient's sides, the strongest first: ``"L"``, or ``"LP"`` on an oblique slice."""
    direction = np.asarray(direction_lps, dtype=np.float64)
    shares = direction / np.linalg.norm(direction)
    strongest = sorted(range(3), key=lambda axis: -abs(shares[axis]))
    letters = [
        ("LR", "PA", "SI")[axis][int(shares[axis] < 0)] for axis in strongest if abs(shares[axis]) > _VISIBLE_SHARE
    ]
    return "".join(letters)


def display_windows(study: highdicom.Volume, normalisation: Normalisation) -> dict[str, dict[str, float]]:
    """Display window presets by name, the initial one first: Hounsfield windows for CT, else from the range of values.

    Parameters
    ----------
    study : highdicom.Volume
    normalisation : Normalisation
        Range of values that the model uses.
    """
    if volume_modality(study) == "CT":
        return {name: {"centre": window.centre, "width": window.width} for name, window in _DISPLAY_WINDOWS.items()}
    low, high = float(study.array.min()), float(study.array.max())
    return {
        "image": {
            "centre": (normalisation.low + normalisation.high) / 2,
            "width": normalisation.high - normalisation.low,
        },
        "full": {"centre": (low + high) / 2, "width": max(high - low, 1e-6)},
    }
