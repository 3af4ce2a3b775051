"""ImagingSelection (R5): the segments of a run, and the planned paths as lines in the frame of reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from highdicom.sr import CodedConcept
from pydicom import Dataset

from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.objects.concepts import private
from medsam_planner.io.objects.plan_sr import path_uid
from medsam_planner.network.fhir.codings import DICOM_UID, concept, oid
from medsam_planner.network.fhir.resources import Entry, Subject, identifier
from medsam_planner.network.fhir.run_objects import RunObjects

__all__ = ["selections"]


def selections(run: RunObjects, subject: Subject, study: Mapping[str, str]) -> Iterator[Entry]:
    """One for each segment, and one for each tool's best path.

    Parameters
    ----------
    run : RunObjects
    subject : Subject
    study : mapping
        Reference to the ImagingStudy.
    """
    for header in run.headers:
        for segment in header.get("SegmentSequence", ()):
            if segment.SegmentNumber and "TrackingUID" in segment:  # a label map's background has none
                code = segment.SegmentedPropertyTypeCodeSequence[0]
                named = concept(
                    CodedConcept(code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning),
                    text=str(segment.SegmentLabel),
                )
                subset = {"subset": [str(int(segment.SegmentNumber))]}
                # Not the tracking UID, which stays when a segmentation is corrected: each revision has its own.
                uid = content_uid("selection", header.SOPInstanceUID, str(segment.SegmentNumber))
                yield _selection(header, uid, named, subset, subject, study)
    if run.plan is None or run.plan_sha256 is None:
        return
    report = next(one for one in run.headers if one.Modality == "SR")
    for tool in run.plan["tools"]:
        if tool["alternatives"]:
            best = tool["alternatives"][0]
            ends = [float(value) for key in ("entry_lps_mm", "target_lps_mm") for value in best[key]]
            line = {"imageRegion3D": [{"regionType": "polyline", "coordinate": ends}]}
            uid = path_uid(run.plan_sha256, tool["name"], 1)
            named = concept(private("Path"), text=f"{tool['name']}, path 1")
            yield _selection(report, uid, named, line, subject, study)


def _selection(
    header: Dataset,
    uid: str,
    code: Mapping[str, Any],
    what: Mapping[str, Any],
    subject: Subject,
    study: Mapping[str, str],
) -> Entry:
    made = {
        "resourceType": "ImagingSelection",
        "identifier": [identifier(DICOM_UID, oid(uid))],
        "status": "available",
        "subject": subject.reference,
        "code": code,
        "studyUid": str(header.StudyInstanceUID),
        "derivedFrom": [study],
        "seriesUid": str(header.SeriesInstanceUID),
        "frameOfReferenceUid": str(header.get("FrameOfReferenceUID") or ""),
        "instance": [
            {
                "uid": str(header.SOPInstanceUID),
                "sopClass": {"system": "urn:ietf:rfc:3986", "code": oid(header.SOPClassUID)},
                **what,
            }
        ],
    }
    return Entry({key: value for key, value in made.items() if value})
