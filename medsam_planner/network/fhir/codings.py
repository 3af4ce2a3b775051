"""Codes of DICOM objects as FHIR has them."""

from __future__ import annotations

import uuid
from typing import Any

from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.objects.concepts import SCHEME

__all__ = ["DICOM_UID", "PRIVATE_SYSTEM", "UCUM", "coding", "concept", "full_url", "oid", "quantity"]

DICOM_UID = "urn:dicom:uid"
"""System of identifiers that are DICOM UIDs."""
UCUM = "http://unitsofmeasure.org"
PRIVATE_SYSTEM = f"urn:oid:{content_uid('coding scheme', SCHEME)}"
"""System of this program's private codes."""
_SYSTEM_BY_SCHEME = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "UCUM": UCUM,
    SCHEME: PRIVATE_SYSTEM,
}


def oid(uid: object) -> str:
    """A UID as the value of an identifier."""
    return f"urn:oid:{uid}"


def full_url(*parts: object) -> str:
    """Address of a resource within its bundle; the same parts give the same address."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(str(part) for part in parts))}"


def coding(code: CodedConcept | Code) -> dict[str, str]:
    """A code; a scheme of the user's own table of structures has no address that a system could be."""
    system = _SYSTEM_BY_SCHEME.get(code.scheme_designator)
    return {**({"system": system} if system else {}), "code": code.value, "display": code.meaning}


def concept(*codes: CodedConcept | Code, text: str | None = None) -> dict[str, Any]:
    """A CodeableConcept: the most specific code first."""
    return {"coding": [coding(code) for code in codes], **({"text": text} if text else {})}


def quantity(value: float, unit: CodedConcept | Code) -> dict[str, Any]:
    """A number with its UCUM unit."""
    return {"value": value, "unit": unit.value, "system": UCUM, "code": unit.value}
