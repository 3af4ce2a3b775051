"""A 3D result on disk, to the last bit, so that nobody has to run it again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.geometry import slice_across, zeros_by_slice
from medsam_planner.io.files import whole_file
from medsam_planner.propagation.trace import PropagationTrace
from medsam_planner.segmentation import MaskSamples, SegmentationResult
from medsam_planner.volumes import array_sha256, volume_like

__all__ = ["read_result", "write_result"]

_VOLUMES = ("mask", "probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")


def write_result(path: Path, result: SegmentationResult) -> None:
    """Write a result, whole or not at all; of each volume the slices that hold anything.

    Raises
    ------
    OSError
        If the place cannot be written.
    """
    axis = result.trace.axis
    arrays: dict[str, NDArray[Any]] = {}
    told: dict[str, Any] = {
        "structure": result.structure,
        "axis": axis,
        "trace": result.trace.as_rows(),
        "faithfulness": result.faithfulness,
        "provenance": result.provenance,
        "first_slice": {},
    }
    for name in _VOLUMES:
        volume = getattr(result, name)
        if volume is None:
            continue
        filled = [index for index in range(volume.array.shape[axis]) if slice_across(volume.array, axis, index).any()]
        first, stop = (filled[0], filled[-1] + 1) if filled else (0, 0)
        told["first_slice"][name] = first
        arrays[name] = np.moveaxis(volume.array, axis, 0)[first:stop]
    if result.mask_samples is not None:
        told["samples_low_index"] = [int(low) for low in result.mask_samples.low_index]
        told["samples_shape"] = list(result.mask_samples.masks.shape)
        arrays["samples"] = np.packbits(result.mask_samples.masks)
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_result(path: Path, study: highdicom.Volume) -> SegmentationResult:
    """Read a result of this study back.

    Raises
    ------
    MedsamPlannerError
        If the file is absent, damaged, or of another grid.
    """
    try:
        with np.load(path) as archive:
            told = json.loads(archive["told"].tobytes())
            axis = int(told["axis"])
            volumes = {
                name: volume_like(study, _whole(archive[name], study, axis, int(first)))
                for name, first in told["first_slice"].items()
            }
            samples = None
            if "samples" in archive:
                shape = tuple(int(size) for size in told["samples_shape"])
                bits = np.unpackbits(archive["samples"], count=int(np.prod(shape)))
                k, j, i = (int(low) for low in told["samples_low_index"])
                samples = MaskSamples((k, j, i), bits.reshape(shape).astype(bool), study)
        result = SegmentationResult(
            structure=str(told["structure"]),
            trace=PropagationTrace.from_rows(axis, told["trace"]),
            mask_samples=samples,
            faithfulness=told["faithfulness"],
            provenance=told["provenance"],
            **volumes,
        )
        is_whole = array_sha256(result.mask.array) == result.provenance["mask_sha256"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise MedsamPlannerError(f"The kept 3D result {path.name} cannot be read: {error}.") from error
    if not is_whole:
        raise MedsamPlannerError(f"The kept 3D result {path.name} is damaged: its mask is not the one that was kept.")
    return result


def _whole(part: NDArray[Any], study: highdicom.Volume, axis: int, first: int) -> NDArray[Any]:
    whole = zeros_by_slice(study.spatial_shape, axis, part.dtype)
    np.moveaxis(whole, axis, 0)[first : first + len(part)] = part
    return whole
