"""Procedural anatomy: label volumes of blobs, bones, vessels, sheets and organs that touch.

No shape imitates a particular organ. The purpose is variety: compact, thin, hollow, branching, in several parts, and in
contact with neighbours. Intensities are added later, per slice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.label_volume import LabelVolume, indexed

__all__ = ["procedural_anatomy", "smooth_noise"]

Array = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], wavelength: float) -> Array:
    """Noise of unit standard deviation with features about `wavelength` voxels wide."""
    coarse_shape = [max(int(np.ceil(n / wavelength * 2)) + 3, 4) for n in shape]
    coarse = rng.standard_normal(coarse_shape).astype(np.float32)
    zoomed = ndimage.zoom(coarse, [n / (c - 3) for n, c in zip(shape, coarse_shape, strict=True)], order=1)
    zoomed = zoomed[tuple(slice(0, n) for n in shape)]
    if wavelength > 4:
        zoomed = ndimage.uniform_filter(zoomed, max(int(wavelength / 3), 1))
    return (zoomed - zoomed.mean()) / (zoomed.std() + 1e-6)


def _rotation(rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def _grid(shape: tuple[int, ...], centre: Array) -> Array:
    axes = [np.arange(n, dtype=np.float32) - c for n, c in zip(shape, centre, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _ellipsoid(rng: np.random.Generator, shape: tuple[int, ...], centre: Array, radius: float, rough: float) -> Array:
    """Approximate signed distance in voxels, negative inside."""
    radii = radius * np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
    turned = np.tensordot(_rotation(rng) / radii[:, None], _grid(shape, centre), axes=1)
    power = rng.choice([2.0, 2.0, 2.0, 3.0, 5.0])
    distance = (np.sum(np.abs(turned) ** power, axis=0) ** (1 / power) - 1) * radius
    if rough > 0:
        distance = distance + rough * radius * smooth_noise(rng, shape, radius * rng.uniform(0.5, 1.6))
        if rng.random() < 0.4:
            distance = distance + 0.3 * rough * radius * smooth_noise(rng, shape, max(radius * 0.25, 2))
    return distance.astype(np.float32)


def _curve(rng: np.random.Generator, start: Array, heading: Array, length: int, bend: float) -> Array:
    points = [start]
    for _ in range(length):
        heading = heading + bend * rng.standard_normal(3).astype(np.float32)
        heading = heading / (np.linalg.norm(heading) + 1e-6)
        points.append(points[-1] + heading)
    return np.array(points, dtype=np.float32)


def _paint_tube(distance: Array, points: Array, radii: Array) -> None:
    """Lower `distance`, in place, to that of balls of `radii` at `points`."""
    for point, radius in zip(points[::1], radii[::1], strict=True):
        reach = int(np.ceil(radius + 3))
        low = np.maximum(np.floor(point).astype(int) - reach, 0)
        high = np.minimum(np.floor(point).astype(int) + reach + 2, distance.shape)
        if np.any(high <= low):
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = [np.arange(a, b, dtype=np.float32) - c for a, b, c in zip(low, high, point, strict=True)]
        squares = (axes[0] ** 2)[:, None, None] + (axes[1] ** 2)[None, :, None] + (axes[2] ** 2)[None, None]
        distance[box] = np.minimum(distance[box], np.sqrt(squares) - radius)


def _vessel(rng: np.random.Generator, shape: tuple[int, ...], centre: Array, radius: float, branches: int) -> Array:
    distance = np.full(shape, 9.0, dtype=np.float32)
    bend = rng.uniform(0.03, 0.25)
    length = int(rng.uniform(0.4, 1.0) * max(shape))
    heading = rng.standard_normal(3).astype(np.float32)
    trunk = _curve(rng, centre, heading / np.linalg.norm(heading), length, bend)
    back = _curve(rng, centre, -heading / np.linalg.norm(heading), length // 2, bend)
    trunk = np.concatenate([back[::-1], trunk])
    taper = np.linspace(1.1, rng.uniform(0.5, 1.1), len(trunk))
    wobble = 1 + 0.15 * np.sin(np.linspace(0, rng.uniform(2, 14), len(trunk)))
    _paint_tube(distance, trunk, (radius * taper * wobble).astype(np.float32))
    for _ in range(branches):
        start = trunk[rng.integers(len(trunk) // 6, len(trunk))]
        side = rng.standard_normal(3).astype(np.float32)
        limb = _curve(rng, start, side / np.linalg.norm(side), int(length * rng.uniform(0.3, 0.8)), bend * 1.3)
        thinner = radius * rng.uniform(0.4, 0.9)
        _paint_tube(distance, limb, np.linspace(thinner, thinner * 0.5, len(limb)).astype(np.float32))
    return distance


def _organ(rng: np.random.Generator, shape: tuple[int, ...], kind: str, size: float) -> Array:
    """Approximate signed distance of one organ with a radius of about `size` voxels."""
    centre = (rng.uniform(0.15, 0.85, 3) * shape).astype(np.float32)
    rough = float(rng.choice([0.0, 0.06, 0.12, 0.25]))
    if kind == "tube":
        return _vessel(rng, shape, centre, max(size * rng.uniform(0.15, 0.45), 1.2), 0)
    if kind == "tree":
        return _vessel(rng, shape, centre, max(size * rng.uniform(0.12, 0.35), 1.3), int(rng.integers(2, 6)))
    body = _ellipsoid(rng, shape, centre, size, rough)
    if kind == "crescent":
        step = _rotation(rng)[0] * size * rng.uniform(0.3, 0.8)
        body = np.maximum(body, -_ellipsoid(rng, shape, centre + step, size * rng.uniform(0.7, 1.0), rough))
    elif kind == "sheet":
        normal = _rotation(rng)[0]
        offset = np.tensordot(normal, _grid(shape, centre), axes=1) + size * 0.35 * smooth_noise(rng, shape, size * 1.5)
        body = np.maximum(body, np.abs(offset) - max(size * rng.uniform(0.06, 0.2), 1.0))
    elif kind == "cluster":
        for _ in range(int(rng.integers(2, 5))):
            beside = centre + rng.normal(0, 1.1 * size, 3).astype(np.float32)
            body = np.minimum(body, _ellipsoid(rng, shape, beside, size * rng.uniform(0.4, 0.9), rough))
    return body


_KINDS = ("blob", "tube", "tree", "crescent", "sheet", "cluster", "shell", "twins", "long_bone", "joint")
_SHARES = (0.22, 0.11, 0.07, 0.10, 0.07, 0.05, 0.12, 0.10, 0.08, 0.08)
ALIKE_BONES = 0.6
"""Share of volumes in which all bones have the same cortex and the same marrow."""


def procedural_anatomy(rng: np.random.Generator, *, side: int = 88) -> LabelVolume:
    """A random volume of about a dozen structures over a patchy background.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all random choices; the same state gives the same volume.
    side : int
        Side of the cube in voxels of 1 mm.

    Returns
    -------
    LabelVolume
        Without an image.
    """
    shape = (side, side, side)
    patches = int(rng.integers(1, 5))
    scale = rng.uniform(10, 50)
    if patches > 1:
        labels = np.argmax([smooth_noise(rng, shape, scale) for _ in range(patches)], axis=0).astype(np.uint16)
    else:
        labels = np.zeros(shape, dtype=np.uint16)
    if rng.random() < 0.35:
        body = _ellipsoid(rng, shape, np.full(3, side / 2, np.float32), side * rng.uniform(0.4, 0.6), 0.05)
        labels[body > 0] = patches
    label = patches + 1
    structures: list[tuple[int, ...]] = []
    cortex: list[int] = []
    marrow: list[int] = []
    tissues: list[tuple[int, ...]] = []
    for _ in range(int(rng.integers(5, 13))):
        kind = str(rng.choice(_KINDS, p=_SHARES))
        size = float(np.exp(rng.uniform(np.log(3.0), np.log(side * 0.26))))
        if kind == "shell":
            body = _organ(rng, shape, str(rng.choice(["blob", "crescent", "sheet"], p=[0.7, 0.2, 0.1])), max(size, 6))
            thickness = rng.uniform(1.0, max(0.3 * size, 2.0))
            labels[body < 0] = label
            labels[body < -thickness] = label + 1
            structures += [(label, label + 1), (label,), (label + 1,)]
            cortex.append(label)
            marrow.append(label + 1)
            label += 2
        elif kind == "long_bone":
            body = _vessel(rng, shape, (rng.uniform(0.2, 0.8, 3) * shape).astype(np.float32), max(size * 0.4, 3.0), 0)
            labels[body < 0] = label
            labels[body < -rng.uniform(1.0, 2.5)] = label + 1
            structures += [(label, label + 1), (label, label + 1), (label + 1,)]
            cortex.append(label)
            marrow.append(label + 1)
            label += 2
        elif kind == "joint":
            structures += _joint(rng, labels, label, max(size, 5))
            cortex += [label, label + 2]
            marrow += [label + 1, label + 3]
            label += 4
        elif kind == "twins":
            body = _organ(rng, shape, "blob", max(size, 5))
            cut = smooth_noise(rng, shape, size * 2) * size * 0.15
            normal = _rotation(rng)[0]
            inside = np.argwhere(body < 0)
            middle = inside.mean(0).astype(np.float32) if len(inside) else np.full(3, side / 2, np.float32)
            cut = cut + np.tensordot(normal, _grid(shape, middle), axes=1) - rng.uniform(-0.4, 0.4) * size
            gap = rng.choice([0.0, 0.0, 0.8, 1.2])
            if gap > 1:
                tissues.append((label, label + 1))
            labels[(body < 0) & (cut < -gap)] = label
            labels[(body < 0) & (cut > gap)] = label + 1
            structures += [(label,), (label + 1,)]
            label += 2
        else:
            labels[_organ(rng, shape, kind, size) < 0] = label
            structures.append((label,))
            label += 1
    if rng.random() < ALIKE_BONES:
        tissues += [tuple(part) for part in (cortex, marrow) if part]
    return indexed(LabelVolume("procedural", labels, (1.0, 1.0, 1.0), tuple(structures), tissues=tuple(tissues)))


def _joint(rng: np.random.Generator, labels: NDArray[np.uint16], label: int, size: float) -> list[tuple[int, ...]]:
    """Write two irregular bones on both sides of a narrow, curved gap into `labels`, as cortex and marrow."""
    shape = labels.shape
    centre = (rng.uniform(0.2, 0.8, 3) * shape).astype(np.float32)
    body = _ellipsoid(rng, shape, centre, size, 0.12)
    for _ in range(int(rng.integers(0, 4))):  # processes, as of vertebrae
        root = centre + rng.normal(0, 0.5 * size, 3).astype(np.float32)
        way = root - centre
        limb = _curve(rng, root, way / (np.linalg.norm(way) + 1e-6), int(size * rng.uniform(0.5, 1.6)), 0.12)
        _paint_tube(body, limb, np.linspace(size * 0.3, max(size * 0.12, 1.5), len(limb)).astype(np.float32))
    normal = _rotation(rng)[0]
    surface = np.tensordot(normal, _grid(shape, centre), axes=1) + size * 0.15 * smooth_noise(rng, shape, size * 2)
    surface = surface - rng.uniform(-0.6, 0.6) * size
    gap, thickness = rng.uniform(0.5, 1.5), rng.uniform(1.0, 2.5)
    for number, side in ((label, surface), (label + 2, -surface)):
        depth = np.maximum(body, side + gap)
        labels[depth < 0] = number
        labels[depth < -thickness] = number + 1
    return [(label, label + 1), (label + 2, label + 3)]
