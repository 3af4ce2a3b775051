"""DICOM objects of a plan: the tool as segments, the structured report, the report as PDF, and a key picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

from medsam_planner.io.fault_log import attempted
from medsam_planner.io.objects.encapsulated import save_encapsulated_pdf
from medsam_planner.io.objects.identity import SeriesNumber
from medsam_planner.io.objects.key_image import save_key_image
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.io.objects.planned_tool import planned_segments
from medsam_planner.io.objects.segmentation import save_segments
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.patient_identity import identity_rows
from medsam_planner.report.key_image import key_picture
from medsam_planner.report.model import PlanReport
from medsam_planner.report.parts import ReportParts
from medsam_planner.report.pdf import render_pdf
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.dicom_results import SEGMENTATION

__all__ = ["PDF", "PLAN_OBJECTS", "REPORT", "is_referable", "write_pictures_and_tool", "write_structured_report"]

TOOL, REPORT, PDF, KEY_IMAGE = "plan_seg.dcm", "plan.dcm", "report.pdf.dcm", "key_image.dcm"
PLAN_OBJECTS = (TOOL, REPORT, PDF, KEY_IMAGE)


def write_pictures_and_tool(
    folder: Path | OutputFolder, document: Mapping[str, Any], report: PlanReport, parts: ReportParts, notes: list[str]
) -> None:
    """Write the tool's segments, the key picture and the PDF; `notes` gets the reason of each that is missing.

    Parameters
    ----------
    folder
    document
        What ``plan.json`` holds.
    report, parts
        What the PDF says and shows.
    notes : list of str
        Changed in place.
    """
    for name in PLAN_OBJECTS:  # objects of an earlier plan do not stay beside one that has none
        (folder / name).unlink(missing_ok=True)
    study = report.study
    if not is_referable(study):
        return
    attempted(notes, TOOL, partial(_save_tool, folder / TOOL, document, study))
    attempted(notes, KEY_IMAGE, lambda: save_key_image(key_picture(report, parts), folder / KEY_IMAGE, study))
    names_patient = bool(identity_rows(study))
    attempted(
        notes,
        PDF,
        lambda: save_encapsulated_pdf(
            render_pdf(report, parts), folder / PDF, study, title=report.title, names_patient=names_patient
        ),
    )


def write_structured_report(
    folder: Path | OutputFolder, document: Mapping[str, Any], study: StudyVolume, notes: list[str]
) -> None:
    """Write ``plan.dcm`` where there is a path; `notes` gets the reason if it is missing.

    It refers to the segments of ``seg.dcm`` and ``plan_seg.dcm`` where they lie in the folder and are of this study.
    """
    has_path = any(tool["alternatives"] for tool in document["tools"])
    if is_referable(study) and study.frame_of_reference_uid and has_path:
        attempted(notes, REPORT, lambda: _save_report(folder, document, study))


def is_referable(study: StudyVolume) -> bool:
    """Whether DICOM objects can refer to the files of a study."""
    source = study.source
    return source is not None and source.format == "dicom" and source.is_referable


def _save_tool(path: Path, document: Mapping[str, Any], study: StudyVolume) -> Path | None:
    segments = planned_segments(document, study)
    if not segments:
        return None
    return save_segments(segments, path, study, title="Planned tool", series_number=SeriesNumber.TOOL)


def _save_report(folder: Path | OutputFolder, document: Mapping[str, Any], study: StudyVolume) -> Path:
    found = [_segmentation(folder / name, study) for name in (SEGMENTATION, TOOL)]
    segmentations = [one for one in found if one is not None]
    return save_plan_sr(document, folder / REPORT, study, segmentations=segmentations)


def _segmentation(path: Path, study: StudyVolume) -> Dataset | None:
    """A Segmentation, if it is there and of this study."""
    if not path.is_file() or study.source is None:
        return None
    found = pydicom.dcmread(path)
    return found if found.StudyInstanceUID == study.source.datasets[0].get("StudyInstanceUID") else None
