"""Studies that come as cases: their meta.json says patient and modality."""

from __future__ import annotations

from pathlib import Path

from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import Study

__all__ = ["add_image"]


def add_image(
    project: Project,
    image: Path,
    *,
    who: str,
    patient: str | None = None,
    modality: str | None = None,
    copied: bool = True,
) -> Study:
    """Add an image, or the image of a case; labels of a case stay behind, because nobody reviewed them here.

    Raises
    ------
    StudyError, ConfigError
        As :meth:`Project.add`.
    """
    if (image / "meta.json").is_file():
        (case,) = find_cases(image)
        return project.add(
            case.image_path,
            who=who,
            patient=patient or case.patient,
            name=case.name,
            copied=copied,
            modality=modality or case.modality,
        )
    return project.add(image, who=who, patient=patient, copied=copied, modality=modality)
