"""No planted identifier is left in any byte, references resolve, and geometry and voxels are those of the input."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medsam_planner.deidentification import Dates, Deidentified, Profile, Pseudonyms, deidentify
from medsam_planner.io import load_volume
from tests.medsam_planner.deidentification.planted import TRACERS, planted_study

KEY = b"a key of thirty-two bytes for us"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, which pydicom has no name for yet."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("in")
    return folder, planted_study(folder)


PROFILES = {"basic": Profile(), "options": Profile(Dates.SHIFT, keeps_descriptors=True)}


@pytest.fixture(scope="module", params=PROFILES)
def done(
    request: pytest.FixtureRequest, study: tuple[Path, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Profile, Deidentified]:
    out = tmp_path_factory.mktemp("out") / "clean"
    profile = PROFILES[request.param]
    return profile, deidentify(study[0], out, profile, Pseudonyms(KEY))


def written(done: tuple[Profile, Deidentified]) -> dict[str, list[pydicom.Dataset]]:
    by_kind: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted(done[1].out.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        by_kind.setdefault(str(dataset.SOPClassUID.name), []).append(dataset)
    return by_kind


def test_every_object_is_written_but_the_document(done: tuple[Profile, Deidentified]) -> None:
    assert done[1].refused == ()
    assert done[1].counts["written"] == 7 + 7
    assert done[1].left_out == {"encapsulated application/pdf (its content cannot be cleaned)": 1, "not DICOM": 1}


def _content(path: Path) -> bytes:
    """Bytes of a file, of a deflated one those that it holds."""
    if path.suffix != ".dcm":
        return path.read_bytes()
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        return path.read_bytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_no_tracer_is_left_in_any_byte_or_name(done: tuple[Profile, Deidentified]) -> None:
    for path in done[1].out.rglob("*"):
        told = str(path.relative_to(done[1].out)).casefold()
        content = _content(path).lower() if path.is_file() else b""
        for tracer in TRACERS:
            assert tracer not in told
            for encoding in ("utf-8", "latin-1", "utf-16-le"):
                assert tracer.encode(encoding) not in content, (tracer, path.name, encoding)
        assert "山田".encode() not in content
        assert "山田".encode("iso2022_jp")[3:-3] not in content.split(b"\xe0\x7f\x10\x00")[0]


def test_the_document_states_what_was_done(done: tuple[Profile, Deidentified]) -> None:
    profile = done[0]
    codes = {code.value for code in profile.codes()} | {"113111"}
    for dataset in written(done)["CT Image Storage"]:
        assert dataset.PatientIdentityRemoved == "YES"
        assert {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence} == codes
        assert dataset[0x0019, 0x100C].value == 1000  # the b value stays, and nothing else of the vendor
        private = [element for element in dataset if element.tag.is_private]
        assert [str(element.tag) for element in private] == ["(0019,0010)", "(0019,100C)"]


def test_voxels_and_geometry_are_those_of_the_input(
    done: tuple[Profile, Deidentified], study: tuple[Path, dict[str, Path]]
) -> None:
    before = load_volume(study[1]["ct"])
    folder = Path(written(done)["CT Image Storage"][0].filename).parent
    series = [one for one in done[1].out.rglob("S*") if one.is_dir() and len(list(one.glob("*.dcm"))) == 7]
    assert folder.exists() and len(series) == 1
    after = load_volume(series[0])
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-9)
    for kind, name in (("seg", LABEL_MAP), ("pm", "Parametric Map Storage")):
        old = pydicom.dcmread(study[1][kind])
        new = written(done)[name][0]
        np.testing.assert_array_equal(new.pixel_array, old.pixel_array)


def test_references_resolve(done: tuple[Profile, Deidentified]) -> None:
    every = written(done)
    images = {str(dataset.SOPInstanceUID) for dataset in every["CT Image Storage"]}
    slices = {
        str(one.SOPInstanceUID)
        for one in every["CT Image Storage"]
        if one.file_meta.TransferSyntaxUID.is_compressed is False
    }
    assert len(slices) == 7
    segmentation = highdicom.seg.segread(every[LABEL_MAP][0].filename)
    assert {str(uid) for _, _, uid in segmentation.get_source_image_uids()} == slices
    frame = str(every[LABEL_MAP][0].FrameOfReferenceUID)
    [structure_set] = every["RT Structure Set Storage"]
    contour = structure_set.ROIContourSequence[0].ContourSequence[0]
    assert str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID) in images
    assert str(structure_set.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID) == frame
    [report] = every["Comprehensive 3D SR Storage"]
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert {
        str(item.ReferencedSOPInstanceUID) for item in evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
    } == slices
    highdicom.sr.Comprehensive3DSR.from_dataset(report)
    assert len({str(one.StudyInstanceUID) for kind in every.values() for one in kind}) == 1


def test_dates_move_together_and_descriptions_keep_known_words(done: tuple[Profile, Deidentified]) -> None:
    profile, every = done[0], written(done)
    dates = {str(one.get("StudyDate")) for kind in every.values() for one in kind}
    if profile.dates is Dates.REMOVE:
        assert dates == {""}
        assert all("SeriesDescription" not in one for one in every["CT Image Storage"])
        return
    patient_days = Pseudonyms(KEY).days("TRC-884213")
    moved = datetime.date(2024, 2, 29) - datetime.timedelta(patient_days)
    assert dates == {f"{moved:%Y%m%d}"}
    one = every["CT Image Storage"][0]
    assert one.SeriesDescription == "Liver of portal venous 1.5 mm"
    assert one.LongitudinalTemporalInformationModified == "MODIFIED"
    assert one.PatientBirthDate == ""


def test_the_report_has_counts_and_no_name_of_a_file(done: tuple[Profile, Deidentified]) -> None:
    document = json.loads((done[1].out / "deidentification.json").read_text())
    assert document["is_complete"] and document["files"] == dict(done[1].counts)
    assert document["attributes_in_this_run"]["removed"] > 100
