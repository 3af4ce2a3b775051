"""Segment the structures of a prompt file, and write each as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from medsam_planner.engine.registry import require_weights
from medsam_planner.errors import PromptError
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.mesh import Surface, colour_by, surface_from_probability
from medsam_planner.planning.evidence import StructureEvidence
from medsam_planner.progress import Progress
from medsam_planner.propagation.limits import check_samples, check_seed
from medsam_planner.propagation.sources import source_named
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.run_folder import write_objects, write_records, write_structure
from medsam_planner.workflow.study_reading import ReadingOptions, read_study
from prompts import Box, PromptFile, PromptLog, read_prompt_file, validate_file

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = [
    "SegmentationOptions",
    "Segmented",
    "check_options",
    "prompted_logs",
    "segment_into",
    "segment_logs",
    "segment_prompt_file",
    "surfaces_of",
    "write_segmented_objects",
]

_MAX_TRIANGLES = 60_000


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """How to segment; recorded with the result.

    Raises
    ------
    PromptError
        If the runs are too few or too many, or the seed is none that every generator takes.
    """

    model: str = "compact"
    samples: int = 16
    uncertainty: str = "dropout"
    saliency: bool = False
    triplanar: bool = False
    window: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_samples(self.samples)
        check_seed(self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """A study with its segmented structures."""

    study: StudyVolume
    results: dict[str, SegmentationResult]
    logs: dict[str, PromptLog]
    surfaces: dict[str, Surface]
    """Coloured by uncertainty; structures that came out empty are absent."""
    session: Session
    """That segmented them, and can explain what it did."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    def evidence(self) -> dict[str, StructureEvidence]:
        """What is known of each structure, for a plan."""
        return {name: StructureEvidence.of_result(result, self.logs[name]) for name, result in self.results.items()}

    def why_here(self, structure: str, position_lps_mm: ArrayLike, progress: Progress | None = None) -> WhyHere:
        """Why the surface of a structure lies where it does, nearest to a position."""
        triplanar = bool(self.results[structure].provenance["triplanar"])
        return self.session.why_here(position_lps_mm, structure=structure, triplanar=triplanar, progress=progress)


def check_options(options: SegmentationOptions) -> None:
    """Find what is wrong with the options before anything is read.

    Raises
    ------
    PromptError
        If the runs differ in nothing that is known.
    WeightsError
        If the weights are unknown, absent or damaged.
    """
    source_named(options.uncertainty)
    require_weights(options.model)


def prompted_logs(prompt_file: PromptFile, path: Path) -> tuple[tuple[PromptLog, ...], tuple[str, ...]]:
    """The structures of a prompt file that can be segmented, and a note on each that was only begun.

    Raises
    ------
    PromptError
        If none has a prompt, or the prompts of one never say where it is.
    """
    asked = tuple(log for log in prompt_file.logs if log.prompts)
    begun = [log.structure for log in prompt_file.logs if not log.prompts]
    if not asked:
        raise PromptError(
            f"{path}: expected a prompt, got none that stands (structures: {', '.join(begun)}). "
            "Draw a box on the middle slice of a structure."
        )
    for log in asked:
        if not any(isinstance(prompt, Box) or prompt.positive for prompt in log.prompts):
            raise PromptError(
                f"{path}: {log.structure!r}: expected a box, a positive click or scribble that says where the "
                f"structure is, got {len(log.prompts)} prompts without one."
            )
    return asked, tuple(f"'{name}' has no prompts in {path.name} and was left out." for name in begun)


def segment_prompt_file(
    study_path: Path,
    prompts_path: Path,
    out: OutputFolder,
    options: SegmentationOptions,
    *,
    reading: ReadingOptions | None = None,
    check: Callable[[StudyVolume], None] | None = None,
    progress: Progress | None = None,
) -> Segmented:
    """Segment every structure of a prompt file that has prompts, and write masks, maps and the log of each.

    Parameters
    ----------
    study_path, prompts_path : Path
    out : OutputFolder
    options : SegmentationOptions
    reading : ReadingOptions, optional
    check : callable, optional
        Given the study before anything is computed on it.
    progress : Progress, optional

    Returns
    -------
    Segmented
        Its DICOM objects and meshes are not written yet: :func:`write_segmented_objects`.
    """
    check_options(options)
    prompt_file = read_prompt_file(prompts_path)
    logs, notes = prompted_logs(prompt_file, prompts_path)
    study = read_study(study_path, reading or ReadingOptions(), progress=progress)
    validate_file(prompt_file, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    if check is not None:
        check(study)
    return segment_into(out, study, logs, options, notes=notes, progress=progress)


def segment_into(
    out: OutputFolder | Path,
    study: StudyVolume,
    logs: Sequence[PromptLog],
    options: SegmentationOptions,
    *,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Segmented:
    """Segment some logs, and write each structure and the log as soon as they are there."""
    names = [log.structure for log in logs]
    done: dict[str, SegmentationResult] = {}

    def keep(result: SegmentationResult) -> None:
        done[result.structure] = result
        write_structure(out, result, names)
        write_records(out, done, {log.structure: log for log in logs}, study=study, notes=notes)

    return segment_logs(study, logs, options, each=keep, notes=notes, progress=progress)


def write_segmented_objects(out: OutputFolder | Path, segmented: Segmented) -> tuple[str, ...]:
    """Write DICOM objects and meshes, and add to ``result.json`` why some are missing.

    Returns
    -------
    tuple of str
        All notes on the results.
    """
    study, results = segmented.study, segmented.results
    notes = (*segmented.notes, *write_objects(out, results, study=study, surfaces=segmented.surfaces))
    if notes:
        write_records(out, results, segmented.logs, study=study, notes=notes)
    return notes


def segment_logs(
    study: StudyVolume,
    logs: Sequence[PromptLog],
    options: SegmentationOptions,
    *,
    each: Callable[[SegmentationResult], None] | None = None,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Segmented:
    """Segment the structures of some logs on one study; `each` is given every result as soon as it is there."""
    session = Session(study, options.model, seed=options.seed, window=options.window)
    for log in logs:
        session.restore(log)
    results: dict[str, SegmentationResult] = {}
    for log in logs:
        results[log.structure] = session.segment(
            structure=log.structure,
            samples=options.samples,
            uncertainty=options.uncertainty,
            saliency=options.saliency,
            triplanar=options.triplanar,
            progress=progress,
        )
        if each is not None:
            each(results[log.structure])
    found = list(notes)
    surfaces = surfaces_of(results, notes=found, progress=progress)
    return Segmented(study, results, session.logs, surfaces, session, tuple(found))


def surfaces_of(
    results: Mapping[str, SegmentationResult], *, notes: list[str] | None = None, progress: Progress | None = None
) -> dict[str, Surface]:
    """Surfaces of the structures that are not empty, coloured by uncertainty where it was computed.

    A surface that cannot be made is left out; `notes` gets the reason.
    """
    surfaces = {}
    for structure, result in results.items():
        if result.mask.array.any():
            made = attempted(
                [] if notes is None else notes, f"The surface of '{structure}'", partial(_surface, result, progress)
            )
            if made is not None:
                surfaces[structure] = made
    return surfaces


def _surface(result: SegmentationResult, progress: Progress | None) -> Surface:
    surface = surface_from_probability(result.probability, max_triangles=_MAX_TRIANGLES, progress=progress)
    if result.boundary_spread_mm is None:
        return surface
    return colour_by(surface, result.boundary_spread_mm, name="boundary_spread_mm")
