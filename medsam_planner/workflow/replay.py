"""Rebuild the masks of a prompt file and compare them with the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medsam_planner.engine.engine_name import REFERENCE
from medsam_planner.errors import PromptError
from medsam_planner.progress import Progress
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.segment import SegmentationOptions, Segmented, segment_logs
from medsam_planner.workflow.study_reading import read_study_again
from prompts import PromptFile, read_prompt_file, validate_file

__all__ = ["recorded_study", "replay_log", "study_of_log"]


def replay_log(
    log_path: Path, *, study_path: Path | None = None, progress: Progress | None = None
) -> tuple[PromptFile, Segmented, dict[str, bool]]:
    """Rebuild the masks of a prompt file on its study and compare them with the recorded ones.

    Parameters
    ----------
    log_path : Path
        A ``prompts.json`` that a run wrote.
    study_path : Path, optional
        Path of the study now, or of a folder with several series, of which the recorded one is taken; by default the
        recorded place, which counts from the folder of the prompt file.

    Returns
    -------
    PromptFile
        What was read.
    Segmented
        Without stochastic passes and saliency, which do not change the mask.
    structure to bool
        Whether the mask has exactly the recorded bytes.

    Raises
    ------
    PromptError
        If the prompt file was not written by a run, or the study or the weights are not the recorded ones.
    """
    prompt_file = read_prompt_file(log_path)
    recorded = prompt_file.provenance
    expected = recorded.settings.get("mask_sha256")
    if not isinstance(expected, Mapping) or recorded.model is None:
        raise PromptError(
            f"Expected a prompt file written by a run (it records the model and the masks), got {log_path} without "
            "them. A prompt file written by hand is segmented with `medsam-planner segment`."
        )
    study = study_of_log(prompt_file, log_path, study_path, progress)
    validate_file(prompt_file, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    options = SegmentationOptions(
        model=recorded.model,
        engine=str(recorded.settings.get("engine", REFERENCE)),
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
                f"Expected the {what} recorded in the prompt file (SHA-256 {then[:12]}…), got {now[:12]}…. "
                f"Name the right {what}, or segment the prompts anew with `medsam-planner segment`."
            )
    same = {
        structure: result.provenance.mask_sha256 == expected.get(structure)
        for structure, result in session_results.results.items()
    }
    return prompt_file, session_results, same


def study_of_log(
    prompt_file: PromptFile, log_path: Path, study_path: Path | None, progress: Progress | None
) -> StudyVolume:
    """The study of a prompt file that a run wrote, read as it was then; parameters as :func:`replay_log`.

    Raises
    ------
    PromptError
        If nobody says where it lies, or it is not there.
    """
    place = study_path or recorded_study(prompt_file, log_path)
    if place is None:
        raise PromptError(f"{log_path} does not say where its study lies. Name its place with --study.")
    if not place.exists():
        raise PromptError(f"The study of {log_path} is no longer at {place}. Name its place with --study.")
    return read_study_again(place, prompt_file.provenance, progress)


def recorded_study(prompt_file: PromptFile, log_path: Path) -> Path | None:
    """Where a prompt file says that its study lies, counted from its own folder; None where it does not say."""
    stated = None if prompt_file.provenance is None else prompt_file.provenance.settings.get("study")
    return log_path.parent / str(stated) if stated else None
