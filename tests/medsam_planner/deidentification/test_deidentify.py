"""What is refused, what is masked, what a repeated run does, and that inputs stay as they are."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit, generate_uid

from medsam_planner.cli.app import run
from medsam_planner.deidentification import Dates, Deidentified, Profile, Pseudonyms, Region, deidentify
from medsam_planner.deidentification.code_streams import without_comments
from medsam_planner.deidentification.identifiers import Identifiers, stated_identifiers
from medsam_planner.deidentification.words import cleaned_text
from medsam_planner.errors import ConfigError, OutputError, StudyError
from medsam_planner.io.output_folder import alone_in
from tests.medsam_planner.deidentification.planted import AFFINE, plant, save
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, save_all

KEYS = Pseudonyms(b"a key of thirty-two bytes for us")


def slices(count: int = 2, **overrides: object) -> list[Dataset]:
    made = ct_datasets(blob_hu()[:count], AFFINE, **overrides)
    for one in made:
        plant(one)
        for keyword, value in overrides.items():
            setattr(one, keyword, value)
    return made


def folder_of(place: Path, datasets: list[Dataset]) -> Path:
    for k, one in enumerate(datasets):
        save(one, place / f"{k}.dcm")
    return place


def results(done: Deidentified) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(done.out.rglob("*.dcm"))]


def test_inputs_stay_as_they_are(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices())
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()}
    deidentify(place, tmp_path / "out", Profile(), KEYS)
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()} == before


@pytest.mark.parametrize(("source", "out"), [("in", "in/out"), ("in/a", "in")])
def test_results_inside_the_input_or_around_it_are_refused(tmp_path: Path, source: str, out: str) -> None:
    folder_of(tmp_path / source, slices())
    with pytest.raises(OutputError, match="outside"):
        deidentify(tmp_path / source, tmp_path / out, Profile(), KEYS)


def test_text_in_pixels_is_refused_and_the_rest_is_written(tmp_path: Path) -> None:
    datasets = slices()
    datasets[0].BurnedInAnnotation = "YES"
    done = deidentify(folder_of(tmp_path / "in", datasets), tmp_path / "out", Profile(), KEYS)
    assert done.counts == {"written": 1, "already there": 0, "left out": 0, "refused": 1}
    assert done.refused == (("0.dcm", "it says that text is drawn into its pixels (BurnedInAnnotation)"),)


def test_a_region_is_black_and_all_other_pixels_stay(tmp_path: Path) -> None:
    datasets = slices(BurnedInAnnotation="YES")
    profile = Profile(regions=(Region(2, 3, 4, 5),))
    done = deidentify(folder_of(tmp_path / "in", datasets), tmp_path / "out", profile, KEYS)
    expected = np.stack([one.pixel_array for one in datasets])
    expected[:, 3:8, 2:6] = 0
    made = sorted(results(done), key=lambda one: int(one.InstanceNumber))
    np.testing.assert_array_equal(np.stack([one.pixel_array for one in made]), expected)
    assert {one.BurnedInAnnotation for one in made} == {"NO"}
    assert "113101" in {item.CodeValue for item in made[0].DeidentificationMethodCodeSequence}


def test_a_compressed_colour_screenshot_is_masked_too(tmp_path: Path) -> None:
    [one] = slices(1)
    stream = io.BytesIO()
    Image.fromarray(np.full((12, 10, 3), 200, np.uint8)).save(stream, "JPEG", quality=95)
    one.SamplesPerPixel, one.PlanarConfiguration, one.PhotometricInterpretation = 3, 0, "YBR_FULL_422"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 8, 8, 7, 0
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    one.PixelData = encapsulate([stream.getvalue()])
    one["PixelData"].is_undefined_length = True
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    place = folder_of(tmp_path / "in", [one])
    assert deidentify(place, tmp_path / "refused", Profile(), KEYS).counts["refused"] == 1
    [made] = results(deidentify(place, tmp_path / "out", Profile(regions=(Region(0, 0, 10, 2),)), KEYS))
    assert not made.pixel_array[:2].any() and (made.pixel_array[2:] > 190).all()


def test_a_repeated_run_writes_only_what_is_missing(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices(3))
    first = deidentify(place, tmp_path / "out", Profile(), KEYS)
    gone = sorted(first.out.rglob("*.dcm"))[0]
    content = gone.read_bytes()
    gone.unlink()
    (gone.parent / f".{'0' * 32}.partial").write_bytes(b"half")
    again = deidentify(place, tmp_path / "out", Profile(), KEYS)
    assert again.counts == {"written": 1, "already there": 2, "left out": 0, "refused": 0}
    assert gone.read_bytes() == content and not list(again.out.rglob("*.partial"))


def test_a_run_that_was_killed_leaves_whole_files_and_is_taken_up_with_the_same_pseudonyms(tmp_path: Path) -> None:
    place, key = folder_of(tmp_path / "in", slices(7)), tmp_path / "key"
    code = (
        "import os, sys\nfrom medsam_planner.deidentification import one_file\nfrom medsam_planner.cli.app import run\n"
        "real, calls = one_file.mark, []\n"
        "def dies(*a, **k):\n    calls.append(1)\n    len(calls) < 4 or os.kill(os.getpid(), 9)\n    real(*a, **k)\n"
        "one_file.mark = dies\nrun(sys.argv[1:])"
    )

    def arguments(out: str) -> list[str]:
        return ["deidentify", str(place), "--out", str(tmp_path / out), "--key-file", str(key), "--shift-dates"]

    def tree(out: str) -> dict[str, bytes]:
        return {str(one.relative_to(tmp_path / out)): one.read_bytes() for one in (tmp_path / out).rglob("*.dcm")}

    killed = subprocess.run([sys.executable, "-c", code, *arguments("killed")], capture_output=True, check=False)
    assert killed.returncode == -9
    part = tree("killed")
    assert not json.loads((tmp_path / "killed" / "deidentification.json").read_text())["is_complete"]
    assert run(arguments("killed")) == run(arguments("whole")) == 0
    assert len(part) == 3 and part.items() < tree("whole").items()
    assert tree("killed") == tree("whole")
    assert json.loads((tmp_path / "killed" / "deidentification.json").read_text())["is_complete"]


def test_another_key_or_option_does_not_write_into_the_same_folder(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices())
    deidentify(place, tmp_path / "out", Profile(), KEYS)
    with pytest.raises(ConfigError, match="another key or other options"):
        deidentify(place, tmp_path / "out", Profile(), Pseudonyms(b"another key that is long enough"))
    with pytest.raises(ConfigError, match="another key or other options"):
        deidentify(place, tmp_path / "out", Profile(Dates.KEEP), KEYS)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        deidentify(place, tmp_path / "out", Profile(), KEYS)


def test_intervals_between_studies_of_a_patient_stay_and_patients_differ(tmp_path: Path) -> None:
    datasets = slices(1, StudyDate="20240101") + slices(1, StudyDate="20240315") + slices(1, PatientID="OTHER-77")
    for one in datasets:
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID = generate_uid()
    datasets[2].StudyDate = "20240101"
    report = slices(1)[0]
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    report.StudyInstanceUID, report.PatientID = datasets[0].StudyInstanceUID, ""  # known by its study alone
    report.StudyDate = "20240101"
    place = folder_of(tmp_path / "in", [*datasets, report])
    made = results(deidentify(place, tmp_path / "out", Profile(Dates.SHIFT), KEYS))
    days: dict[str, list[datetime.date]] = {}
    for one in made:
        days.setdefault(str(one.PatientID), []).append(datetime.date.fromisoformat(str(one.StudyDate)))
    assert sorted(len(dates) for dates in days.values()) == [1, 3]
    several = next(dates for dates in days.values() if len(dates) == 3)
    assert max(several) - min(several) == datetime.date(2024, 3, 15) - datetime.date(2024, 1, 1)
    [other] = next(dates for dates in days.values() if len(dates) == 1)
    assert other != min(several)


def test_two_files_with_one_uid_are_told_apart_from_a_copy(tmp_path: Path) -> None:
    [one] = slices(1)
    place = folder_of(tmp_path / "in", [one, one])
    one.PixelData = bytes(len(one.PixelData))
    save(one, place / "other.dcm")
    done = deidentify(place, tmp_path / "out", Profile(), KEYS)
    assert done.counts == {"written": 1, "already there": 0, "left out": 1, "refused": 1}
    assert "two files have one SOPInstanceUID" in (done.out / "deidentification.json").read_text()


def test_overlays_in_the_unused_bits_of_the_pixels_go(tmp_path: Path) -> None:
    [one] = slices(1)
    values = np.arange(120, dtype="<u2").reshape(12, 10)
    one.BitsStored, one.HighBit, one.PixelRepresentation = 12, 11, 0
    one.PixelData = (values | 0x8000).tobytes()
    del one[0x60003000]
    one.add_new(0x60000100, "US", 16)
    one.add_new(0x60000102, "US", 15)
    [made] = results(deidentify(folder_of(tmp_path / "in", [one]), tmp_path / "out", Profile(), KEYS))
    assert made.PixelData == values.tobytes()


def test_bytes_after_the_pixels_go(tmp_path: Path) -> None:
    [one] = slices(1)
    pixels = one.PixelData
    one.PixelData = pixels + b"Tracerson!"
    [made] = results(deidentify(folder_of(tmp_path / "in", [one]), tmp_path / "out", Profile(), KEYS))
    assert made.PixelData == pixels


def test_big_endian_and_bare_files_are_cleaned(tmp_path: Path) -> None:
    paths = save_all(tmp_path / "in", slices(1), transfer_syntax=ExplicitVRBigEndian)
    bare = Dataset()
    bare.update(slices(1)[0])
    bare.SOPInstanceUID = generate_uid()
    del bare[0x00189999]
    bare.save_as(tmp_path / "in" / "bare.dcm", implicit_vr=True, little_endian=True)
    assert paths and (tmp_path / "in" / "bare.dcm").read_bytes()[:2] == b"\x08\x00"
    done = deidentify(tmp_path / "in", tmp_path / "out", Profile(), KEYS)
    assert done.counts["written"] == 2
    for path in done.out.rglob("*.dcm"):
        assert b"racerson" not in path.read_bytes()


def test_values_that_are_invalid_for_their_kind_go(tmp_path: Path) -> None:
    [one] = slices(1)
    with pytest.warns(UserWarning):
        one.add_new(0x00180050, "LO", "Quebranto")  # a slice thickness
        one.add_new(0x00180060, "CS", "quebranto, 12.03.")
        one.add_new(0x00080023, "DA", "QUEBRANT")
        one.add_new(0x00200052, "UI", "quebranto")
    done = deidentify(folder_of(tmp_path / "in", [one]), tmp_path / "out", Profile(Dates.KEEP), KEYS)
    assert b"uebrant" not in next(done.out.rglob("*.dcm")).read_bytes().lower()


def test_a_head_is_warned_of(tmp_path: Path) -> None:
    [one] = slices(1, BodyPartExamined="HEAD")
    done = deidentify(folder_of(tmp_path / "in", [one]), tmp_path / "out", Profile(), KEYS)
    assert done.warnings[0].startswith("1 files are images of a head: a face can be rendered")


def test_several_processes_write_the_same_bytes(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices(3))
    one = deidentify(place, tmp_path / "one", Profile(), KEYS)
    two = deidentify(place, tmp_path / "two", Profile(), KEYS, workers=2)
    assert {path.name: path.read_bytes() for path in one.out.rglob("*.dcm")} == {
        path.name: path.read_bytes() for path in two.out.rglob("*.dcm")
    }


def test_words_of_the_vocabulary_stay_unless_they_are_the_patients() -> None:
    dataset = Dataset()
    dataset.PatientName = "Miller^Vera"
    nobody, miller = Identifiers(()), Identifiers(stated_identifiers(dataset))
    text = "Liver, Miller 12.03.1958 #4711 T2w 1.5 mm Zzyzx"
    assert cleaned_text(text, nobody) == "Liver Miller T2w 1.5 mm"  # an eponym is in the vocabulary
    assert cleaned_text(text, miller) == "Liver T2w 1.5 mm"


def test_an_identifier_that_all_rules_miss_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_planner.deidentification.cleaning.is_technical", lambda text, identifiers: True)
    done = deidentify(folder_of(tmp_path / "in", slices(1)), tmp_path / "out", Profile(), KEYS)
    assert done.refused == (("0.dcm", "an identifier of the patient is left in it after all rules"),)


def test_comments_of_encoders_are_blanked_and_the_picture_stays() -> None:
    stream = io.BytesIO()
    picture = Image.fromarray((np.arange(256).reshape(16, 16)).astype(np.uint8))
    picture.save(stream, "JPEG", comment=b"Tracerson")
    cleaned = without_comments(stream.getvalue() + b"Tracerson")
    assert b"racerson" not in cleaned and len(cleaned) == len(stream.getvalue()) + 9
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(cleaned))), np.asarray(Image.open(stream)))


def test_the_command_makes_a_key_for_its_owner_alone_and_ends_with_2_on_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = slices()
    datasets[0].BurnedInAnnotation = "YES"
    place = folder_of(tmp_path / "in", datasets)
    key, out = tmp_path / "key", tmp_path / "out"
    arguments = ["deidentify", str(place), "--out", str(out), "--profile", "basic", "--key-file", str(key)]
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert "--mask-region" in printed.err and "Traceback" not in printed.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (place / "0.dcm").unlink()
    assert run(arguments) == 0
    assert json.loads((out / "deidentification.json").read_text())["files"]["already there"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep-dates", "--shift-dates"], "--keep-dates or --shift-dates"),
        (["--mask-region", "1,2,3"], "LEFT,TOP,WIDTH,HEIGHT"),
        (["--key-file", "out/key"], "outside the results"),
    ],
)
def test_wrong_options_end_with_2_and_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "in", slices(1))
    assert run(["deidentify", "in", "--out", "out", "--key-file", "key", *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_key_is_not_made_in_the_folder_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder_of(tmp_path / "in", slices(1))
    assert run(["deidentify", str(place), "--out", str(tmp_path / "out"), "--key-file", str(place / "key")]) == 2
    assert "Expected a key file outside" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["0.dcm"]


def test_a_deflated_file_is_searched_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_planner.deidentification.cleaning.is_technical", lambda text, identifiers: True)
    [one] = slices(1)
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    done = deidentify(folder_of(tmp_path / "in", [one]), tmp_path / "out", Profile(), KEYS)
    assert done.refused == (("0.dcm", "an identifier of the patient is left in it after all rules"),)


def test_a_place_without_dicom_is_refused_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "old.zip").write_bytes(b"PK\x03\x04" + bytes(400))
    with pytest.raises(StudyError, match=r"old\.zip cannot be unpacked"):
        deidentify(tmp_path / "in", tmp_path / "out", Profile(), KEYS)


def test_a_program_that_states_itself_as_creator_is_no_person() -> None:
    dataset = Dataset()
    dataset.Manufacturer = dataset.ContentCreatorName = "Some Planner"
    dataset.ManufacturerModelName = dataset.StationName = "Scanner 5000"
    assert stated_identifiers(dataset) == frozenset()
    dataset.PatientName = "Scanner 5000"
    assert "5000" in stated_identifiers(dataset)


def test_a_patients_number_in_an_integer_and_a_name_of_no_encoding(tmp_path: Path) -> None:
    [one] = slices(1, AcquisitionNumber="884213", SeriesNumber="12")
    place = folder_of(tmp_path / "in", [one])
    (place / "0.dcm").rename(place / os.fsdecode(b"Tracerson\xff.dcm"))
    (place / os.fsdecode(b"damaged\xff.dcm")).write_bytes(bytes(128) + b"DICM" + bytes(300))
    arguments = ["deidentify", str(place), "--out", str(tmp_path / "out"), "--key-file", str(tmp_path / "key")]
    assert run(arguments) == 2
    [made] = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert made.AcquisitionNumber is None and made.SeriesNumber == 12


def test_files_in_a_zip_are_cleaned_as_those_of_a_folder(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices())
    (tmp_path / "zipped").mkdir()
    with zipfile.ZipFile(tmp_path / "zipped" / "Mueller.zip", "w") as archive:
        for path in place.iterdir():
            archive.write(path, f"Mueller/{path.name}")
        archive.writestr("notes.txt", "Mueller")
    (tmp_path / "zipped" / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(400))
    plain = deidentify(place, tmp_path / "plain", Profile(), KEYS)
    done = deidentify(tmp_path / "zipped", tmp_path / "out", Profile(), KEYS)
    assert done.counts == {"written": 2, "already there": 0, "left out": 1, "refused": 1}
    assert done.refused[0][0] == "cut.zip" and "cannot be unpacked" in done.refused[0][1]

    def written(one: Deidentified) -> dict[Path, bytes]:
        return {path.relative_to(one.out): path.read_bytes() for path in one.out.rglob("*.dcm")}

    assert written(done) == written(plain)
    again = deidentify(tmp_path / "zipped", tmp_path / "out", Profile(), KEYS)
    assert again.counts["already there"] == 2


def test_two_runs_do_not_write_into_one_folder_at_the_same_time(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "in", slices(1))
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out"), pytest.raises(OutputError, match="Another run is writing"):
        deidentify(place, tmp_path / "out", Profile(), KEYS)
    assert deidentify(place, tmp_path / "out", Profile(), KEYS).counts["written"] == 1
