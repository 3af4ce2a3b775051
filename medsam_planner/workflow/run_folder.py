"""The results folder of a run: maps on the source grid, meshes, the prompt log, and a JSON file about all of them.

::

    mask.nii.gz  probability.nii.gz  uncertainty.nii.gz  mutual_information.nii.gz  boundary_spread_mm.nii.gz
    saliency.nii.gz
    seg.dcm  MAP_STRUCTURE.dcm    DICOM objects, when the study was DICOM; see :mod:`.dicom_results`
    meshes/STRUCTURE.{ply,stl,glb}
    prompts.json  result.json
    files.json                    which of the files a run wrote; see :mod:`medsam_planner.io.output_folder`

With several structures the maps of each lie in a folder of its name; the JSON files stay at the top. NIfTI and JSON are
written first, then DICOM objects and meshes. If one of those fails, the others are written and ``result.json`` has a
note.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np

from medsam_planner.geometry import volume_ml
from medsam_planner.io import save_nifti
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.files import write_json
from medsam_planner.io.output_folder import OutputFolder, open_run_folder
from medsam_planner.mesh import Surface, rgb_from_values, write_surface
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume, source_of
from medsam_planner.workflow.dicom_results import OutputOptions, dicom_names, write_dicom_meshes, write_dicom_results
from medsam_planner.workflow.plan_objects import PLAN_OBJECTS, is_referable
from medsam_planner.workflow.recorded_paths import place_of_study
from prompts import PromptFile, PromptLog, write_prompt_file
from prompts.record import Provenance

__all__ = [
    "MAPS",
    "PLAN_NAMES",
    "PROMPTS",
    "RESULT",
    "mask_names",
    "open_run_folder",
    "prompt_record",
    "segmentation_names",
    "structure_place",
    "write_meshes",
    "write_objects",
    "write_prompts",
    "write_records",
    "write_segmentations",
    "write_structure",
]

PROMPTS, RESULT = "prompts.json", "result.json"
PLAN_NAMES = ("plan.json", "report.html", *PLAN_OBJECTS)

MAPS = ("probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency")
_MESH_SUFFIXES = ("ply", "stl", "glb")
_PLAIN_RGB = (214, 201, 176)
"""Surfaces without an uncertainty: the colour of a bone model."""


def segmentation_names(structures: Sequence[str]) -> list[str]:
    """Every file that segmenting these structures may leave."""
    names = []
    for structure in structures:
        place = "" if len(structures) == 1 else f"{structure}/"
        names += [f"{place}{name}.nii.gz" for name in ("mask", *MAPS)]
        names += [f"meshes/{structure}.{suffix}" for suffix in _MESH_SUFFIXES]
    return [*names, *dicom_names(structures), PROMPTS, RESULT]


def mask_names(structures: Sequence[str]) -> dict[str, str]:
    """By structure, where its mask lies in the run's folder."""
    return {name: "mask.nii.gz" if len(structures) == 1 else f"{name}/mask.nii.gz" for name in structures}


def structure_place(folder: Path | OutputFolder, structure: str, structures: Collection[str]) -> Path:
    """Where the maps of one of several structures lie: the run's folder itself when it holds no other."""
    return folder / ("." if len(structures) == 1 else structure)


def write_segmentations(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    logs: Mapping[str, PromptLog],
    *,
    study: highdicom.Volume,
    surfaces: Mapping[str, Surface] | None = None,
    notes: Sequence[str] = (),
    options: OutputOptions | None = None,
) -> tuple[str, ...]:
    """Write everything known of the structures; existing files of the same name are replaced whole.

    Returns
    -------
    tuple of str
        `notes`, and why each DICOM object or mesh that is missing could not be made; ``result.json`` has them too.
    """
    for result in results.values():
        write_structure(folder, result, list(results))
    write_records(folder, results, logs, study=study, notes=notes)
    found = (*notes, *write_objects(folder, results, study=study, surfaces=surfaces, options=options))
    if len(found) > len(notes):
        write_records(folder, results, logs, study=study, notes=found)
    return found


def write_structure(folder: Path | OutputFolder, result: SegmentationResult, structures: Collection[str]) -> None:
    """Write the mask and the maps of one of `structures` as NIfTI."""
    place = structure_place(folder, result.structure, structures)
    save_nifti(result.mask, place / "mask.nii.gz")
    for name in MAPS:
        volume = getattr(result, name)
        if volume is not None:
            save_nifti(volume, place / f"{name}.nii.gz")


