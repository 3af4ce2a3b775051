"""What a run's folder holds that FHIR resources are made of: its DICOM objects, the plan, the report as PDF."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

from medsam_planner.errors import StudyError
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.objects.plan_sr import STATEMENTS, document_sha256
from medsam_planner.io.study_files import READ_ERRORS, header_text, quiet_pydicom
from medsam_planner.workflow.plan_objects import PDF, REPORT

__all__ = ["RunObjects", "read_run_objects"]

_DIGEST = STATEMENTS["plan_sha256"]


@dataclass(frozen=True, slots=True, eq=False)
class RunObjects:
    """The objects of one run, all of one study."""

    headers: tuple[Dataset, ...]
    """Of each DICOM object, without its pixels and without an encapsulated document."""
    plan: Mapping[str, Any] | None
    """What ``plan.json`` holds; None where the run planned nothing."""
    plan_sha256: str | None
    """Of the plan, where it also lies as a structured report with the same values."""
    pdf: bytes | None
    pdf_header: Dataset | None

    @property
    def any_header(self) -> Dataset:
        """Patient and study are the same in all."""
        return self.headers[0]

    @property
    def plan_uid(self) -> str:
        """A UID for the plan where its report is no DICOM object."""
        return str(content_uid("plan", document_sha256(self.plan or {})))

    @property
    def is_deidentified(self) -> bool:
        """Whether the objects say that the patient's identity was removed (0012,0062)."""
        return all(str(one.get("PatientIdentityRemoved") or "").strip().upper() == "YES" for one in self.headers)


def read_run_objects(folder: Path) -> RunObjects:
    """Read the objects of a run.

    Parameters
    ----------
    folder : Path
        The results of ``segment``, ``run`` or ``plan`` on a DICOM study.

    Raises
    ------
    StudyError
        If there are none, one cannot be read, they are of several patients or studies, or ``plan.json`` is not the plan
        that ``plan.dcm`` was written from.
    """
    headers = [_header(path) for path in sorted(folder.glob("*.dcm"))]
    if not headers:
        raise StudyError(
            f"Expected a run's folder with DICOM objects, {folder} has none: they are written where the study was read "
            "from DICOM files."
        )
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientIdentityRemoved"):
        if len(values := {str(one.get(keyword) or "") for one in headers}) > 1:
            raise StudyError(f"Expected objects of one {keyword} in {folder}, got {len(values)} different ones.")
    plan = _plan(folder / "plan.json")
    if (folder / PDF).is_file():
        document = _header(folder / PDF, with_document=True)
        pdf = bytes(document.get("EncapsulatedDocument") or b"")[: document.get("EncapsulatedDocumentLength")]
        if not pdf.startswith(b"%PDF"):
            raise StudyError(f"Expected a PDF in {folder / PDF}, got another content. Repeat the run.")
    else:
        document, pdf = None, None
    digest = None
    if plan is not None and any(tool["alternatives"] for tool in plan["tools"]) and not (folder / REPORT).is_file():
        raise StudyError(
            f"Expected {folder / REPORT}, which vouches for the paths of plan.json; it is not there. Repeat the run."
        )
    if plan is not None and (folder / REPORT).is_file():
        digest = document_sha256(plan)
        if _stated_digest(_header(folder / REPORT)) != digest:
            raise StudyError(
                f"Expected the plan of {folder / REPORT} in plan.json, which has other values. Repeat the run."
            )
    return RunObjects(tuple(headers), plan, digest, pdf, document)


def _header(path: Path, *, with_document: bool = False) -> Dataset:
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            dataset.decode()
    except (*READ_ERRORS, LookupError) as error:
        raise StudyError(f"{path} cannot be read as DICOM: {error}.") from error
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        if not header_text(dataset, keyword):
            raise StudyError(f"Expected a DICOM object with {keyword} in a run's folder, {path} has none.")
    if "EncapsulatedDocument" in dataset and not with_document:
        del dataset.EncapsulatedDocument
    return dataset


def _plan(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as a plan: {error}.") from error
    try:
        stated = [plan["notice"], plan["margins_statement"], plan["verdict"]["headline"]]
        stated += [tool["name"] for tool in plan["tools"]]
        is_plan = all(isinstance(tool["alternatives"], list) for tool in plan["tools"])
    except (KeyError, TypeError):
        stated, is_plan = [], False
    if not is_plan or not all(isinstance(text, str) for text in stated):
        raise StudyError(f"Expected a plan with tools, verdict and notice in {path}. Repeat the run.")
    whole: Mapping[str, Any] = plan
    return whole


def _stated_digest(report: Dataset) -> str | None:
    for item in report.get("ContentSequence", ()):
        names = item.get("ConceptNameCodeSequence")
        if names and (names[0].CodeValue, names[0].CodingSchemeDesignator) == (
            _DIGEST.value,
            _DIGEST.scheme_designator,
        ):
            return str(item.TextValue)
    return None
