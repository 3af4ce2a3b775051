"""Reads a plan's structured report with highdicom and pydicom, as another program would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom import sr
from pydicom.uid import Comprehensive3DSRStorage

from medsam_planner.io.objects.concepts import SCHEME
from medsam_planner.io.objects.plan_sr import NUMBERS, POINTS, STATEMENTS, TEXTS


def read_plan_sr(path: str | Path) -> dict[str, Any]:
    """``notice``, ``margins_statement``, ``plan_sha256``, ``frame_of_reference_uid``, and ``paths``: one mapping for
    each, with ``tool`` and the keys of the JSON file."""
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == Comprehensive3DSRStorage
    report: Any = sr.Comprehensive3DSR.from_dataset(dataset).content  # a MeasurementReport, by its template
    found: dict[str, Any] = {key: _texts(report).get(code.value) for key, code in STATEMENTS.items()}
    found["paths"] = []
    for group in report.get_image_measurement_groups():
        items = group[0].ContentSequence
        points = {item.ConceptNameCodeSequence[0].CodeValue: item for item in items if item.ValueType == "SCOORD3D"}
        line: dict[str, Any] = {"tool": group.tracking_identifier}
        for key, code in POINTS.items():
            if code.value in points:
                line[key] = np.asarray(points[code.value].GraphicData, dtype=np.float64).tolist()
                found["frame_of_reference_uid"] = str(points[code.value].ReferencedFrameOfReferenceUID)
        texts = _texts(items)
        line.update({key: texts[code.value] for key, code in TEXTS.items() if code.value in texts})
        values = {(one.name.value, one.method and one.method.value): one.value for one in group.get_measurements()}
        for key, what in NUMBERS.items():
            named = (what.name.value, what.method and what.method.value)
            if named in values:
                line[key] = values[named]
        found["paths"].append(line)
    return found


def _texts(items: Any) -> dict[str, str]:
    sequence = items[0].ContentSequence if isinstance(items, sr.MeasurementReport) else items
    return {
        item.ConceptNameCodeSequence[0].CodeValue: str(item.TextValue)
        for item in sequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodingSchemeDesignator == SCHEME
    }
