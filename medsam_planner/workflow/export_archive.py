"""One zip of what is chosen of a segmented study: results, label map, DICOM, meshes, prompts, folders to train on."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from medsam_planner.errors import ConfigError, EmptyStructureError, OutputError
from medsam_planner.io.files import whole_file
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.progress import Progress, track
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.dicom_results import OutputOptions, write_segmentation
from medsam_planner.workflow.label_map import write_label_map
from medsam_planner.workflow.plan_objects import is_referable
from medsam_planner.workflow.run_folder import PLAN_NAMES, write_meshes, write_prompts, write_segmentations
from medsam_planner.workflow.segment import surfaces_of
from medsam_planner.workflow.training_folders import TrainingCase, unreviewed, write_decathlon, write_nnunet
from prompts import PromptLog

__all__ = ["MOST_BYTES", "Content", "ExportSource", "write_archive"]

MOST_BYTES = 8 << 30
"""Of the files in one archive."""
_CASE = "case_001"
NNUNET_FOLDER, DECATHLON_FOLDER = "nnunet/Dataset001_MedSAMPlanner", "monai/Task01_MedSAMPlanner"
_PACKED = (".gz", ".glb", ".png")
"""Suffixes of files that do not become smaller."""


class Content(StrEnum):
    """What can be chosen."""

    RESULTS = "results"
    """All that a run on the command line leaves, and the plan."""
    LABEL_MAP = "label-map"
    SEGMENTATION = "dicom-seg"
    MESHES = "meshes"
    PROMPTS = "prompts"
    NNUNET = "nnunet"
    DECATHLON = "monai"


@dataclass(frozen=True, slots=True, eq=False)
class ExportSource:
    """What is exported."""

    study: StudyVolume
    results: Mapping[str, SegmentationResult]
    """By structure, in the order of their labels and colours."""
    logs: Mapping[str, PromptLog]
    """The prompts that each result was made from."""
    plan_folder: Path | None = None
    options: OutputOptions = field(default_factory=OutputOptions)
    """Colours and codes."""
    ignores_unreviewed: bool = False
    """Whether the labels for nnU-Net say ``ignore`` on slices that nobody has looked at."""
    notes: tuple[str, ...] = field(default=())
    """What was left out."""

    @property
    def case(self) -> TrainingCase:
        """For a folder to train on."""
        modality = volume_modality(self.study) or "MR"
        masks = {name: one.mask for name, one in self.results.items()}
        ignored = unreviewed(self.results) if self.ignores_unreviewed else None
        return TrainingCase(_CASE, self.study, modality, masks, ignored)


def write_archive(
    path: Path,
    contents: Collection[Content],
    source: ExportSource,
    *,
    most_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Write the zip; until it is whole there is none, and its files lie beside it meanwhile.

    Parameters
    ----------
    path : Path
        Of the zip; its folder must exist.
    contents : collection of Content
        At least one.
    source : ExportSource
    most_bytes : int
        Of the files together.
    progress : Progress, optional
        Told the contents and the files; may cancel.

    Returns
    -------
    tuple of str
        What a reader should know: what could not be made, and why.

    Raises
    ------
    ConfigError
        If nothing was chosen, or it cannot be written of this study.
    EmptyStructureError
        If there is no result.
    OutputError
        If the files would be too large, or cannot be written.
    """
    if not contents:
        raise ConfigError("Choose at least one thing to export.")
    if not source.results:
        raise EmptyStructureError("Nothing was segmented in 3D yet, so there is nothing to write.")
    notes = list(source.notes)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        _require_room(folder, contents, source, most_bytes)
        for content in track([one for one in Content if one in contents], "writing files", progress):
            notes += _WRITERS[content](folder, source, contents, progress)
            _require_small(folder, most_bytes)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if not files:
            raise OutputError(" ".join(dict.fromkeys(notes)) or "Nothing that was chosen can be written.")
        with whole_file(path) as stream, zipfile.ZipFile(stream, "w") as archive:
            for file in track(files, "packing", progress):
                kind = zipfile.ZIP_STORED if file.suffix in _PACKED else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(folder), kind)
    return tuple(dict.fromkeys(notes))


def _results(folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None) -> list[str]:
    notes: list[str] = []
    surfaces = surfaces_of(source.results, notes=notes, progress=progress)
    notes += write_segmentations(
        open_run_folder(folder),
        source.results,
        source.logs,
        study=source.study,
        surfaces=surfaces,
        options=source.options,
    )
    if source.plan_folder is not None:
        for written in (source.plan_folder / name for name in PLAN_NAMES):
            if written.exists():
                shutil.copyfile(written, folder / written.name)
    return notes


def _label_map(
    folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None
) -> list[str]:
    masks = {name: result.mask for name, result in source.results.items()}
    return write_label_map(folder, masks, [source.options.colour(name, number) for number, name in enumerate(masks)])


def _segmentation(
    folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None
) -> list[str]:
    if Content.RESULTS in contents and is_referable(source.study):
        return []
    if not is_referable(source.study):
        return ["There is no DICOM Segmentation: it needs a study of DICOM files to refer to."]
    return write_segmentation(folder, source.results, source.study, source.options)


def _meshes(folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None) -> list[str]:
    if Content.RESULTS in contents:
        return []
    notes: list[str] = []
    surfaces = surfaces_of(source.results, notes=notes, progress=progress)
    return notes + write_meshes(folder, surfaces, suffixes=("stl", "glb"))


def _prompts(folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None) -> list[str]:
    if Content.RESULTS not in contents:
        write_prompts(folder, source.results, source.logs, study=source.study)
    return []


def _nnunet(folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None) -> list[str]:
    return write_nnunet(folder / NNUNET_FOLDER, [source.case], list(source.results))


def _decathlon(
    folder: Path, source: ExportSource, contents: Collection[Content], progress: Progress | None
) -> list[str]:
    return write_decathlon(folder / DECATHLON_FOLDER, [source.case], list(source.results))


_WRITERS = {
    Content.RESULTS: _results,
    Content.LABEL_MAP: _label_map,
    Content.SEGMENTATION: _segmentation,
    Content.MESHES: _meshes,
    Content.PROMPTS: _prompts,
    Content.NNUNET: _nnunet,
    Content.DECATHLON: _decathlon,
}


def _require_room(folder: Path, contents: Collection[Content], source: ExportSource, most_bytes: int) -> None:
    """Refuse before anything is written what cannot fit: two copies of all files, and images of two bytes a voxel."""
    images = sum(one in contents for one in (Content.NNUNET, Content.DECATHLON))
    needed = images * 2 * source.study.array.size
    if needed > most_bytes:
        raise _too_large(most_bytes)
    if 2 * needed > shutil.disk_usage(folder).free:
        raise OutputError("There is not enough room on the disk of the server for this export. Choose less.")


def _require_small(folder: Path, most_bytes: int) -> None:
    if sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> OutputError:
    return OutputError(f"The files would be larger than {most_bytes / 2**30:.2g} GiB together. Choose less.")
