"""Segmentations as DICOM SEG: one object for each study, its segments coded and tracked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medsam_planner.drawing.palette import colour_of
from medsam_planner.errors import ConfigError
from medsam_planner.io.objects.segmentation import Segment, save_segments
from medsam_planner.volumes import StudyVolume, volume_like
from medsam_planner.workflow.training_folders import TrainingCase

__all__ = ["write_dicom_seg"]


def write_dicom_seg(folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str]) -> list[str]:
    """Write ``CASE.dcm`` for each study that was read from DICOM; the others are named in the notes.

    The tracking UID of a segment follows from the study and the structure's name alone, so it stays over versions.

    Parameters
    ----------
    folder : Path
    cases : iterable of TrainingCase
    structures : sequence of str
        Names of the segments, from 1 in their order.

    Returns
    -------
    list of str
        What a reader should know of the segments.

    Raises
    ------
    ConfigError
        If no study was read from DICOM.
    """
    notes, written = [], 0
    for case in cases:
        study = case.image
        if not isinstance(study, StudyVolume) or study.source is None or not study.source.is_referable:
            notes.append(f"{case.name} is left out: its image is no DICOM series to which a DICOM SEG could refer.")
            continue
        segments = [
            Segment(name, volume_like(study, np.asarray(case.masks[name].array, dtype=bool)), colour_of(number))
            for number, name in enumerate(structures)
            if name in case.masks
        ]
        save_segments(segments, folder / f"{case.name}.dcm", study)
        written += 1
        if case.ignored is not None and case.ignored.any():
            notes.append(f"{case.name}: slices that nobody reviewed keep their labels, as DICOM SEG has none for them.")
    if not written:
        raise ConfigError("Expected a reviewed study that was read from DICOM, found none. Export another format.")
    return notes
