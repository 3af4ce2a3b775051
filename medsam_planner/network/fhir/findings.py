"""Observation of the clearance of each tool's best path, coded as in the structured report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from medsam_planner.io.objects.identity import MANUFACTURER
from medsam_planner.io.objects.plan_sr import NUMBERS, TEXTS, PlanNumber, path_uid
from medsam_planner.network.fhir.codings import DICOM_UID, concept, oid, quantity
from medsam_planner.network.fhir.imaging import study_date
from medsam_planner.network.fhir.resources import Entry, Subject, identifier
from medsam_planner.network.fhir.run_objects import RunObjects

__all__ = ["observations"]

_VALUE = "certified_clearance_mm"
_IMAGING = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]}


def observations(run: RunObjects, subject: Subject, study: Mapping[str, str]) -> Iterator[Entry]:
    """One for each tool that has a path.

    Parameters
    ----------
    run : RunObjects
    subject : Subject
    study : mapping
        Reference to the ImagingStudy.
    """
    if run.plan is None or run.plan_sha256 is None:
        return
    note = f"{run.plan['notice']} {run.plan['margins_statement']}"
    for tool in run.plan["tools"]:
        if not tool["alternatives"]:
            continue
        best = tool["alternatives"][0]
        clearance = NUMBERS[_VALUE]
        made: dict[str, Any] = {
            "resourceType": "Observation",
            "identifier": [identifier(DICOM_UID, oid(path_uid(run.plan_sha256, tool["name"], 1)))],
            "contained": [_software()],
            "status": "preliminary",
            "category": [_IMAGING],
            "code": concept(clearance.name, text=f"Certified clearance of {tool['name']}, path 1"),
            "method": concept(*([clearance.method] if clearance.method else [])),
            "subject": subject.reference,
            "valueQuantity": quantity(float(best[_VALUE]), clearance.unit),
            "device": {"reference": "#software"},
            "derivedFrom": [study],
            "note": [{"text": note}],
            "component": list(_components(best)),
        }
        if not run.is_deidentified and (date := study_date(run)):
            made["effectiveDateTime"] = date
        yield Entry(made)


def _components(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, what in NUMBERS.items():
        if key != _VALUE and line.get(key) is not None:
            yield {"code": _named(what), "valueQuantity": quantity(float(line[key]), what.unit)}
    for key, name in TEXTS.items():
        if line.get(key):
            yield {"code": concept(name), "valueString": str(line[key])}


def _named(what: PlanNumber) -> dict[str, Any]:
    """A component has no method: the method's private code stands before the quantity's."""
    return concept(*([what.method] if what.method else []), what.name)


def _software() -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": "software",
        "manufacturer": MANUFACTURER,
        "version": [{"value": version("medsam-planner")}],
    }
