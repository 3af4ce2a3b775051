"""A plan as a DICOM Comprehensive 3D SR with the values of ``plan.json``.

The report follows TID 1500. One measurement group for each path, in the order of the JSON file, holds its coordinates
in the study's frame of reference. One group for each segment of the run (a structure, or the tool on its best path)
refers to that segment. It is written from the JSON document itself, and carries the document's SHA-256, so that the
two cannot tell different stories. What the standard has no code for is coded as :mod:`.concepts` lists.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import sr
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from medsam_planner.errors import PlanningError, StudyError
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.objects.concepts import private
from medsam_planner.io.objects.identity import (
    LONGEST_TEXT,
    MANUFACTURER,
    SeriesNumber,
    instance_identity,
    made,
    source_headers,
    with_notice,
    write_object,
)
from medsam_planner.io.objects.segment_references import segment_groups
from medsam_planner.volumes import StudyVolume

__all__ = [
    "NOT_DECIDED",
    "NUMBERS",
    "POINTS",
    "STATEMENTS",
    "TEXTS",
    "PlanNumber",
    "document_sha256",
    "path_uid",
    "save_plan_sr",
]


@dataclass(frozen=True, slots=True)
class PlanNumber:
    """How a number of ``plan.json`` is coded: a quantity of the standard, and which one of its kind it is."""

    name: CodedConcept
    unit: CodedConcept
    method: CodedConcept | None = None
    derivation: CodedConcept | None = None


NUMBERS: dict[str, PlanNumber] = {
    "length_mm": PlanNumber(codes.SCT.Length, codes.UCUM.Millimeter),
    "entry_angle_deg": PlanNumber(CodedConcept("1483009", "SCT", "Angle"), codes.UCUM.Degree),
    "certified_clearance_mm": PlanNumber(codes.DCM.Distance, codes.UCUM.Millimeter, private("Clearance")),
    "hit_probability": PlanNumber(codes.DCM.Probability, codes.UCUM.NoUnits, private("HitProbability")),
    "bone_density_hu": PlanNumber(
        codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit, private("AxisDensity"), codes.SCT.Mean
    ),
    "tool_density_hu": PlanNumber(
        codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit, private("ToolDensity"), codes.SCT.Mean
    ),
}
"""By key in the JSON file."""
POINTS = {
    "entry_lps_mm": private("Entry"),
    "target_lps_mm": private("Target"),
    "limiting_point_lps_mm": private("LimitingPoint"),
}
TEXTS = {"limiting_structure": private("LimitingStruct"), "reason": private("Reason")}
STATEMENTS = {
    "notice": private("Notice"),
    "margins_statement": private("Margins"),
    "plan_sha256": private("PlanSHA256"),
    "decision": private("Decision"),
}
NOT_DECIDED = "Nobody has accepted or rejected this plan."


def document_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of a plan's JSON values, whatever the order of keys and the white space of the file."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save_plan_sr(
    document: Mapping[str, Any],
    path: str | Path,
    study: StudyVolume,
    *,
    segmentations: Sequence[Dataset] = (),
    created: datetime.datetime | None = None,
) -> Path:
    """Write a plan as a structured report of `study`.

    Parameters
    ----------
    document
        What ``plan.json`` holds: ``notice``, ``margins_statement``, and ``alternatives``, or ``tools`` with the
        alternatives of each.
    path : Path
    study : StudyVolume
        Read from DICOM.
    segmentations
        DICOM Segmentations of the same study that the report refers to, without their pixels or with them.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM, or names no frame of reference.
    PlanningError
        If the document holds no path, or no notice or statement on the margins.
    """
    headers = source_headers(study)
    frame = study.frame_of_reference_uid
    if not frame:
        raise StudyError("Expected a study with a frame of reference to write a plan in, got none.")
    digest = document_sha256(document)
    decided = (document.get("decision") or {}).get("text", NOT_DECIDED)
    statements = {**{key: document.get(key) for key in STATEMENTS}, "plan_sha256": digest, "decision": decided}
    absent = [key for key, text in statements.items() if not text]
    if absent:
        raise PlanningError(f"Expected a plan with {' and '.join(absent)}; a plan is not passed on without them.")
    groups: list[Any] = [
        _group(line, name, number, frame, digest)
        for name, lines in _lines_by_tool(document)
        for number, line in enumerate(lines, start=1)
    ]
    if not groups:
        raise PlanningError("Expected a plan with at least one path to write as a structured report, got none.")
    groups += segment_groups(segmentations, document)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=content_uid("device", MANUFACTURER, version("medsam-planner")),
                    manufacturer_name=MANUFACTURER,
                    model_name=MANUFACTURER,
                ),
            )
        ),
        procedure_reported=codes.SCT.ImagingProcedure,  # CID 100
        imaging_measurements=groups,
    )
    for key, text in statements.items():
        report[0].ContentSequence.append(_text(STATEMENTS[key], str(text)))
    structured = made(
        sr.Comprehensive3DSR,
        evidence=[*headers, *segmentations],
        content=report,
        series_description=with_notice("Trajectory plan"),
        is_complete=True,
        **instance_identity(
            study,
            "/".join(["plan", *(str(one.SOPInstanceUID) for one in segmentations)]),
            digest,
            SeriesNumber.PLAN,
            created,
        ),
    )
    return write_object(structured, path)


def path_uid(digest: str, tool: str, number: int) -> UID:
    """Tracking UID of a path, counted from 1, of the plan with that SHA-256."""
    return content_uid("path", digest, tool, str(number))


def _lines_by_tool(document: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    if "tools" in document:
        return [(tool["name"], tool["alternatives"]) for tool in document["tools"]]
    return [("tool", document.get("alternatives", ()))]


def _group(
    line: Mapping[str, Any], tool: str, number: int, frame: str, digest: str
) -> sr.MeasurementsAndQualitativeEvaluations:
    """One path: its measurements, and its coordinates beside them."""
    label = f"{tool}, path {number}"[:LONGEST_TEXT]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=path_uid(digest, tool, number), identifier=label),
        finding_type=private("TrajectoryPlan"),
        algorithm_id=sr.AlgorithmIdentification(name=MANUFACTURER, version=version("medsam-planner")),
        measurements=[
            sr.Measurement(
                name=what.name,
                value=float(line[key]),
                unit=what.unit,
                method=what.method,
                derivation=what.derivation,
            )
            for key, what in NUMBERS.items()
            if line.get(key) is not None
        ],
    )
    items = group[0].ContentSequence
    ends = np.array([line["entry_lps_mm"], line["target_lps_mm"]], dtype=np.float64)
    items.append(_places(private("Path"), "POLYLINE", ends, frame))
    for key, name in POINTS.items():
        if key != "limiting_point_lps_mm" or line.get("limiting_structure"):
            items.append(_places(name, "POINT", np.array([line[key]], dtype=np.float64), frame))
    for key, name in TEXTS.items():
        if line.get(key):
            items.append(_text(name, str(line[key])))
    return group


def _places(name: CodedConcept, kind: str, position_lps_mm: np.ndarray, frame: str) -> sr.Scoord3DContentItem:
    return sr.Scoord3DContentItem(
        name=name,
        graphic_type=kind,
        graphic_data=position_lps_mm,
        frame_of_reference_uid=frame,
        relationship_type="CONTAINS",
    )


def _text(name: CodedConcept, text: str) -> sr.TextContentItem:
    return sr.TextContentItem(name=name, value=text, relationship_type="CONTAINS")
