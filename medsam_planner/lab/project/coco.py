"""Segmentations as COCO annotations: uncompressed run lengths for each structure on each slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import acquisition_axis, slice_across
from medsam_planner.io.files import write_json
from medsam_planner.workflow.training_folders import TrainingCase

__all__ = ["mask_of_runs", "run_lengths", "write_coco"]


_MOST_PIXELS = 1 << 26


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of background and structure in turn, column by column, as COCO counts them."""
    flat = np.concatenate([[False], np.asfortranarray(mask).ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return [int(count) for count in (counts if counts[-1] or len(counts) == 1 else counts[:-1])]


def mask_of_runs(segmentation: Mapping[str, Any]) -> NDArray[np.bool_]:
    """(H, W) mask of an uncompressed RLE, the inverse of :func:`run_lengths`.

    Raises
    ------
    ConfigError
        If it is a polygon or compressed, or its runs do not fill the slice.
    """
    if not isinstance(segmentation, Mapping) or not isinstance(segmentation.get("counts"), list):
        raise ConfigError("Expected uncompressed run lengths, got a polygon or a compressed string. Decode it first.")
    (height, width), counts = segmentation["size"], np.asarray(segmentation["counts"], dtype=np.int64)
    if not 0 < height * width <= _MOST_PIXELS or (counts < 0).any() or counts.sum() != height * width:
        raise ConfigError(f"Expected run lengths that fill {height} × {width} pixels, got {int(counts.sum())}.")
    values = np.arange(len(counts)) % 2 == 1
    return np.asarray(np.repeat(values, counts).reshape((height, width), order="F"))


def write_coco(folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str]) -> list[str]:
    """Write ``annotations.json``; slices across the axis of acquisition that nobody reviewed are left out.

    Parameters
    ----------
    folder : Path
    cases : iterable of TrainingCase
        Array axes as loaded; a slice's rows and columns are its two other axes in their order.
    structures : sequence of str
        Names of the categories, from 1 in their order.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for case in cases:
        axis = acquisition_axis(case.image.affine)
        for index in range(case.image.spatial_shape[axis]):
            if case.ignored is not None and slice_across(case.ignored, axis, index).all():
                continue
            height, width = slice_across(case.image.array, axis, index).shape
            number = len(images) + 1
            images.append(
                {"id": number, "width": width, "height": height, "file_name": case.name, "axis": axis, "slice": index}
            )
            for category, name in enumerate(structures, start=1):
                if name not in case.masks:
                    continue
                mask = np.asarray(slice_across(case.masks[name].array, axis, index), dtype=bool)
                if mask.any():
                    annotations.append(_annotation(len(annotations) + 1, number, category, mask))
    categories = [{"id": number, "name": name} for number, name in enumerate(structures, start=1)]
    write_json(folder / "annotations.json", {"images": images, "annotations": annotations, "categories": categories})
    return []


def _annotation(number: int, image: int, category: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low = [int(columns[0]), int(rows[0])]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [*low, int(columns[-1]) + 1 - low[0], int(rows[-1]) + 1 - low[1]],
        "segmentation": {"size": [mask.shape[0], mask.shape[1]], "counts": run_lengths(mask)},
    }
