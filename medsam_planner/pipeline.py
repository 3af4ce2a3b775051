"""From files to files: the session, the planner and the report joined for the command line and the demos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
from numpy.typing import ArrayLike

from medsam_planner.errors import AmbiguousSeriesError, PromptError
from medsam_planner.io import load_volume
from medsam_planner.io.corrections import clip_outliers, correct_bias_field, corrected_again
from medsam_planner.io.intensity import volume_modality
from medsam_planner.mesh import Surface, colour_by, surface_from_probability
from medsam_planner.progress import Progress
from medsam_planner.run_folder import open_run_folder, write_segmentations
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.session import Session
from medsam_planner.volumes import StudyVolume
from prompts import PromptFile, PromptLog, Provenance, read_prompt_file, validate_file

if TYPE_CHECKING:
    from medsam_planner.why_here import WhyHere

__all__ = [
    "ReadingOptions",
    "SegmentationOptions",
    "Segmented",
    "read_study",
    "replay_log",
    "segment_logs",
    "segment_prompt_file",
    "surfaces_of",
]

_MAX_TRIANGLES = 60_000


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """How to segment; recorded with the result."""

    model: str = "compact"
    samples: int = 16
    uncertainty: str = "dropout"
    saliency: bool = True
    triplanar: bool = False
    window: str | None = None
    seed: int = 0


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

    def why_here(self, structure: str, position_lps_mm: ArrayLike, progress: Progress | None = None) -> WhyHere:
        """Why the surface of a structure lies where it does, nearest to a position."""
        triplanar = bool(self.results[structure].provenance["triplanar"])
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


def segment_prompt_file(
    study_path: Path,
    prompts_path: Path,
    out: Path,
    options: SegmentationOptions,
    *,
    reading: ReadingOptions | None = None,
    progress: Progress | None = None,
) -> Segmented:
    """Segment every structure of a prompt file and write the run's folder."""
    prompt_file = read_prompt_file(prompts_path)
    study = read_study(study_path, reading or ReadingOptions(), progress=progress)
    validate_file(prompt_file, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    folder = open_run_folder(out)
    segmented = segment_logs(study, prompt_file.logs, options, progress=progress)
    write_segmentations(folder, segmented.results, segmented.logs, study=study, surfaces=segmented.surfaces)
    return segmented


def segment_logs(
    study: StudyVolume,
    logs: tuple[PromptLog, ...],
    options: SegmentationOptions,
    *,
    progress: Progress | None = None,
) -> Segmented:
    """Segment the structures of some logs on one study."""
    session = Session(study, options.model, seed=options.seed, window=options.window)
    for log in logs:
        session.restore(log)
    results = {
        log.structure: session.segment(
            structure=log.structure,
            samples=options.samples,
            uncertainty=options.uncertainty,
            saliency=options.saliency,
            triplanar=options.triplanar,
            progress=progress,
        )
        for log in logs
    }
    return Segmented(study, results, session.logs, surfaces_of(results, progress=progress), session)


def surfaces_of(results: Mapping[str, SegmentationResult], *, progress: Progress | None = None) -> dict[str, Surface]:
    """Surfaces of the structures that are not empty, coloured by uncertainty where it was computed."""
    surfaces = {}
    for structure, result in results.items():
        if not result.mask.array.any():
            continue
        surface = surface_from_probability(result.probability, max_triangles=_MAX_TRIANGLES, progress=progress)
        if result.boundary_spread_mm is not None:
            surface = colour_by(surface, result.boundary_spread_mm, name="boundary_spread_mm")
        surfaces[structure] = surface
    return surfaces


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
        ("study", recorded.image_sha256, first["image_sha256"]),
        ("weights", recorded.weights_sha256, first["weights_sha256"]),
    ):
        if then is not None and then != now:
            raise PromptError(
                f"Expected the {what} the log was made with (SHA-256 {then[:12]}…), got {now[:12]}…. "
                f"Name the right {what}, or segment the prompts anew with `medsam-planner segment`."
            )
    same = {
        structure: result.provenance["mask_sha256"] == expected.get(structure)
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
