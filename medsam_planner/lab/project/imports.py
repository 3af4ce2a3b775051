"""Bring the masks of a data set into a project, with where they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.io import load_volume
from medsam_planner.io.files import file_sha256
from medsam_planner.lab.project.data_sets import DataSetCase, read_data_set
from medsam_planner.lab.project.formats import Format
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.progress import Progress, track
from medsam_planner.volumes import volume_like

__all__ = ["Imported", "import_masks"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What :func:`import_masks` has recorded."""

    masks: int
    added: tuple[str, ...]
    """Studies that were not in the project."""
    notes: tuple[str, ...]


def import_masks(
    project: Project, folder: Path, format_: Format, *, who: str, progress: Progress | None = None
) -> Imported:
    """Record the masks of a data set; all are read and compared with their studies before any is recorded.

    A case belongs to the study of its name. Where there is none, the data set's own image becomes one, of a patient of
    its own. Imported masks are not reviewed: somebody here has to.

    Parameters
    ----------
    project : Project
    folder : Path
    format_ : Format
    who : str
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If it is no such data set, no structure of it has a name of the project's, a case has neither a study nor one
        image, its study is excluded or reviewed, or `who` may not change the project.
    GeometryError
        If labels are not on the voxels of their study.
    """
    project.require_annotator(who)
    cases = read_data_set(folder, format_)
    notes = _structure_notes(project, cases)
    known = {one.name: one for one in project.studies()}
    missing = [one.name for one in cases if one.name not in known and one.image is None]
    if missing:
        raise ConfigError(
            f"Expected a study of the project for each case, {', '.join(missing[:10])} have none and bring no single "
            "image. Add their images under these names first: `medsam-planner project add`."
        )
    for case in track(cases, "comparing with the studies", progress):
        if case.name in known:
            if known[case.name].state in (State.EXCLUDED, State.REVIEWED):
                raise ConfigError(f"{case.name} is {known[case.name].state.value} already. Reopen it first.")
            case.read(project.image(known[case.name]))
        elif case.image is not None:
            case.read(load_volume(case.image, modality=case.modality))
    added, count = [], 0
    for case in track(cases, "recording", progress):
        if case.name not in known:
            assert case.image is not None
            project.add(case.image, who=who, name=case.name, modality=case.modality)
            added.append(case.name)
        recorded, own = _record(project, case, folder, format_, who)
        count += recorded
        notes += own
    return Imported(count, tuple(added), tuple(dict.fromkeys(notes)))


def _record(project: Project, case: DataSetCase, folder: Path, format_: Format, who: str) -> tuple[int, list[str]]:
    study, place = project.study(case.name), folder / case.place
    image, count, notes = project.image(study), 0, []
    source = {"format": format_.value, "data_set": folder.resolve().name, "file": case.place}
    if place.is_file():
        source["sha256"] = file_sha256(place)
    for structure, mask in case.read(image).items():
        if structure not in project.settings.names:
            continue
        if not mask.any():
            notes.append(f"{case.name} has no voxel of {structure}, so nothing was recorded of it.")
            continue
        project.record(case.name, structure, volume_like(image, np.asarray(mask)), who=who, source=source)
        count += 1
    return count, notes


def _structure_notes(project: Project, cases: Iterable[DataSetCase]) -> list[str]:
    names = project.settings.names
    given = sorted({structure for case in cases for structure in case.structures})
    if not set(given) & set(names):
        raise ConfigError(
            f"Expected structures of the project ({', '.join(names)}) in the data set, got "
            f"{', '.join(given) or 'none'}. Rename them in one of the two."
        )
    left = [f"‘{name}’" for name in given if name not in names]
    return [f"Left out, for the project has no such structure: {', '.join(left)}."] if left else []
