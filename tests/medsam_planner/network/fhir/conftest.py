"""Folders as a run on a patient's study leaves them, without the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medsam_planner.io import load_volume
from medsam_planner.io.objects.encapsulated import save_encapsulated_pdf
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.io.objects.segmentation import Segment, save_segments
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

PDF = b"%PDF-1.4\n%a report"
LINE: dict[str, Any] = {
    "entry_lps_mm": [-12.25, 40.5, 101.125],
    "target_lps_mm": [3.0, -8.0, 77.5],
    "certified_clearance_mm": 2.75,
    "limiting_structure": "artery",
    "limiting_point_lps_mm": [-4.5, 16.0, 89.0],
    "hit_probability": 0.0125,
    "length_mm": 56.0,
    "entry_angle_deg": 12.5,
    "bone_density_hu": None,
    "reason": "Has the most room.",
}
PLAN: dict[str, Any] = {
    "notice": "Research use only. Not a medical device.",
    "margins_statement": "artery: 2.0 to 5.5 mm, a rule of thumb without a guarantee.",
    "verdict": {"kind": "feasible", "headline": "Feasible: a path satisfies every constraint"},
    "tools": [{"name": "needle", "alternatives": [LINE, {**LINE, "certified_clearance_mm": 1.0}]}],
}
PATIENT = {
    "PatientID": "4711",
    "PatientName": "Müller^Änne",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "AccessionNumber": "A-123",
    "StudyDate": "20260102",
    "StudyTime": "101112.5",
    "SpecificCharacterSet": "ISO_IR 192",
}
PSEUDONYM = {**PATIENT, "PatientIdentityRemoved": "YES", "PatientID": "ANON7", "PatientName": "ANON7"}

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run's folder; `patient` are values of the headers, `plan` the plan, or None for a run without one."""

    def make(
        patient: dict[str, str] = PATIENT, plan: dict[str, Any] | None = PLAN, *, names_patient: bool = True
    ) -> Path:
        folder = tmp_path / "run"
        affine = np.diag([2.5, 0.8, 0.8, 1.0])[:, [2, 1, 0, 3]]
        write_ct_series(tmp_path / "ct", blob_hu(), affine)
        for path in (tmp_path / "ct").iterdir():
            dataset = pydicom.dcmread(path)
            for keyword, value in patient.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
        study = load_volume(tmp_path / "ct")
        mask = np.zeros(study.spatial_shape, dtype=bool)
        mask[2:4, 5:9, 5:9] = True
        seg = save_segments([Segment("artery", volume_like(study, mask))], folder / "seg.dcm", study)
        if plan is not None:
            (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
            if any(tool["alternatives"] for tool in plan["tools"]):
                save_plan_sr(plan, folder / "plan.dcm", study, segmentations=[pydicom.dcmread(seg)])
            save_encapsulated_pdf(PDF, folder / "report.pdf.dcm", study, title="Plan", names_patient=names_patient)
        return folder

    return make