def write_records(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    logs: Mapping[str, PromptLog],
    *,
    study: highdicom.Volume,
    notes: Sequence[str] = (),
    with_paths: bool = False,
) -> None:
    """Write ``prompts.json`` and ``result.json`` of the structures that are there so far."""
    write_prompts(folder, results, logs, study=study, with_paths=with_paths)
    document: dict[str, Any] = {"structures": {name: _summary(result) for name, result in results.items()}}
    write_json(folder / RESULT, {**document, "notes": list(notes)})


def write_prompts(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    logs: Mapping[str, PromptLog],
    *,
    study: highdicom.Volume,
    with_paths: bool = False,
) -> None:
    """Write ``prompts.json`` of the structures that are there so far."""
    path = folder / PROMPTS
    place = place_of_study(study, path.parent, with_paths=with_paths)
    write_prompt_file(path, prompt_record(results, logs, study, place))


def write_objects(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    *,
    study: highdicom.Volume,
    surfaces: Mapping[str, Surface] | None = None,
    options: OutputOptions | None = None,
) -> list[str]:
    """Write what other programs read beside the NIfTI files: DICOM objects, when the study was DICOM, and meshes.

    Returns
    -------
    list of str
        Why each that is missing could not be made, and what must be known of the others.
    """
    notes: list[str] = []
    referable = study if isinstance(study, StudyVolume) and is_referable(study) else None
    if referable is not None:
        notes += write_dicom_results(folder, results, referable, options)
    notes += write_meshes(folder, surfaces or {})
    if referable is not None:
        notes += write_dicom_meshes(folder, list(results), referable)
    return notes


def write_meshes(
    folder: Path | OutputFolder, surfaces: Mapping[str, Surface], *, suffixes: Sequence[str] = _MESH_SUFFIXES
) -> list[str]:
    """Write surfaces, coloured by their uncertainty; returns why one is missing."""
    notes: list[str] = []
    for structure, surface in surfaces.items():
        spread = surface.values.get("boundary_spread_mm")
        rgb = _PLAIN_RGB if spread is None else rgb_from_values(spread)
        for suffix in suffixes:
            path = folder / f"meshes/{structure}.{suffix}"
            attempted(notes, f"meshes/{path.name}", partial(write_surface, surface, path, rgb=rgb, name=structure))
    return notes


def prompt_record(
    results: Mapping[str, SegmentationResult],
    logs: Mapping[str, PromptLog],
    study: highdicom.Volume,
    place: str | None = None,
) -> PromptFile:
    """The logs of the segmented structures with everything a replay needs; `place` says where the study lies."""
    first = next(iter(results.values())).provenance
    shared = ("uncertainty", "temperature", "triplanar", "saliency", "rules", "normalisation", "operations", "engine")
    settings = {key: value for key, value in first.as_json().items() if key in shared}
    settings["study"] = place
    settings["series"] = _series_uid(study)
    source = source_of(study)
    if source is not None and source.volume is not None:
        settings["volume"] = source.volume
    settings["mask_sha256"] = {name: result.provenance.mask_sha256 for name, result in results.items()}
    provenance = Provenance(
        image_sha256=first.image_sha256,
        affine=tuple(tuple(float(value) for value in row) for row in study.affine),
        shape=tuple(int(size) for size in study.spatial_shape),
        frame_of_reference_uid=study.frame_of_reference_uid,
        modality=first.modality,
        window=first.window,
        model=first.model,
        weights_sha256=first.weights_sha256,
        seed=first.seed,
        samples=first.samples,
        versions=first.versions,
        settings=settings,
    )
    return PromptFile(logs=tuple(logs[name] for name in results), provenance=provenance)


def _series_uid(study: highdicom.Volume) -> str | None:
    """UID by which the series is found again; None where its files state none, or are NIfTI."""
    source = source_of(study)
    if source is None or any(
        "SeriesInstanceUID" in one.get("filled_count_by_keyword", ()) for one in source.operations
    ):
        return None
    return source.series_instance_uid


def _summary(result: SegmentationResult) -> dict[str, Any]:
    mask = np.asarray(result.mask.array, dtype=bool)
    summary: dict[str, Any] = {
        "volume_ml": volume_ml(mask, result.mask.affine),
        "voxels": int(mask.sum()),
        "axis": result.trace.axis,
        "trace": result.trace.as_rows(),
        "faithfulness": result.faithfulness,
        "provenance": result.provenance.as_json(),
    }
    for name in ("uncertainty", "boundary_spread_mm"):
        volume = getattr(result, name)
        if volume is not None and mask.any():
            summary[f"mean_{name}_inside"] = float(volume.array[mask].mean())
    return summary
