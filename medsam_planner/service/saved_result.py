"""A 3D result on disk, bit for bit, so that it need not be computed again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.geometry import slice_across
from medsam_planner.io.files import whole_file
from medsam_planner.provenance import PropagationTrace, SegmentationProvenance
from medsam_planner.segmentation.result import MaskSamples, SegmentationResult
from medsam_planner.volumes import BoxedArray, array_sha256, volume_like

__all__ = ["read_result", "write_result"]

_VOLUMES = ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")


def write_result(path: Path, result: SegmentationResult) -> None:
    """Write a result atomically; of each volume only the box that is not zero.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    axis = result.trace.axis
    arrays: dict[str, NDArray[Any]] = {}
    entries: dict[str, Any] = {
        "structure": result.structure,
        "axis": axis,
        "trace": result.trace.as_rows(),
        "faithfulness": result.faithfulness,
        "provenance": result.provenance.as_json(),
        "low_index": {},
    }
    for name in _VOLUMES:
        volume = getattr(result, name)
        if volume is None:
            continue
        boxed = BoxedArray.cut(volume.array, _filled_box(volume.array, axis))
        entries["low_index"][name] = list(boxed.low_index)
        arrays[name] = boxed.part
    if result.mask_samples is not None:
        entries["samples_low_index"] = [int(low) for low in result.mask_samples.boxed.low_index]
        entries["samples_shape"] = list(result.mask_samples.masks.shape)
        arrays["samples"] = np.packbits(result.mask_samples.masks)
    arrays["told"] = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_result(path: Path, study: highdicom.Volume) -> SegmentationResult:
    """Read a result of this study.

    Raises
    ------
    MedsamPlannerError
        If the file is absent, damaged, or of another grid.
    """
    try:
        with np.load(path) as archive:
            entries = json.loads(archive["told"].tobytes())
            axis, grid = int(entries["axis"]), tuple(study.spatial_shape)
            volumes: dict[str, Any] = {
                name: volume_like(study, BoxedArray(tuple(low), archive[name], grid).whole(axis=axis))
                for name, low in entries["low_index"].items()
            }
            samples = None
            if "samples" in archive:
                shape = tuple(int(size) for size in entries["samples_shape"])
                bits = np.unpackbits(archive["samples"], count=int(np.prod(shape)))
                boxed = BoxedArray(tuple(entries["samples_low_index"]), bits.reshape(shape).astype(bool), grid)
                samples = MaskSamples(boxed, study)
        result = SegmentationResult(
            structure=str(entries["structure"]),
            trace=PropagationTrace.from_rows(axis, entries["trace"]),
            mask_samples=samples,
            faithfulness=entries["faithfulness"],
            provenance=SegmentationProvenance.from_json(entries["provenance"]),
            **volumes,
        )
        is_whole = array_sha256(result.mask.array) == result.provenance.mask_sha256
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise MedsamPlannerError(f"The saved 3D result {path.name} cannot be read: {error}.") from error
    if not is_whole:
        raise MedsamPlannerError(f"The saved 3D result {path.name} is damaged: its mask has changed since.")
    return result


def _filled_box(array: NDArray[Any], axis: int) -> tuple[slice, slice, slice]:
    """The box outside which the array is zero, found slice by slice so that no second volume is held in memory."""
    flat: NDArray[np.bool_] | bool = False
    across: list[int] = []
    for index in range(array.shape[axis]):
        section = slice_across(array, axis, index) != 0
        if section.any():
            flat, across = flat | section, [*across, index]
    if not across:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    ends = [np.flatnonzero(np.any(flat, axis=other)) for other in (1, 0)]
    ends.insert(axis, np.array(across))
    first, second, third = (slice(int(found[0]), int(found[-1]) + 1) for found in ends)
    return first, second, third
