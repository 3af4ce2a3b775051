"""Six synthetic shapes that small models segment badly; unlike patients, they may be pictured on the model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.model_card.case_files import write_case

__all__ = ["SHAPES", "hard_shape", "write_hard_shapes"]

Array = NDArray[np.float32]
SIDE = 72
"""Side of the cube in voxels of 1 mm. The prompted slices lie across the last axis."""
_BACKGROUND = 0.40
_TEXTURE, _TEXTURE_PX = 0.05, 4.0
_BLUR_PX, _NOISE = 0.7, 0.03


def _offset(centre: tuple[float, float, float] = (0, 0, 0)) -> Array:
    """(3, K, J, I) offset in mm from `centre`, which is relative to the middle of the cube."""
    index = np.indices((SIDE, SIDE, SIDE), dtype=np.float32)
    return index - (SIDE - 1) / 2 - np.array(centre, dtype=np.float32)[:, None, None, None]


def _ellipsoid(radii: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Array:
    """Approximate signed distance in mm to the surface, negative inside."""
    scaled = _offset(centre) / np.array(radii, dtype=np.float32)[:, None, None, None]
    return (np.linalg.norm(scaled, axis=0) - 1) * np.float32(min(radii))


def _tube(start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Array:
    """Signed distance in mm to a straight tube with round ends, negative inside."""
    axis = np.subtract(end, start).astype(np.float32)
    along = np.clip(np.tensordot(axis, _offset(start), axes=1) / float(axis @ axis), 0, 1)
    return np.linalg.norm(_offset(start) - axis[:, None, None, None] * along, axis=0) - np.float32(radius)


def _hollow_bone() -> tuple[Array, Array]:
    """A bone: a bright cortex of 2.5 mm around marrow that has nearly the intensity of the tissue outside."""
    bone = _ellipsoid((26, 13, 15))
    return bone, np.where(bone < -2.5, 0.46, np.where(bone < 0, 0.90, _BACKGROUND))


def _thin_shell() -> tuple[Array, Array]:
    """A shell of 3 mm around another tissue; the shell is the structure."""
    outer = _ellipsoid((28, 27, 24))
    return np.maximum(outer, -outer - 3), np.where(outer < -3, 0.55, np.where(outer < 0, 0.85, _BACKGROUND))


def _branching_vessel() -> tuple[Array, Array]:
    """A trunk with four branches on both sides."""
    tree = _tube((-30, 0, -4), (30, 0, 4), 3.2)
    for root, tip, radius in (
        ((-15, 0, -2), (2, 22, -16), 2.2),
        ((-5, 0, -1), (10, -24, 12), 2.0),
        ((6, 0, 1), (24, 20, 14), 1.8),
        ((14, 0, 2), (28, -20, -14), 1.6),
    ):
        tree = np.minimum(tree, _tube(root, tip, radius))
    return tree, np.where(tree < 0, 0.70, _BACKGROUND)


def _large_organ() -> tuple[Array, Array]:
    """An organ that fills most of the image, beside a neighbour of nearly the same intensity."""
    organ, neighbour = _ellipsoid((29, 25, 28), (0, -8, 0)), _ellipsoid((24, 16, 22), (2, 24, 4))
    return organ, np.where(organ < 0, 0.56, np.where(neighbour < 0, 0.60, _BACKGROUND))


def _thin_sheet() -> tuple[Array, Array]:
    """A curved sheet of 2.6 mm."""
    first, second, third = _offset()
    curved = np.abs(second - 7 * np.sin(third / 9) - 0.012 * first**2 + 3) - 1.3
    sheet = np.maximum(curved, _ellipsoid((25, 25, 25)))
    return sheet, np.where(sheet < 0, 0.75, _BACKGROUND)


def _two_arms() -> tuple[Array, Array]:
    """A horseshoe: two parts on the prompted slice, which are connected far from it."""
    thick, thin = _tube((0, -14, -22), (0, -14, 22), 7.5), _tube((0, 14, -22), (0, 14, 22), 5.5)
    horseshoe = np.minimum(np.minimum(thick, thin), _tube((0, -14, 22), (0, 14, 22), 5))
    return horseshoe, np.where(horseshoe < 0, 0.68, _BACKGROUND)


SHAPES: dict[str, Callable[[], tuple[Array, Array]]] = {
    "hollow bone": _hollow_bone,
    "thin shell": _thin_shell,
    "branching vessel": _branching_vessel,
    "large organ": _large_organ,
    "thin sheet": _thin_sheet,
    "two arms": _two_arms,
}
"""By name: signed distance to the structure (negative inside) and intensity, both (K, J, I)."""


def hard_shape(name: str) -> tuple[Array, NDArray[np.uint8]]:
    """Image and labels of a shape.

    Parameters
    ----------
    name : str
        One of :data:`SHAPES`.

    Returns
    -------
    (K, J, I) float32, (K, J, I) uint8
    """
    distance, brightness = SHAPES[name]()
    rng = np.random.default_rng(list(SHAPES).index(name))
    texture = ndimage.gaussian_filter(rng.standard_normal(distance.shape), _TEXTURE_PX)
    image = brightness + _TEXTURE * texture / texture.std()
    image = ndimage.gaussian_filter(image, _BLUR_PX) + _NOISE * rng.standard_normal(image.shape)
    return image.astype(np.float32), (distance < 0).astype(np.uint8)


def write_hard_shapes(root: Path) -> Path:
    """Write a case for each of :data:`SHAPES` into `root`; always the same bytes."""
    for name in SHAPES:
        image, labels = hard_shape(name)
        write_case(root / name.replace(" ", "_"), image, labels, anatomy=name, names={1: name})
    return root
