"""An archive is checked series by series, wherever files lie; what is known is not looked at again."""

from __future__ import annotations

import csv
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import OutputError, StudyError
from medsam_planner.io import load_volume, save_dicom_seg, save_nifti
from medsam_planner.io.import_check import check_archive
from medsam_planner.io.parallel import parallel_map
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series
from tests.medsam_planner.io.test_series_volumes import AFFINE, several


def _acquisition(number: int, k: int, one: object) -> None:
    one.AcquisitionNumber = number + 1


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    place = tmp_path / "archive"
    paths = write_ct_series(place / "a", blob_hu(), AFFINE, SeriesDescription="=HYPERLINK(1)")
    (place / "b").mkdir()
    shutil.move(paths[3], place / "b" / "apart")  # one series in two folders
    gap = write_ct_series(place / "gap", blob_hu() + 1, AFFINE, SeriesDescription="a gap")
    gap[3].unlink()
    several(place / "phases", 2, _acquisition)
    write_ct_series(place / "whole", blob_hu() + 2, AFFINE)
    whole = load_volume(place / "whole")
    save_dicom_seg(volume_like(whole, whole.array > -800), place / "objects" / "seg.dcm", whole, label="liver")
    save_nifti(whole, place / "nifti" / "ct.nii.gz")
    with zipfile.ZipFile(place / "old.zip", "w") as packed:
        for path in sorted((place / "whole").iterdir()):
            packed.write(path, path.name)
    (place / "readme.txt").write_text("text")
    cut = (place / "whole" / "slice_000").read_bytes()
    (place / "cut.dcm").write_bytes(cut[:400])
    return place


def table(out: Path) -> list[dict[str, str]]:
    with (out / "import-check.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_series_has_a_row_that_says_what_the_reader_would(archive: Path, tmp_path: Path) -> None:
    found = check_archive(archive, tmp_path / "out")
    rows = {(row["status"], row["where"]): row for row in table(tmp_path / "out")}
    apart = rows["readable", "."]
    assert (apart["files"], apart["shape"], apart["spacing_mm"]) == ("7", "7 × 12 × 10", "2 × 0.75 × 0.5")
    assert apart["description"] == "'=HYPERLINK(1)"  # text for a spreadsheet, not a formula
    assert "1 slice is missing" in rows["refused", "gap"]["reason"]
    assert rows["several volumes", "phases"]["volumes"] == "2"
    assert rows["readable", "whole"]["series_instance_uid"]
    assert rows["readable", "old.zip"]["shape"] == "7 × 12 × 10"
    assert ("readable", "nifti/ct.nii.gz") in rows or ("refused", "nifti/ct.nii.gz") in rows
    assert rows["no image", "objects/seg.dcm"]["reason"] == "SEG"
    assert rows["no image", "readme.txt"]["reason"] == "not DICOM" or ("no image", ".") in rows
    assert any(status == "damaged" for status, _ in rows)
    assert found.count_by_status["readable"] >= 3
    assert sum(found.count_by_status.values()) == len(table(tmp_path / "out"))


def test_no_pixel_is_decoded(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr("pydicom.dataset.Dataset.pixel_array", property(never))
    monkeypatch.setattr("medsam_planner.io.stored_pixels.read_decoded", never)
    (archive / "nifti" / "ct.nii.gz").unlink()
    assert check_archive(archive, tmp_path / "out").count_by_status["readable"] == 3


def test_a_repeated_check_looks_only_at_what_changed(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = check_archive(archive, out)
    before = table(out)
    again = check_archive(archive, out)
    assert first.newly_checked > 5 and again.newly_checked == 0
    assert table(out) == before
    (archive / "b" / "apart").unlink()
    changed = check_archive(archive, out)
    assert changed.newly_checked == 1
    assert [row["status"] for row in table(out) if row["files"] == "6" and row["description"].endswith("(1)")] == [
        "refused"
    ]
    shutil.rmtree(archive / "gap")
    check_archive(archive, out)
    assert not [row for row in table(out) if row["where"] == "gap"]


def test_a_check_that_was_killed_is_taken_up_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    import medsam_planner.io.import_check as module

    real, calls = module._rows_of, []

    def dies(folder: Path, unit: object) -> list:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(unit)
        return real(folder, unit)

    monkeypatch.setattr(module, "_rows_of", dies)
    with pytest.raises(KeyboardInterrupt):
        check_archive(archive, out)
    monkeypatch.setattr(module, "_rows_of", real)
    resumed = check_archive(archive, out).newly_checked
    other = check_archive(archive, tmp_path / "other").newly_checked
    assert resumed == other - 3
    assert table(out) == table(tmp_path / "other")


def test_several_processes_write_the_same_table(archive: Path, tmp_path: Path) -> None:
    check_archive(archive, tmp_path / "one")
    check_archive(archive, tmp_path / "two", workers=2)
    assert table(tmp_path / "one") == table(tmp_path / "two")


def _crash_on_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number * 10


def _lost(number: int) -> int:
    return -number


def test_a_process_that_crashes_costs_one_item_and_not_the_others() -> None:
    numbers = parallel_map(_crash_on_three, range(6), workers=2, lost=_lost)
    assert list(numbers) == [0, 10, 20, -3, 40, 50]


def test_the_command_prints_counts_and_reasons(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import-check", str(archive), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "several volumes" in printed and "refused or damaged: # slice is missing" in printed
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["import-check", str(empty), "--out", str(tmp_path / "none")]) == 1


def test_the_table_of_another_archive_is_not_replaced(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    write_ct_series(other / "ct", blob_hu(), AFFINE)
    check_archive(archive, out)
    before = table(out)
    assert run(["import-check", str(other), "--out", str(out)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"it holds the check of the archive {archive.resolve()}" in told and "Name another folder" in told
    archive.rename(tmp_path / "put away")
    other.rename(archive)  # as another disk at the same place
    with pytest.raises(OutputError, match="other files at the same place"):
        check_archive(archive, out)
    assert table(out) == before
    archive.rename(other)
    (tmp_path / "put away").rename(archive)
    assert check_archive(archive, out).newly_checked == 0


def test_what_the_command_did_not_write_is_not_replaced(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "import-check.csv").write_text("mine")
    with pytest.raises(OutputError, match="not written by this command"):
        check_archive(archive, out)
    with pytest.raises(OutputError, match="outside"):
        check_archive(archive, archive / "out")
    with pytest.raises(StudyError, match="is no folder"):
        check_archive(archive / "readme.txt", out)
    (out / "import-check.csv").unlink()
    (out / "import-check.sqlite").write_text("not a database, and longer than a header of one would be" * 4)
    with pytest.raises(OutputError, match="no index of this program"):
        check_archive(archive, out)


def test_names_of_no_encoding_are_checked_like_others(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    for path in write_ct_series(place, blob_hu(), AFFINE):
        path.rename(path.with_name(path.name + os.fsdecode(b"\xff")))
    (place / os.fsdecode(b"\xfe.txt")).write_text("text")
    assert check_archive(place, tmp_path / "out").count_by_status == {"readable": 1, "no image": 1}
    assert check_archive(place, tmp_path / "out").newly_checked == 0
    assert {row["files"] for row in table(tmp_path / "out")} == {"7", "1"}
