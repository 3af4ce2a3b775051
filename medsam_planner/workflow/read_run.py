"""Read the results of a run folder back: masks, maps, prompts and how they were made, on their study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.io.loading import load_map
from medsam_planner.progress import Progress
from medsam_planner.provenance import PropagationTrace, SegmentationProvenance
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume, array_sha256, volume_like, volume_sha256
from medsam_planner.workflow.replay import study_of_log
from medsam_planner.workflow.run_folder import MAPS, PROMPTS, RESULT, structure_place
from prompts import PromptLog, read_prompt_file

__all__ = ["Run", "read_run"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a run folder holds."""

    study: StudyVolume
    results: Mapping[str, SegmentationResult]
    """By structure; without the masks of single passes, which no run keeps."""
    logs: Mapping[str, PromptLog]


def read_run(folder: Path, *, study_path: Path | None = None, progress: Progress | None = None) -> Run:
    """Read a folder that ``segment``, ``run`` or an export of results has written.

    Parameters
    ----------
    folder : Path
    study_path : Path, optional
        The study, where the folder does not say or it has moved.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If it is no such folder, or a mask or the study is another one than recorded.
    PromptError, StudyError
        If the prompt file or the study cannot be read, or nobody says where the study lies.
    """
    if not (folder / RESULT).is_file():
        raise ConfigError(f"Expected the folder of a run, with {RESULT}, {PROMPTS} and its masks; {folder} is none.")
    prompt_file = read_prompt_file(folder / PROMPTS)
    logs = {log.structure: log for log in prompt_file.logs}
    study = study_of_log(prompt_file, folder / PROMPTS, study_path, progress)
    try:
        entries = json.loads((folder / RESULT).read_text(encoding="utf-8"))["structures"]
        results = {
            name: _result(structure_place(folder, name, entries), name, entry, study) for name, entry in entries.items()
        }
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / RESULT} cannot be read ({error}). Segment the prompts anew.") from error
    digest = volume_sha256(study)
    if any(one.provenance.image_sha256 != digest for one in results.values()):
        raise ConfigError("Expected the study that the run was made on, got another one. Name it with --study.")
    if results.keys() != logs.keys():
        raise ConfigError(
            f"Expected one list of structures, got {list(results)} in {RESULT} and {list(logs)} in {PROMPTS}."
        )
    return Run(study, {name: replace(one, log=logs[name]) for name, one in results.items()}, logs)


def _result(place: Path, name: str, entry: Mapping[str, Any], study: StudyVolume) -> SegmentationResult:
    made = SegmentationProvenance.from_json(entry["provenance"])
    mask = volume_like(study, np.asarray(_volume(place / "mask.nii.gz", study).array) > 0)
    if array_sha256(mask.array) != made.mask_sha256:
        raise ConfigError(f"The mask of {name!r} is not the one that was recorded: it was changed since. Segment anew.")
    maps: dict[str, Any] = {one: _volume(path, study) for one in MAPS if (path := place / f"{one}.nii.gz").is_file()}
    return SegmentationResult(
        structure=name,
        mask=mask,
        trace=PropagationTrace.from_rows(int(entry["axis"]), entry["trace"]),
        provenance=made,
        faithfulness=dict(entry["faithfulness"]),
        **maps,
    )


def _volume(path: Path, study: StudyVolume) -> highdicom.Volume:
    read = load_map(path)
    if read.spatial_shape != study.spatial_shape:
        raise ConfigError(f"Expected {path.name} on the grid of the study, got {read.spatial_shape}.")
    return volume_like(study, read.array)
