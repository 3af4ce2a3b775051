"""Accuracy of one loose 2D box carried to 3D, on cases with reference masks, for several stop rules.

For each label's largest 3D part: a box on its middle slice, each side grown by 0 to 5/256 of the slice, no z-range; the
whole volume counts. Run: ``python -m benchmarks.box_to_volume CASES_DIR --only PATTERN ...``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import medsam_planner as mp
from medsam_planner.geometry import acquisition_axis, lps_from_index
from medsam_planner.propagation.walk import StopRules
from prompts import Box

VARIANTS = {
    "default": StopRules(),
    "loose growth": replace(StopRules(), max_growth_ratio=2.5, max_growth_from_anchor=1e9),
    "quality 0.5": replace(StopRules(), min_quality=0.5),
    "quality 0.3": replace(StopRules(), min_quality=0.3),
}


def objects(folder: Path, most: int) -> Iterator[tuple[str, highdicom.Volume, NDArray[np.bool_]]]:
    """Name, image and mask of each label's largest part."""
    image, labels = mp.load_volume(folder / "image.nii.gz"), mp.load_volume(folder / "labels.nii.gz")
    names = json.loads((folder / "meta.json").read_text()).get("label_names", {})
    values = [int(value) for value in np.unique(labels.array) if value > 0][:most]
    for value in values:
        parts, count = ndimage.label(labels.array == value)
        if count:
            largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
            yield f"{folder.name}/{names.get(str(value), value)}", image, largest


def loose_box(mask: NDArray[np.bool_], affine: NDArray[np.float64], generator: np.random.Generator) -> Box | None:
    """Box on the middle slice across the acquisition axis; None where the section is a line."""
    axis = acquisition_axis(affine)
    across = np.moveaxis(mask, axis, 0)
    occupied = np.flatnonzero(across.any(axis=(1, 2)))
    index = int(occupied[len(occupied) // 2])
    section = np.argwhere(across[index])
    grown = generator.integers(0, 6, (2, 2)) * np.array(across.shape[1:]) / 256
    low, high = section.min(0) - grown[0], section.max(0) + grown[1]
    if (high - low).min() < 2:
        return None
    low, high = np.maximum(low, 0), np.minimum(high, np.array(across.shape[1:]) - 1)
    ends = (lps_from_index(affine, np.insert(corner, axis, index)) for corner in (low, high))
    return Box(*ends)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two masks."""
    return 2.0 * float((first & second).sum()) / max(float(first.sum() + second.sum()), 1.0)


def main() -> None:
    """Print the mean 3D Dice of each variant and group of cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--model", default="compact")
    parser.add_argument("--labels-per-case", type=int, default=40)
    arguments = parser.parse_args()
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in VARIANTS}
    for folder in sorted(arguments.cases.iterdir()):
        if not any(fnmatch(folder.name, pattern) for pattern in arguments.only):
            continue
        for name, image, mask in objects(folder, arguments.labels_per_case):
            box = loose_box(mask, image.affine, np.random.default_rng(0))
            if box is None:
                continue
            for variant, rules in VARIANTS.items():
                session = mp.Session(image, arguments.model, rules=rules)
                session.add(box)
                found = session.segment(samples=0).mask.array
                group = name.split("/")[0].rstrip("0123456789_")
                scores[variant].setdefault(group, []).append(dice(found, mask))
    groups = sorted({group for by_group in scores.values() for group in by_group})
    print(f"{'3D Dice after one loose box':28}" + "".join(f"{group[:22]:>24}" for group in groups))
    for variant, by_group in scores.items():
        cells = (f"{np.mean(by_group[group]):.3f} (n={len(by_group[group])})" for group in groups)
        print(f"{variant:28}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
