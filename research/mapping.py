"""How nnInteractive interactions become prompts of this project: a trial against the real Session, without HTTP.

Run: PYTHONDONTWRITEBYTECODE=1 nice /work/main/.venv/bin/python mapping.py
"""

from __future__ import annotations

import time

import highdicom
import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from medsam_planner import Session
from medsam_planner.geometry import acquisition_axis, lps_from_index
from prompts import Box, Click, Scribble


def volume_of(image: np.ndarray, spacing: list[float]) -> highdicom.Volume:
    """(1, x, y, z) as sent → a volume in its array order. The wire says no direction; clients of ITK send (z, y, x), so
    the first axis is taken for head-foot, the last for left-right. Only the order of axes and the spacing reach a mask."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1.0
    return highdicom.Volume(array=np.ascontiguousarray(image[0], np.float32), affine=affine, coordinate_system="PATIENT")


def at(volume, index):
    x, y, z = lps_from_index(volume.affine, [index])[0].tolist()
    return x, y, z


def click_of(volume, coordinates, include):
    return Click(at(volume, [round(float(value)) for value in coordinates]), bool(include))


def box_of(volume, sides):
    """Half-open voxels → the centres of the outermost voxels. Sizes of 1 along two or three axes are no box: a click."""
    cut = [(max(0, round(float(low))), min(size, round(float(high)))) for (low, high), size in zip(sides, volume.spatial_shape)]
    low, last = [side[0] for side in cut], [side[1] - 1 for side in cut]
    if sum(a == b for a, b in zip(low, last)) > 1:
        return Click(at(volume, [(a + b) // 2 for a, b in zip(low, last)]))
    return Box(at(volume, low), at(volume, last))


def strokes_of(volume, drawn, sides, include):
    """Each connected part of a drawn stroke, on each slice across the thinnest side, as the longest path of its skeleton."""
    axis = int(np.argmin([high - low for low, high in sides]))
    out = []
    for offset in range(drawn.shape[axis]):
        labels, count = ndimage.label(np.take(drawn, offset, axis) != 0, np.ones((3, 3)))
        for part in range(1, count + 1):
            path = _longest_path(skeletonize(labels == part) if (labels == part).sum() > 2 else labels == part)
            index = np.insert(path, axis, offset, axis=1) + [low for low, _ in sides]
            out.append(Scribble([at(volume, one) for one in index.tolist()], bool(include)))
    return out


def _longest_path(thin):
    """(N, 2) pixels of a tree's longest path: twice the farthest pixel, breadth first; ties by array order."""
    pixels = [tuple(one) for one in np.argwhere(thin).tolist()]
    known = set(pixels)

    def farthest(start):
        before, order = {start: None}, [start]
        for one in order:
            for step in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
                other = (one[0] + step[0], one[1] + step[1])
                if other in known and other not in before:
                    before[other] = one
                    order.append(other)
        path, one = [], order[-1]
        while one is not None:
            path.append(one)
            one = before[one]
        return path

    return np.array(farthest(farthest(pixels[0])[0]))


def phantom(shape=(40, 160, 200)):
    rng = np.random.default_rng(3)
    image = rng.normal(30, 10, shape)
    k, j, i = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    inside = ((k - 20) / 12) ** 2 + ((j - 70) / 30) ** 2 + ((i - 120) / 40) ** 2 < 1
    image[inside] += 90
    image[:, :3] = -1000
    return image[None], inside


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    image, truth = phantom()
    volume = volume_of(image, [3.0, 1.0, 1.0])
    print("handedness", np.sign(np.linalg.det(volume.affine[:3, :3])), "acquisition axis", acquisition_axis(volume.affine))
    began = time.perf_counter()
    session = Session(volume, "compact")
    print(f"session {time.perf_counter() - began:.2f} s, modality rule {session.normalisation.rule}")

    def dice(mask):
        return 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)

    def run(prompts, name):
        log = session.log(name)
        for prompt in prompts:
            session.add(prompt, structure=name)
        began = time.perf_counter()
        try:
            result = session.segment(structure=name, samples=0)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}")
            return None
        mask = result.mask.array
        sides = [(int(np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a)))[[0, -1]][0]),
                  int(np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a)))[[0, -1]][1]) + 1) for a in range(3)] if mask.any() else None
        print(f"{name}: {len(log)} prompts, Dice {dice(mask):.3f}, box {sides}, {time.perf_counter() - began:.2f} s")
        return mask

    box2d = [[20, 21], [40, 101], [80, 161]]
    one = run([box_of(volume, box2d)], "box 2D")
    run([box_of(volume, [[9, 32], [40, 101], [80, 161]])], "box 3D")
    run([click_of(volume, np.array([20.0, 70.2, 120.4]), True)], "click")
    run([click_of(volume, [20, 70, 120], False)], "negative click first")
    stroke = np.zeros((1, 20, 60), np.uint8)
    stroke[0, 8:11, 5:55] = 1
    strokes = strokes_of(volume, stroke, [[20, 21], [60, 80], [90, 150]], True)
    print("   a stroke of 3 × 50 voxels becomes", len(strokes), "scribble of", len(strokes[0].positions_lps_mm), "positions")
    run(strokes, "scribble")
    run([box_of(volume, [[20, 21], [70, 71], [80, 161]])], "a line of a box")
    cut = np.zeros((1, 160, 200), np.uint8)
    cut[0, 60:80, 130:150] = 1
    run([box_of(volume, box2d), *strokes_of(volume, cut, [[20, 21], [0, 160], [0, 200]], False)], "box and negative region as strokes")
    # the same voxels with the axes named otherwise: does the mask know?
    plain = highdicom.Volume(array=volume.array, affine=np.diag([3.0, 1.0, 1.0, 1.0]), coordinate_system="PATIENT")
    other = Session(plain, session.model)
    other.add(box_of(plain, box2d))
    print("same mask under another direction of the axes:", np.array_equal(other.segment(samples=0).mask.array, one))
    for size in ((20, 512, 512),):
        big = np.pad(image[0][10:30], ((0, 0), (100, 512 - 260), (100, 512 - 300)), constant_values=-1000)[None]
        study = volume_of(big, [3.0, 0.8, 0.8])
        began = time.perf_counter()
        session = Session(study, session.model)
        opened = time.perf_counter()
        session.add(box_of(study, [[10, 11], [140, 201], [180, 261]]))
        session.preview()
        seen = time.perf_counter()
        session.segment(samples=0)
        print(f"{size}: open {opened - began:.2f} s, first slice {seen - opened:.2f} s, 3D {time.perf_counter() - seen:.2f} s")
        session.add(click_of(study, [14, 170, 225], True))
        began = time.perf_counter()
        session.segment(samples=0)
        print(f"   one click more on another slice: 3D {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        session.undo()
        session.segment(samples=0)
        print(f"   undo: {time.perf_counter() - began:.2f} s")
