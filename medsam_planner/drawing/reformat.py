"""Planes through a volume: positions of their pixels, sampled values, and the letters at their edges.

A plane is seen by a viewer whose right is ``right_lps`` and whose down is ``down_lps``; ``right × down`` points away
from the viewer, into the picture. The three standard planes follow the radiological convention: the patient's left is
on the viewer's right on axial and coronal pictures, and anterior is on the viewer's left on sagittal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.drawing.camera import EdgeLetters, direction_letters
from medsam_planner.errors import GeometryError
from medsam_planner.geometry import index_from_lps

__all__ = [
    "STANDARD_PLANES",
    "Plane",
    "sample_plane",
    "standard_plane",
    "tool_frame",
    "towards_viewers_right",
]

STANDARD_PLANES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
"""Right and down of the viewer, LPS, by the plane's name."""

_SAYS_LITTLE = float(np.sin(np.deg2rad(22.5)))
"""A direction that leans less than this towards left or right has no letter for it at the picture's edge."""

_UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A rectangle of square pixels in the patient."""

    centre_lps_mm: NDArray[np.float64]
    """(3,) the middle of the picture."""
    right_lps: NDArray[np.float64]
    """(3,) unit vector along a row, to the viewer's right."""
    down_lps: NDArray[np.float64]
    """(3,) unit vector along a column, down for the viewer."""
    extent_mm: tuple[float, float]
    """Width and height."""
    size: tuple[int, int]
    """Columns and rows."""

    def __post_init__(self) -> None:
        for name in ("centre_lps_mm", "right_lps", "down_lps"):
            vector = np.array(getattr(self, name), dtype=np.float64)
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise GeometryError(f"Expected {name} as three finite numbers, got {getattr(self, name)!r}.")
            object.__setattr__(self, name, vector)
        across, down = self.right_lps, self.down_lps
        lengths = np.array([np.linalg.norm(across), np.linalg.norm(down)])
        if np.abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(across @ down) > _UNIT_TOLERANCE:
            raise GeometryError(
                "Expected perpendicular unit vectors to the viewer's right and down, got "
                f"{across.tolist()} and {down.tolist()}; orthonormalise them first."
            )
        width, height = self.extent_mm
        columns, rows = self.size
        if min(width, height) <= 0 or min(columns, rows) < 1:
            raise GeometryError(f"Expected a positive extent and size, got {self.extent_mm} mm and {self.size} pixels.")
        if abs(width / columns - height / rows) > 1e-3 * width / columns:
            raise GeometryError(
                f"Expected square pixels, got {width / columns:.4f} × {height / rows:.4f} mm; "
                "choose the size in proportion to the extent."
            )

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.extent_mm[0] / self.size[0]

    @property
    def into_lps(self) -> NDArray[np.float64]:
        """(3,) unit vector away from the viewer."""
        return np.cross(self.right_lps, self.down_lps)

    @property
    def letters(self) -> EdgeLetters:
        """Patient directions at the four edges."""
        return EdgeLetters(
            left=direction_letters(-self.right_lps),
            right=direction_letters(self.right_lps),
            top=direction_letters(-self.down_lps),
            bottom=direction_letters(self.down_lps),
        )

    def coarser(self, factor: int) -> Plane:
        """The same rectangle in pixels `factor` times as wide, extended at the right and below to whole pixels."""
        columns, rows = (-(-count // factor) for count in self.size)
        added = np.array([columns * factor - self.size[0], rows * factor - self.size[1]]) * self.pixel_mm / 2
        side = self.pixel_mm * factor
        return Plane(
            centre_lps_mm=self.centre_lps_mm + added[0] * self.right_lps + added[1] * self.down_lps,
            right_lps=self.right_lps,
            down_lps=self.down_lps,
            extent_mm=(columns * side, rows * side),
            size=(columns, rows),
        )

    def positions_lps_mm(self) -> NDArray[np.float64]:
        """Centres of the pixels, (rows, columns, 3), LPS mm."""
        columns, rows = self.size
        across = (np.arange(columns) - (columns - 1) / 2) * self.pixel_mm
        down = (np.arange(rows) - (rows - 1) / 2) * self.pixel_mm
        positions: NDArray[np.float64] = (
            self.centre_lps_mm + across[None, :, None] * self.right_lps + down[:, None, None] * self.down_lps
        )
        return positions

    def pixels_from_lps(self, positions_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Where positions (..., 3) fall on the picture.

        Returns
        -------
        (..., 3) float64
            Column and row (0, 0 is the centre of the top left pixel) and the distance in mm behind the plane, as the
            viewer sees it.
        """
        offset = np.asarray(positions_lps_mm, dtype=np.float64) - self.centre_lps_mm
        columns, rows = self.size
        return np.stack(
            [
                offset @ self.right_lps / self.pixel_mm + (columns - 1) / 2,
                offset @ self.down_lps / self.pixel_mm + (rows - 1) / 2,
                offset @ self.into_lps,
            ],
            axis=-1,
        )


def standard_plane(name: str, centre_lps_mm: ArrayLike, extent_mm: float, size: int) -> Plane:
    """A square ``"axial"``, ``"coronal"`` or ``"sagittal"`` plane of the patient, whatever the grid's own axes."""
    if name not in STANDARD_PLANES:
        raise GeometryError(f"Expected one of {', '.join(STANDARD_PLANES)}, got {name!r}.")
    right, down = STANDARD_PLANES[name]
    return Plane(
        centre_lps_mm=np.asarray(centre_lps_mm),
        right_lps=np.asarray(right),
        down_lps=np.asarray(down),
        extent_mm=(extent_mm, extent_mm),
        size=(size, size),
    )


def tool_frame(
    entry_lps_mm: ArrayLike, target_lps_mm: ArrayLike, through_lps_mm: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Axes for looking along and across a straight tool.

    Parameters
    ----------
    entry_lps_mm, target_lps_mm : (3,)
        The ends of the tool.
    through_lps_mm : (3,), optional
        A point off the tool that the first lengthwise picture shall contain.

    Returns
    -------
    along, across, athwart : three (3,) unit vectors
        `along` runs from entry to target; `across` spans the first lengthwise picture with it and points towards the
        patient's left (or posterior, when left says little), as in standard planes; ``athwart = along × across``, which
        is down for a viewer who looks along the tool with `across` to the right.

    Raises
    ------
    GeometryError
        If entry and target coincide.
    """
    entry, target = (np.asarray(point, dtype=np.float64) for point in (entry_lps_mm, target_lps_mm))
    along = target - entry
    length = float(np.linalg.norm(along))
    if length == 0:
        raise GeometryError(f"Expected an entry away from the target, got {entry.tolist()} for both.")
    along = along / length
    across = np.zeros(3)
    if through_lps_mm is not None:
        offset = np.asarray(through_lps_mm, dtype=np.float64) - entry
        across = offset - (offset @ along) * along
    if np.linalg.norm(across) < 0.5:  # nearer to the axis than half a millimetre, its side says nothing
        reference = np.eye(3)[0] if abs(along[0]) < 0.9 else np.eye(3)[1]
        across = reference - (reference @ along) * along
    across = towards_viewers_right(across / np.linalg.norm(across))
    return along, across, np.cross(along, across)


def towards_viewers_right(direction_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a direction and its opposite, the one that the radiological convention shows on the right.

    Left before right; where that says little, posterior before anterior.
    """
    leading = direction_lps[0] if abs(direction_lps[0]) >= _SAYS_LITTLE else direction_lps[1]
    return -direction_lps if leading < 0 else direction_lps


def sample_plane(volume: highdicom.Volume, plane: Plane, *, order: int = 1) -> NDArray[np.float32]:
    """Sample a volume on a plane.

    Parameters
    ----------
    volume : highdicom.Volume
        Scalar or bool, any grid.
    plane : Plane
        Where to look.
    order : int
        0 takes the nearest voxel, 1 interpolates linearly.

    Returns
    -------
    (rows, columns) float32
        NaN outside the voxels. Half a voxel beyond the outermost centres still counts as inside.

    Raises
    ------
    GeometryError
        If `order` is neither 0 nor 1: higher ones overshoot at edges, and a mask's contour would move.
    """
    if order not in (0, 1):
        raise GeometryError(f"Expected order 0 (nearest) or 1 (linear), got {order}.")
    coordinates, outside = _grid_coordinates(plane, np.asarray(volume.affine).tobytes(), tuple(volume.spatial_shape))
    sampled = ndimage.map_coordinates(
        volume.array,
        coordinates,
        output=np.float32,
        order=order,
        mode="nearest",
        prefilter=False,
    )
    sampled[outside] = np.nan
    result: NDArray[np.float32] = sampled
    return result


@lru_cache(maxsize=2)  # a picture samples image, masks and maps on the same grid one after the other
def _grid_coordinates(
    plane: Plane, affine_bytes: bytes, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Voxel coordinates (3, rows, columns), kept inside the grid, and where they had to be."""
    index = index_from_lps(np.frombuffer(affine_bytes).reshape(4, 4), plane.positions_lps_mm())
    last = np.array(shape) - 1
    outside: NDArray[np.bool_] = np.any((index < -0.5) | (index > last + 0.5), axis=-1)
    return np.ascontiguousarray(np.moveaxis(np.clip(index, 0, last), -1, 0)), outside
