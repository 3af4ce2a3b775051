"""Segment the structures of a prompt file, and write each as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from medsam_planner.engine.engine_name import AUTO
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.mesh import Surface, colour_by, surface_from_probability
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.progress import Progress
from medsam_planner.segmentation.limits import check_samples, check_seed
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.dicom_results import OutputOptions
from medsam_planner.workflow.run_folder import write_objects, write_records, write_structure
from prompts import PromptLog

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = [
    "SegmentationOptions",
    "Segmented",
    "segment_into",
    "segment_logs",
    "surfaces_of",
    "write_segmented_objects",
]

_MAX_TRIANGLES = 60_000


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """Options of a segmentation, recorded with the result.

    Raises
    ------
    PromptError
        If there are too few or too many stochastic passes, or the seed is out of range.
    """

    model: str = "compact"
    engine: str = AUTO
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
    """The session that segmented them; it can explain its results."""
    notes: tuple[str, ...] = ()
    """Notes on what was left out, and why."""

    def evidence(self) -> dict[str, StructureEvidence]:
        """What is known of each structure, for a plan."""
        return {name: StructureEvidence.of_result(result, self.logs[name]) for name, result in self.results.items()}

    def why_here(self, structure: str, position_lps_mm: ArrayLike, progress: Progress | None = None) -> WhyHere:
        """Why the surface of a structure lies where it does, nearest to a position."""
        triplanar = self.results[structure].provenance.triplanar
        return self.session.why_here(position_lps_mm, structure=structure, triplanar=triplanar, progress=progress)


def segment_into(
    out: OutputFolder | Path,
    study: StudyVolume,
    logs: Sequence[PromptLog],
    options: SegmentationOptions,
    *,
    notes: Sequence[str] = (),
    output: OutputOptions | None = None,
    progress: Progress | None = None,
) -> Segmented:
    """Segment some logs, and write each structure and the log as soon as it is finished."""
    names, chosen = [log.structure for log in logs], output or OutputOptions()
    done: dict[str, SegmentationResult] = {}

    def keep(result: SegmentationResult) -> None:
        done[result.structure] = result
        write_structure(out, result, names)
        by_name = {log.structure: log for log in logs}
        write_records(out, done, by_name, study=study, notes=notes, with_paths=chosen.with_paths)

    return segment_logs(study, logs, options, each=keep, notes=notes, progress=progress)


def write_segmented_objects(
    out: OutputFolder | Path, segmented: Segmented, output: OutputOptions | None = None
) -> tuple[str, ...]:
    """Write DICOM objects and meshes, and add to ``result.json`` why some are missing.

    Returns
    -------
    tuple of str
        All notes on the results.
    """
    study, results, chosen = segmented.study, segmented.results, output or OutputOptions()
    notes = (*segmented.notes, *write_objects(out, results, study=study, surfaces=segmented.surfaces, options=chosen))
    if notes:
        write_records(out, results, segmented.logs, study=study, notes=notes, with_paths=chosen.with_paths)
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
    """Segment the structures of some logs on one study; `each` is called with every result when it is finished."""
    session = Session(study, options.model, seed=options.seed, window=options.window, engine=options.engine)
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
