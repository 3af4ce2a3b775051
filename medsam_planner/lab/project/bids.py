"""Segmentations as BIDS derivatives: one discrete segmentation for each study, and the table of its labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.workflow.label_map import label_map, usual_axes
from medsam_planner.workflow.training_folders import TrainingCase

__all__ = ["write_bids"]

_BIDS_VERSION = "1.10.0"


def write_bids(folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str]) -> list[str]:
    """Write ``sub-001/anat/sub-001_desc-manual_dseg.nii.gz`` and so on; each study is a subject of its own.

    Parameters
    ----------
    folder : Path
    cases : iterable of TrainingCase
    structures : sequence of str
        Names of the labels, from 1 in their order.

    Returns
    -------
    list of str
        What a reader should know of the labels.
    """
    description = {
        "Name": "Segmentations",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "MedSAM Planner", "Description": "Reviewed by people; research use only."}],
    }
    write_json(folder / "dataset_description.json", description)
    rows, notes = ["participant_id\tstudy\tmodality"], []
    for number, case in enumerate(cases, start=1):
        subject = f"sub-{number:03d}"
        labels, own = label_map(case.masks, structures)
        stem = folder / subject / "anat" / f"{subject}_desc-manual_dseg"
        stem.parent.mkdir(parents=True)
        save_nifti(usual_axes(labels), stem.with_name(stem.name + ".nii.gz"))
        notes += own
        rows.append(f"{subject}\t{case.name}\t{case.modality}")
        if case.ignored is not None and case.ignored.any():
            notes.append(f"{case.name}: slices that nobody reviewed keep their labels, as BIDS has none for them.")
    table = ["index\tname", "0\tbackground", *(f"{at}\t{name}" for at, name in enumerate(structures, start=1))]
    write_whole(folder / "desc-manual_dseg.tsv", "\n".join(table) + "\n")
    write_whole(folder / "participants.tsv", "\n".join(rows) + "\n")
    return notes
