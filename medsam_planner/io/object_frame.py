"""Whether a DICOM object that holds a mask lies in the coordinates of a study."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from medsam_planner.errors import StudyError
from medsam_planner.volumes import StudyVolume

__all__ = ["require_same_frame"]


def require_same_frame(uid: str, series: Set[str], study: StudyVolume, path: Path) -> tuple[str, ...]:
    """Refuse an object of another frame of reference; a note if none is stated and the coordinates have to be trusted.

    Parameters
    ----------
    uid : str
        Frame of reference of the object; empty if it states none.
    series : set of str
        UIDs of the series that it says it was made on.
    study : StudyVolume
        One that states no frame of reference itself takes any object, as it takes any NIfTI mask.
    path : Path
        Of the object, for messages.

    Raises
    ------
    StudyError
        If the frame is another one, or none is stated and the object was made on another series.
    """
    if not study.frame_of_reference_uid or uid == study.frame_of_reference_uid:
        return ()
    if uid:
        raise StudyError(
            f"{path} is of another frame of reference than the study, so its place in it is not known. Name the "
            "segmentation of this study, or register the two."
        )
    own = None if study.source is None else study.source.series_instance_uid
    if own in series:
        return ()
    if own and series:
        raise StudyError(
            f"{path} states no frame of reference and was made on another series, so its place in the study is not "
            "known. Name the segmentation of this series, or export it with its frame of reference."
        )
    return (
        "It states no frame of reference and does not refer to the study. It is taken at its coordinates; that they "
        "are the study's was not checked.",
    )
