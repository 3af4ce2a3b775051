"""From files to files: the session, the planner and the report joined for the command line and the demos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
from numpy.typing import ArrayLike

from medsam_planner.engine.registry import require_weights
from medsam_planner.errors import AmbiguousSeriesError, PromptError
from medsam_planner.io import load_volume
from medsam_planner.io.corrections import clip_outliers, correct_bias_field, corrected_again
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.intensity import volume_modality
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
from prompts import Box, PromptFile, PromptLog, Provenance, read_prompt_file, validate_file

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = [
    "ReadingOptions",
    "SegmentationOptions",
    "Segmented",
    "check_options",
    "prompted_logs",
    "read_study",
    "replay_log",
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


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read a study; what it changes is recorded among the study's operations."""

    series: str | None = None
    resample_tilt: bool = False
    modality: str | None = None
    clip_outliers: bool = False
    """Clip metal, padding and spikes to what tissue has."""
    correct_bias_field: bool = False
    """N4, for MR; after the clipping."""


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
        triplanar = self.results[structure].provenance.triplanar
        return self.session.why_here(position_lps_mm, structure=structure, triplanar=triplanar, progress=progress)


def read_study(path: Path, reading: ReadingOptions, *, progress: Progress | None = None) -> StudyVolume:
    """Read a study and correct its intensities as asked.

    Raises
    ------
    StudyError
        If it is not one regular scalar volume, or a correction does not fit its modality.
    """
    study: highdicom.Volume = load_volume(
        path,
        series=reading.series,
        resample_tilt=reading.resample_tilt,
        modality=reading.modality,
        progress=progress,
    )
    if reading.clip_outliers:
        # N4 takes a logarithm; an MR has no values below 0 but the ringing of an interpolation.
        is_mr = volume_modality(study) == "MR" and reading.correct_bias_field
        study = clip_outliers(study, low=0.0 if is_mr else None)
    if reading.correct_bias_field:
        study = correct_bias_field(study, progress=progress)
    return _as_study(study)


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


def replay_log(
    log_path: Path, *, study_path: Path | None = None, progress: Progress | None = None
) -> tuple[PromptFile, Segmented, dict[str, bool]]:
    """Rebuild the masks of a log on its study.

    Parameters
    ----------
    log_path : Path
        A ``prompts.json`` that a run wrote.
    study_path : Path, optional
        Where the study lies now; by default where it lay then.

    Returns
    -------
    PromptFile
        What was read.
    Segmented
        Without stochastic runs and saliency: they do not change the mask.
    structure to bool
        Whether the mask has the very bytes that were recorded.

    Raises
    ------
    PromptError
        If the log was not written by a run, or the study or the weights are not the recorded ones.
    """
    prompt_file = read_prompt_file(log_path)
    recorded = prompt_file.provenance
    expected = recorded.settings.get("mask_sha256")
    place = study_path or (Path(str(recorded.settings["study"])) if recorded.settings.get("study") else None)
    if not isinstance(expected, Mapping) or recorded.model is None:
        raise PromptError(
            f"Expected a log written by a run (it records the model and the masks), got {log_path} without them. "
            "A prompt file written by hand is segmented with `medsam-planner segment`."
        )
    if place is None:
        raise PromptError(f"{log_path} does not say where its study lies: name it with --study.")
    study = _read_again(place, recorded, progress)
    validate_file(prompt_file, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    options = SegmentationOptions(
        model=recorded.model,
        samples=0,
        saliency=False,
        triplanar=bool(recorded.settings.get("triplanar", False)),
        window=recorded.window,
        seed=recorded.seed or 0,
    )
    session_results = segment_logs(study, prompt_file.logs, options, progress=progress)
    first = next(iter(session_results.results.values())).provenance
    for what, then, now in (
        ("study", recorded.image_sha256, first.image_sha256),
        ("weights", recorded.weights_sha256, first.weights_sha256),
    ):
        if then is not None and then != now:
            raise PromptError(
                f"Expected the {what} the log was made with (SHA-256 {then[:12]}…), got {now[:12]}…. "
                f"Name the right {what}, or segment the prompts anew with `medsam-planner segment`."
            )
    same = {
        structure: result.provenance.mask_sha256 == expected.get(structure)
        for structure, result in session_results.results.items()
    }
    return prompt_file, session_results, same


def _read_again(place: Path, recorded: Provenance, progress: Progress | None) -> StudyVolume:
    """The study as it was read then: the same series, straightened and corrected in the same way."""
    stated = recorded.settings.get("operations")
    operations = [one for one in stated if isinstance(one, Mapping)] if isinstance(stated, list) else []
    options: dict[str, Any] = {
        "resample_tilt": any("tilt" in str(one.get("name")) for one in operations),
        "modality": recorded.modality if recorded.modality in ("CT", "MR") else None,
        "progress": progress,
    }
    try:
        study = load_volume(place, **options)
    except AmbiguousSeriesError:
        series = recorded.settings.get("series")
        if series is None:
            raise
        study = load_volume(place, series=str(series), **options)
    return _as_study(corrected_again(study, operations, progress=progress))


def _as_study(volume: highdicom.Volume) -> StudyVolume:
    return volume if isinstance(volume, StudyVolume) else StudyVolume.from_volume(volume, None)
