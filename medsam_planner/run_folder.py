"""What a run leaves behind: maps on the source grid, meshes, the prompt log, and one JSON that ties them together.

::

    mask.nii.gz  probability.nii.gz  uncertainty.nii.gz  mutual_information.nii.gz  boundary_spread_mm.nii.gz
    saliency.nii.gz
    dicom/                        the same as DICOM SEG and Parametric Maps, when the study was DICOM
    meshes/STRUCTURE.{ply,stl,glb}
    prompts.json  result.json

With several structures the maps of each lie in a folder of its name; the JSON files stay at the top.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.geometry import volume_ml
from medsam_planner.io import save_dicom_seg, save_nifti, save_parametric_map
from medsam_planner.mesh import Surface, rgb_from_values, write_surface
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.volumes import StudyVolume
from prompts import PromptFile, PromptLog, write_prompt_file
from prompts.record import Provenance

__all__ = ["open_run_folder", "prompt_record", "structure_folder", "write_json", "write_segmentations"]

_MAPS = ("probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")
_UNITS = {
    "probability": "1",
    "uncertainty": "bit",
    "mutual_information": "bit",
    "boundary_spread_mm": "mm",
    "saliency": "1",
}
_PLAIN_RGB = (214, 201, 176)
"""Surfaces without an uncertainty: the colour of a bone model."""


def open_run_folder(path: Path) -> Path:
    """Create the folder, or take one that exists.

    Raises
    ------
    MedsamPlannerError
        If the place is a file or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedsamPlannerError(
            f"Expected a folder that can be written for the results, got {path}: {error}."
        ) from error
    if not os.access(path, os.W_OK):
        raise MedsamPlannerError(f"Expected a folder that can be written for the results, got {path} (read-only).")
    return path


def structure_folder(folder: Path, structure: str, results: Mapping[str, SegmentationResult]) -> Path:
    """Where the maps of one structure lie: the run's folder itself when it holds no other."""
    return folder if len(results) == 1 else open_run_folder(folder / structure)


def write_segmentations(
    folder: Path,
    results: Mapping[str, SegmentationResult],
    logs: Mapping[str, PromptLog],
    *,
    study: highdicom.Volume,
    surfaces: Mapping[str, Surface] | None = None,
) -> None:
    """Write everything known of the structures; existing files of the same name are replaced whole."""
    for structure, result in results.items():
        place = structure_folder(folder, structure, results)
        save_nifti(result.mask, place / "mask.nii.gz")
        for name in _MAPS:
            volume = getattr(result, name)
            if volume is not None:
                save_nifti(volume, place / f"{name}.nii.gz")
        if isinstance(study, StudyVolume) and study.source is not None and study.source.is_referable:
            _write_dicom(open_run_folder(place / "dicom"), result, study)
    for structure, surface in (surfaces or {}).items():
        meshes = open_run_folder(folder / "meshes")
        spread = surface.values.get("boundary_spread_mm")
        rgb = _PLAIN_RGB if spread is None else rgb_from_values(spread)
        for suffix in ("ply", "stl", "glb"):
            write_surface(surface, meshes / f"{structure}.{suffix}", rgb=rgb, name=structure)
    write_prompt_file(folder / "prompts.json", prompt_record(results, logs, study))
    write_json(folder / "result.json", {"structures": {name: _summary(result) for name, result in results.items()}})


def prompt_record(
    results: Mapping[str, SegmentationResult], logs: Mapping[str, PromptLog], study: highdicom.Volume
) -> PromptFile:
    """The logs of the segmented structures with everything a replay needs."""
    first = next(iter(results.values())).provenance
    shared = ("uncertainty", "temperature", "triplanar", "saliency", "rules", "normalisation", "study", "operations")
    settings = {key: first[key] for key in shared}
    settings["series"] = _series_uid(study)
    settings["mask_sha256"] = {name: result.provenance["mask_sha256"] for name, result in results.items()}
    provenance = Provenance(
        image_sha256=first["image_sha256"],
        affine=tuple(tuple(float(value) for value in row) for row in study.affine),
        shape=tuple(int(size) for size in study.spatial_shape),
        frame_of_reference_uid=study.frame_of_reference_uid,
        modality=first["modality"],
        window=first["window"],
        model=first["model"],
        weights_sha256=first["weights_sha256"],
        seed=first["seed"],
        samples=first["samples"],
        versions=first["versions"],
        settings=settings,
    )
    return PromptFile(logs=tuple(logs[name] for name in results), provenance=provenance)


def _series_uid(study: highdicom.Volume) -> str | None:
    """What finds the series again among others; None where its files state none, or are NIfTI."""
    source = study.source if isinstance(study, StudyVolume) else None
    if source is None or any(
        "SeriesInstanceUID" in one.get("filled_count_by_keyword", ()) for one in source.operations
    ):
        return None
    return source.series_instance_uid


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write strict JSON (no NaN), whole or not at all."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _write_dicom(folder: Path, result: SegmentationResult, study: StudyVolume) -> None:
    if result.mask.array.any():
        save_dicom_seg(result.mask, folder / "mask.dcm", study, label=result.structure)
    for name in ("uncertainty", "boundary_spread_mm", "saliency"):
        volume = getattr(result, name)
        if volume is not None:
            save_parametric_map(volume, folder / f"{name}.dcm", study, quantity=name, unit=_UNITS[name])


def _summary(result: SegmentationResult) -> dict[str, Any]:
    mask = np.asarray(result.mask.array, dtype=bool)
    summary: dict[str, Any] = {
        "volume_ml": volume_ml(mask, result.mask.affine),
        "voxels": int(mask.sum()),
        "axis": result.trace.axis,
        "trace": result.trace.as_rows(),
        "faithfulness": result.faithfulness,
        "provenance": result.provenance,
    }
    for name in ("uncertainty", "boundary_spread_mm"):
        volume = getattr(result, name)
        if volume is not None and mask.any():
            summary[f"mean_{name}_inside"] = float(volume.array[mask].mean())
    return summary
