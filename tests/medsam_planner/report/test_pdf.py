"""The PDF of a report names patient and restriction on every page, or nobody; the key picture carries its notice."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pypdf import PdfReader

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.report.key_image import key_picture
from medsam_planner.report.model import PlanReport
from medsam_planner.report.parts import ReportParts, report_parts
from medsam_planner.report.pdf import render_pdf
from medsam_planner.volumes import StudyVolume

IDENTITY = ("Grün, Anna Maria", "PID-4711", "ACC-0815", "2026-07-04")


@pytest.fixture(scope="module")
def drawn(make_report: Callable[..., PlanReport]) -> tuple[PlanReport, ReportParts]:
    report = make_report()
    return report, report_parts(report)


def _of_patient(report: PlanReport, **more: str) -> PlanReport:
    header = pydicom.Dataset()
    header.PatientName, header.PatientID, header.AccessionNumber = "Grün^Anna Maria", "PID-4711", "ACC-0815"
    header.StudyDate = "20260704"
    for keyword, value in more.items():
        setattr(header, keyword, value)
    assert report.study.source is not None
    study = StudyVolume.from_volume(report.study, replace(report.study.source, datasets=(header,)))
    return replace(report, study=study)


def _pages(report: PlanReport, parts: ReportParts) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(render_pdf(report, parts))).pages]


def test_every_page_names_the_patient_and_the_restriction(drawn: tuple[PlanReport, ReportParts]) -> None:
    report, parts = drawn
    pages = _pages(_of_patient(report), parts)
    assert len(pages) > 1
    for page in pages:
        assert RESEARCH_USE_NOTICE in page
        assert all(value in page for value in IDENTITY)
    best = report.plan.alternatives[0]
    assert report.title in pages[0] and f"{best.certified_clearance_mm:.1f}" in "".join(pages)
    assert "iliac vessel" in "".join(pages)


def test_a_deidentified_study_names_nobody(drawn: tuple[PlanReport, ReportParts]) -> None:
    report, parts = drawn
    for page in _pages(_of_patient(report, PatientIdentityRemoved="YES"), parts):
        assert RESEARCH_USE_NOTICE in page
        assert not any(value in page for value in IDENTITY)


def test_the_same_report_gives_the_same_bytes(drawn: tuple[PlanReport, ReportParts]) -> None:
    assert render_pdf(*drawn) == render_pdf(*drawn)


def test_the_key_picture_ends_with_its_notice(drawn: tuple[PlanReport, ReportParts]) -> None:
    picture = key_picture(*drawn)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    band = picture[-30:]
    assert (band[:, 5] == (0xFF, 0xF4, 0xD6)).all()  # the colour of the notice, from side to side
    written = (band == (0x5C, 0x3D, 0x00)).all(axis=-1)
    assert written.sum() > 500
    assert np.ptp(picture[100:500, 100:500]) > 100  # and there is a picture above it
