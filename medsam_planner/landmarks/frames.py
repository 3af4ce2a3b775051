"""Frames from landmarks: the anterior pelvic plane, the line from AC to PC; and angles of a cup against the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError

__all__ = [
    "LANDMARK_SETS",
    "LEWINNEK",
    "CupAngles",
    "Definition",
    "Frame",
    "SafeZone",
    "acetabular_rim",
    "commissural_frame",
    "cup_angles",
    "pelvic_frame",
]

LANDMARK_SETS: Mapping[str, tuple[str, ...]] = {
    "pelvis": (
        "ASIS left",
        "ASIS right",
        "pubic tubercle left",
        "pubic tubercle right",
        *(f"acetabular rim {side} {number}" for side in ("left", "right") for number in (1, 2, 3)),
    ),
    "skull base": ("AC", "PC", "midline"),
}
"""Names of the landmarks of a region. More points of a rim are numbered on."""
_PELVIC = LANDMARK_SETS["pelvis"][:4]
_SHORTEST_MM = 5.0
"""Two landmarks nearer to each other than this give no direction."""


class Definition(Enum):
    """The three definitions of inclination and anteversion after Murray [1]_.

    References
    ----------
    .. [1] Murray, The definition and measurement of acetabular orientation, J Bone Joint Surg Br 75-B(2), 1993,
       doi:10.1302/0301-620X.75B2.8444942.
    """

    RADIOGRAPHIC = "radiographic"
    OPERATIVE = "operative"
    ANATOMICAL = "anatomical"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Right-handed axes of the patient's own anatomy, unit vectors in LPS."""

    origin_lps_mm: NDArray[np.float64]
    left: NDArray[np.float64]
    posterior: NDArray[np.float64]
    superior: NDArray[np.float64]

    def coordinates_mm(self, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Coordinates (left, posterior, superior) of positions (..., 3)."""
        axes = np.stack([self.left, self.posterior, self.superior])
        return (np.asarray(position_lps_mm, dtype=np.float64) - self.origin_lps_mm) @ axes.T


@dataclass(frozen=True, slots=True)
class CupAngles:
    """Inclination and anteversion in degrees."""

    inclination_deg: float
    anteversion_deg: float
    """Negative: the cup opens backwards."""
    definition: Definition


@dataclass(frozen=True, slots=True)
class SafeZone:
    """Ranges of inclination and anteversion."""

    name: str
    inclination_deg: tuple[float, float]
    anteversion_deg: tuple[float, float]
    definition: Definition

    def holds(self, angles: CupAngles) -> bool:
        """Whether both angles lie in the zone, ends included.

        Raises
        ------
        ConfigError
            If the angles are of another definition: they differ by many degrees.
        """
        if angles.definition is not self.definition:
            raise ConfigError(
                f"The zone of {self.name} is in {self.definition.value} angles, got {angles.definition.value} ones."
            )
        return (
            self.inclination_deg[0] <= angles.inclination_deg <= self.inclination_deg[1]
            and self.anteversion_deg[0] <= angles.anteversion_deg <= self.anteversion_deg[1]
        )


LEWINNEK = SafeZone("Lewinnek", (30.0, 50.0), (5.0, 25.0), Definition.RADIOGRAPHIC)
"""40° ± 10° and 15° ± 10° against the anterior pelvic plane: doi:10.2106/00004623-197860020-00014. Many dislocations
happen inside it (doi:10.1007/s11999-015-4432-5): a convention, not a guarantee."""


def pelvic_frame(landmarks: Mapping[str, ArrayLike]) -> Frame:
    """Frame of the anterior pelvic plane: through both ASIS and the middle of the pubic tubercles.

    Its origin is the middle of the ASIS; ``posterior`` is the plane's normal, and ``superior`` lies in the plane.

    Raises
    ------
    ConfigError
        If one of the four landmarks is missing, sides are swapped, or they lie on a line.
    """
    left_asis, right_asis, left_pubis, right_pubis = _points(landmarks, _PELVIC)
    left = _unit(left_asis - right_asis, "ASIS left", "ASIS right")
    if left @ _unit(left_pubis - right_pubis, "pubic tubercle left", "pubic tubercle right") < 0 or left[0] < 0:
        raise ConfigError("Expected the left landmarks on the patient's left (larger x in LPS). Check the sides.")
    middle = (left_asis + right_asis) / 2
    up = middle - (left_pubis + right_pubis) / 2
    superior = _unit(up - (up @ left) * left, "the ASIS", "the pubic tubercles")
    return Frame(middle, left, np.cross(superior, left), superior)


def commissural_frame(landmarks: Mapping[str, ArrayLike]) -> Frame:
    """Frame of the line from AC to PC and a third point on the midline: origin halfway, ``posterior`` towards PC.

    Raises
    ------
    ConfigError
        If one of AC, PC and midline is missing, they lie on a line, or the midline point lies below both.
    """
    anterior, posterior, midline = _points(landmarks, LANDMARK_SETS["skull base"])
    back = _unit(posterior - anterior, "PC", "AC")
    origin = (anterior + posterior) / 2
    up = midline - origin
    superior = _unit(up - (up @ back) * back, "midline", "the line from AC to PC")
    if superior[2] < 0:
        raise ConfigError(
            "Expected the midline point above the line from AC to PC (towards the head). Check its place."
        )
    return Frame(origin, np.cross(back, superior), back, superior)


def acetabular_rim(points_lps_mm: ArrayLike, inward_lps_mm: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Axis of a rim: normal of the plane with the least squared distance from its points.

    Parameters
    ----------
    points_lps_mm : (N, 3) float
        N >= 3 points on the rim.
    inward_lps_mm : (3,) float
        Any place on the pelvis' side of the opening, such as the middle of the ASIS.

    Returns
    -------
    (3,) float
        Unit vector out of the opening.
    float
        Root mean square distance of the points from the plane in mm.

    Raises
    ------
    ConfigError
        If there are fewer than three points, or they lie on a line.
    """
    points = np.asarray(points_lps_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or len(points) < 3:
        raise ConfigError(f"Expected at least three points of the rim, got an array of shape {points.shape}.")
    middle = points.mean(axis=0)
    _, extent, axes = np.linalg.svd(points - middle)
    if extent[1] < _SHORTEST_MM / 2:
        raise ConfigError("Expected points all around the rim, got points on a line.")
    axis = axes[2] if axes[2] @ (middle - np.asarray(inward_lps_mm, dtype=np.float64)) > 0 else -axes[2]
    return axis, float(np.sqrt((((points - middle) @ axis) ** 2).mean()))


def cup_angles(axis_lps: ArrayLike, frame: Frame, side: str, definition: Definition) -> CupAngles:
    """Inclination and anteversion of an axis against a pelvic frame.

    Parameters
    ----------
    axis_lps : (3,) float
        Out of the cup's opening, any length.
    frame : Frame
        From :func:`pelvic_frame`.
    side : str
        ``"left"`` or ``"right"`` hip.
    definition : Definition
        With the axis' lateral part l, anterior part a and inferior part i (a unit vector): radiographic
        ``tan RI = l/i, sin RA = a``; operative ``sin OI = l, tan OA = a/i``; anatomical ``cos AI = i, tan AA = a/l``.

    Raises
    ------
    ConfigError
        If the axis has no length, the side is another word, or the cup opens towards the other side.
    """
    axis = np.asarray(axis_lps, dtype=np.float64)
    length = float(np.linalg.norm(axis)) if axis.shape == (3,) else 0.0
    if side not in ("left", "right") or not 0 < length < math.inf:
        raise ConfigError(
            f"Expected an axis of three numbers and the side 'left' or 'right', got {axis.tolist()} and {side!r}."
        )
    unit = axis / length
    lateral = float(unit @ frame.left) * (1 if side == "left" else -1)
    anterior, inferior = -float(unit @ frame.posterior), -float(unit @ frame.superior)
    if lateral < -1e-9:
        raise ConfigError(
            f"Expected the axis of a {side} cup to point to the {side}, out of its opening. Turn it round."
        )
    if definition is Definition.RADIOGRAPHIC:
        found = math.atan2(lateral, inferior), math.asin(max(-1.0, min(1.0, anterior)))
    elif definition is Definition.OPERATIVE:
        found = math.asin(max(-1.0, min(1.0, lateral))), math.atan2(anterior, inferior)
    else:
        found = math.acos(max(-1.0, min(1.0, inferior))), math.atan2(anterior, lateral)
    return CupAngles(math.degrees(found[0]), math.degrees(found[1]), definition)


def _points(landmarks: Mapping[str, ArrayLike], names: tuple[str, ...]) -> list[NDArray[np.float64]]:
    missing = [name for name in names if name not in landmarks]
    if missing:
        raise ConfigError(f"Expected the landmarks {', '.join(names)}; missing: {', '.join(missing)}.")
    return [np.asarray(landmarks[name], dtype=np.float64) for name in names]


def _unit(vector: NDArray[np.float64], one: str, other: str) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if not length >= _SHORTEST_MM:
        raise ConfigError(f"Expected {one} and {other} at least {_SHORTEST_MM:g} mm apart, got {length:.1f} mm.")
    return vector / length
