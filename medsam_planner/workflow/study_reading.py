"""Read a study with the corrections that were asked for, and read it again as a log recorded it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom

from medsam_planner.errors import AmbiguousSeriesError
from medsam_planner.io import load_volume
from medsam_planner.io.corrections import clip_outliers, correct_bias_field, corrected_again
from medsam_planner.io.intensity import volume_modality
from medsam_planner.progress import Progress
from medsam_planner.volumes import StudyVolume
from prompts import Provenance

__all__ = ["PLAIN_READING", "ReadingOptions", "read_study", "read_study_again"]


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read a study; every correction is recorded among the operations of the study."""

    series: str | None = None
    volume: int | None = None
    """Of several in the series."""
    resample_tilt: bool = False
    modality: str | None = None
    clip_outliers: bool = False
    """Clip metal, padding and spikes to the range of tissue."""
    correct_bias_field: bool = False
    """N4, for MR; after the clipping."""


PLAIN_READING = ReadingOptions()
"""The one volume of the one series, as it is."""


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
        volume=reading.volume,
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


def read_study_again(place: Path, recorded: Provenance, progress: Progress | None) -> StudyVolume:
    """Read the study as a log recorded it: the same series, straightened and corrected in the same way."""
    stated = recorded.settings.get("operations")
    operations = [one for one in stated if isinstance(one, Mapping)] if isinstance(stated, list) else []
    options: dict[str, Any] = {
        "resample_tilt": any("tilt" in str(one.get("name")) for one in operations),
        "modality": recorded.modality if recorded.modality in ("CT", "MR") else None,
        "volume": recorded.settings.get("volume"),
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
