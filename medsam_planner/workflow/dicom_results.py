"""DICOM objects of a run, beside its NIfTI files: one Segmentation of all structures, one Parametric Map for each map.

One that fails is a note.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from medsam_planner.drawing.palette import colour_of
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.objects.encapsulated import save_encapsulated_stl
from medsam_planner.io.objects.parametric_map import MAP_QUANTITIES, save_parametric_map
from medsam_planner.io.objects.segmentation import Algorithm, Segment, SegmentEncoding, fitting_encoding, save_segments
from medsam_planner.io.objects.structure_codes import StructureCodes, structure_codes
from medsam_planner.io.objects.structure_set import save_structure_set
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume

__all__ = [
    "SEGMENTATION",
    "OutputOptions",
    "StructureLook",
    "dicom_names",
    "map_name",
    "mesh_name",
    "result_segments",
    "write_dicom_meshes",
    "write_dicom_results",
    "write_segmentation",
]

SEGMENTATION, CONTOURS = "seg.dcm", "rtstruct.dcm"
_BY_HAND = "Edited by hand: not covered by a margin's guarantee"


@dataclass(frozen=True, slots=True)
class StructureLook:
    """How a structure is shown and coded, where its place among the others and its name do not say it."""

    colour: str | None = None
    """CSS colour, ``#rrggbb``."""
    anatomy: str | None = None
    """A name of the table of codes."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Choices about the files of a run."""

    encoding: SegmentEncoding | None = None
    """Of the Segmentation; None takes a label map unless structures overlap."""
    has_contours: bool = False
    """Whether to write an RT Structure Set too."""
    with_paths: bool = False
    """Whether ``prompts.json`` and ``plan.json`` may state where inputs lie; see :mod:`.recorded_paths`."""
    looks: Mapping[str, StructureLook] = field(default_factory=dict)
    """By structure; those that are absent go by their place and name."""

    def codes(self, structure: str) -> StructureCodes:
        """Codes of a structure: those of the anatomy that was chosen, else of its name."""
        look = self.looks.get(structure)
        return structure_codes(structure if look is None or look.anatomy is None else look.anatomy)

    def colour(self, structure: str, number: int) -> str:
        """Colour of a structure that comes as the given one, from 0."""
        look = self.looks.get(structure)
        return colour_of(number) if look is None or look.colour is None else look.colour


def map_name(quantity: str, structure: str) -> str:
    """File name of a map of a structure."""
    return f"{quantity}_{structure}.dcm"


def mesh_name(structure: str) -> str:
    """File name of the surface of a structure."""
    return f"mesh_{structure}.stl.dcm"


def dicom_names(structures: Collection[str]) -> list[str]:
    """Every DICOM file that segmenting these structures may leave."""
    maps = [map_name(quantity, name) for name in structures for quantity in MAP_QUANTITIES]
    return [SEGMENTATION, CONTOURS, *maps, *(mesh_name(name) for name in structures)]


def result_segments(results: Mapping[str, SegmentationResult], options: OutputOptions | None = None) -> list[Segment]:
    """Segments of the structures that have a voxel, coloured and coded as on the page."""
    chosen = options or OutputOptions()
    return [
        Segment(
            name,
            result.mask,
            chosen.colour(name, number),
            _algorithm(result),
            chosen.codes(name),
            remark=_BY_HAND if result.by_hand else "",
        )
        for number, (name, result) in enumerate(results.items())
        if result.mask.array.any()
    ]


def write_dicom_results(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    study: StudyVolume,
    options: OutputOptions | None = None,
) -> list[str]:
    """Write the objects of a study that was read from DICOM.

    Returns
    -------
    list of str
        Why an object is missing, and what a reader should know of those that are there.
    """
    chosen = options or OutputOptions()
    notes = write_segmentation(folder, results, study, chosen)
    for number, (name, result) in enumerate(results.items()):
        for file_name, save in _maps(folder, number, name, result, study, chosen.codes(name)):
            attempted(notes, file_name, save)
    return notes


def write_segmentation(
    folder: Path | OutputFolder,
    results: Mapping[str, SegmentationResult],
    study: StudyVolume,
    options: OutputOptions | None = None,
) -> list[str]:
    """Write the Segmentation of all structures, and on request the RT Structure Set; as :func:`write_dicom_results`."""
    chosen = options or OutputOptions()
    notes: list[str] = []
    segments = result_segments(results, chosen)
    if segments:
        encoding = _encoding(segments, chosen)
        notes += _segment_notes(segments, encoding, chosen)
        write = partial(save_segments, segments, folder / SEGMENTATION, study, encoding=encoding)
        attempted(notes, SEGMENTATION, write)
        if chosen.has_contours:
            attempted(notes, CONTOURS, partial(save_structure_set, segments, folder / CONTOURS, study))
    return notes


def write_dicom_meshes(folder: Path | OutputFolder, structures: Sequence[str], study: StudyVolume) -> list[str]:
    """Write the surfaces that lie in the folder as STL once more, inside DICOM.

    Returns
    -------
    list of str
        Why one is missing.
    """
    notes: list[str] = []
    for number, name in enumerate(structures):
        mesh = folder / f"meshes/{name}.stl"
        if mesh.is_file():
            path = folder / mesh_name(name)
            attempted(notes, path.name, partial(_save_mesh, mesh, path, study, name, number))
    return notes


def _save_mesh(mesh: Path, path: Path, study: StudyVolume, structure: str, number: int) -> Path:
    return save_encapsulated_stl(mesh.read_bytes(), path, study, structure=structure, number=number)


def _maps(
    folder: Path | OutputFolder,
    number: int,
    name: str,
    result: SegmentationResult,
    study: StudyVolume,
    codes: StructureCodes,
) -> Sequence[tuple[str, Callable[[], Path]]]:
    """Functions that write each map, with its file name."""
    writers: list[tuple[str, Callable[[], Path]]] = []
    for quantity in MAP_QUANTITIES:
        values = getattr(result, quantity)
        if values is not None:
            path = folder / map_name(quantity, name)
            about = partial(save_parametric_map, structure=name, number=number, coded_as=codes)
            save = partial(about, values, path, study, quantity=quantity)
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


def _encoding(segments: Sequence[Segment], options: OutputOptions) -> SegmentEncoding:
    fitting = fitting_encoding(segments)
    return options.encoding if options.encoding is not None and fitting is SegmentEncoding.LABELMAP else fitting


def _segment_notes(segments: Sequence[Segment], encoding: SegmentEncoding, options: OutputOptions) -> list[str]:
    notes = []
    unknown = [f"'{one.label}'" for one in segments if not options.codes(one.label).is_known]
    if unknown:
        notes.append(
            f"{SEGMENTATION}: {', '.join(unknown)} is coded as 'Tissue', because the table of codes does not have the "
            "name. Choose its anatomy on the page, or name a table that has it in $MEDSAM_PLANNER_CODES."
        )
    if encoding is SegmentEncoding.BINARY and options.encoding is not SegmentEncoding.BINARY:
        notes.append(
            f"{SEGMENTATION} is written bit-packed (BINARY), because structures overlap, which a label map cannot "
            "hold; some viewers refuse it."
        )
    return notes
