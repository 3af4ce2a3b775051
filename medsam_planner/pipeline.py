"""From files to files: the session, the planner and the report joined for the command line and the demos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import PromptError
from medsam_planner.io import load_volume
from medsam_planner.mesh import Surface, colour_by, surface_from_probability
from medsam_planner.progress import Progress
from medsam_planner.run_folder import open_run_folder, write_segmentations
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.session import Session
from medsam_planner.volumes import StudyVolume
from prompts import PromptFile, PromptLog, read_prompt_file, validate_file

__all__ = [
    "SegmentationOptions",
    "Segmented",
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
    saliency: bool = True
    triplanar: bool = False
    window: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """A study with its segmented structures."""

    study: StudyVolume
    results: dict[str, SegmentationResult]
    logs: dict[str, PromptLog]
    surfaces: dict[str, Surface]
    """Coloured by uncertainty; structures that came out empty are absent."""


def segment_prompt_file(
    study_path: Path,
    prompts_path: Path,
    out: Path,
    options: SegmentationOptions,
    *,
    series: str | None = None,
    resample_tilt: bool = False,
    modality: str | None = None,
    progress: Progress | None = None,
) -> Segmented:
    """Segment every structure of a prompt file and write the run's folder."""
    prompt_file = read_prompt_file(prompts_path)
    study = load_volume(study_path, series=series, resample_tilt=resample_tilt, modality=modality, progress=progress)
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
            saliency=options.saliency,
            triplanar=options.triplanar,
            progress=progress,
        )
        for log in logs
    }
    return Segmented(study, results, session.logs, surfaces_of(results, progress=progress))


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
    study = load_volume(place, resample_tilt=_straightened(recorded.settings), progress=progress)
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


def _straightened(settings: Mapping[str, object]) -> bool:
    operations = settings.get("operations")
    return isinstance(operations, list) and any("tilt" in str(entry) for entry in operations)
