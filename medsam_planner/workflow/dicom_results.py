"""DICOM objects of a run, beside its NIfTI files: one Segmentation of all structures, one Parametric Map for each map.

One that fails is a note.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medsam_planner.drawing.palette import colour_of
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.objects.parametric_map import MAP_QUANTITIES, save_parametric_map
from medsam_planner.io.objects.segmentation import Algorithm, Segment, SegmentEncoding, fitting_encoding, save_segments
from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume

__all__ = ["SEGMENTATION", "DicomOptions", "dicom_names", "map_name", "result_segments", "write_dicom_results"]

SEGMENTATION = "seg.dcm"


@dataclass(frozen=True, slots=True)
class DicomOptions:
    """Choices about the DICOM objects of a run."""

    encoding: SegmentEncoding | None = None
    """Of the Segmentation; None takes a label map unless structures overlap."""


def map_name(quantity: str, structure: str) -> str:
    """File name of a map of a structure."""
    return f"{quantity}_{structure}.dcm"


def dicom_names(structures: Collection[str]) -> list[str]:
    """Every DICOM file that segmenting these structures may leave."""
    return [SEGMENTATION, *(map_name(quantity, name) for name in structures for quantity in MAP_QUANTITIES)]


def result_segments(results: Mapping[str, SegmentationResult]) -> list[Segment]:
    """Segments of the structures that have a voxel, coloured as on the page."""
    return [
        Segment(name, result.mask, colour_of(number), _algorithm(result))
        for number, (name, result) in enumerate(results.items())
        if result.mask.array.any()
    ]


def write_dicom_results(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    study: StudyVolume,
    options: DicomOptions | None = None,
) -> list[str]:
    """Write the objects of a study that was read from DICOM.

    Returns
    -------
    list of str
        Why an object is missing, and what a reader should know of those that are there.
    """
    chosen = options or DicomOptions()
    notes: list[str] = []
    segments = result_segments(results)
    if segments:
        notes += _segment_notes(segments, chosen)
        write = partial(save_segments, segments, folder / SEGMENTATION, study, encoding=_encoding(segments, chosen))
        attempted(notes, SEGMENTATION, write)
    for number, (name, result) in enumerate(results.items()):
        for file_name, save in _maps(folder, number, name, result, study):
            attempted(notes, file_name, save)
    return notes


def _maps(
    folder: Path | OutputFolder, number: int, name: str, result: SegmentationResult, study: StudyVolume
) -> Sequence[tuple[str, Callable[[], Path]]]:
    """Functions that write each map, with its file name."""
    writers: list[tuple[str, Callable[[], Path]]] = []
    for quantity in MAP_QUANTITIES:
        values = getattr(result, quantity)
        if values is not None:
            path = folder / map_name(quantity, name)
            save = partial(save_parametric_map, values, path, study, quantity=quantity, structure=name, number=number)
            writers.append((path.name, save))
    return writers


def _algorithm(result: SegmentationResult) -> Algorithm:
    """The model by its name, never by the path of its weights."""
    made = result.provenance
    parameters = {
        "model": Path(made.model).name,
        "weights_sha256": made.weights_sha256,
        "propagation": str(made.propagation),
        "seed": str(made.seed),
        "passes": str(made.samples),
    }
    return Algorithm(f"MedSAM Planner {Path(made.model).name}", parameters)


def _encoding(segments: Sequence[Segment], options: DicomOptions) -> SegmentEncoding:
    fitting = fitting_encoding(segments)
    return options.encoding if options.encoding is not None and fitting is SegmentEncoding.LABELMAP else fitting


def _segment_notes(segments: Sequence[Segment], options: DicomOptions) -> list[str]:
    notes = []
    unknown = [f"'{one.label}'" for one in segments if not structure_codes(one.label).is_known]
    if unknown:
        notes.append(
            f"{SEGMENTATION}: {', '.join(unknown)} is coded as 'Tissue', because the table of codes does not have the "
            "name. $MEDSAM_PLANNER_CODES can name a table that has it."
        )
    if options.encoding is not SegmentEncoding.BINARY and fitting_encoding(segments) is SegmentEncoding.BINARY:
        notes.append(
            f"{SEGMENTATION} is written bit-packed (BINARY), because structures overlap, which a label map cannot "
            "hold; some viewers refuse it."
        )
    return notes
