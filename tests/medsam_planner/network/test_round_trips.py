"""Round trips through a real Orthanc, with DICOMweb and with DIMSE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import PeerError
from medsam_planner.io import load_volume
from medsam_planner.network.connecting import connect
from medsam_planner.network.node import Instance, Level
from medsam_planner.network.pull import MANIFEST, pull
from medsam_planner.network.push import outgoing, push
from tests.medsam_planner.network.conftest import Orthanc

NODES = ("web", "get", "move")


def study_of(folder: Path) -> str:
    return str(pydicom.dcmread(next(folder.iterdir())).StudyInstanceUID)


@pytest.mark.parametrize("name", NODES)
def test_a_series_comes_back_with_equal_voxels(name: str, orthanc: Orthanc, ct: Path, tmp_path: Path) -> None:
    node = connect(orthanc.pacs, name)
    node.echo()
    pushed = push(node, outgoing([ct]))
    assert (pushed.sent, pushed.checked, pushed.changed, orthanc.count()) == (7, 7, (), 7)
    studies = node.find(Level.STUDY, {"PatientName": "Test*"})
    assert [str(one.StudyInstanceUID) for one in studies] == [study_of(ct)]
    pulled = pull(node, study_of(ct), tmp_path / "out")
    assert pulled.fetched == 7
    before, after = load_volume(ct), load_volume(pulled.folders[0])
    np.testing.assert_array_equal(before.array, after.array)
    np.testing.assert_array_equal(before.affine, after.affine)
    assert load_volume(tmp_path / "out").array.shape == (7, 12, 10)


@pytest.mark.parametrize("name", NODES)
def test_a_repeated_pull_fetches_only_what_is_missing_or_damaged(
    name: str, orthanc: Orthanc, ct: Path, tmp_path: Path
) -> None:
    node = connect(orthanc.pacs, name)
    push(node, outgoing([ct]), read_back=False)
    first = pull(node, study_of(ct), tmp_path / "out")
    files = sorted(first.folders[0].glob("*.dcm"))
    whole = [file.read_bytes() for file in files]
    files[0].unlink()
    files[1].write_bytes(whole[1][:-10])
    (tmp_path / "out" / MANIFEST).open("a").write('{"file": "unfin')
    again = pull(node, study_of(ct), tmp_path / "out")
    assert (again.fetched, again.already_there) == (2, 5)
    assert [file.read_bytes() for file in files] == whole


def test_a_repeated_push_sends_nothing_twice(orthanc: Orthanc, ct: Path) -> None:
    node = connect(orthanc.pacs, "web")
    files = outgoing([ct])
    push(node, files[:3])
    done = push(node, files)
    assert (done.sent, done.already_there, done.checked) == (4, 3, 7)


def test_another_content_under_the_same_uid_is_refused_by_name(orthanc: Orthanc, ct: Path) -> None:
    node = connect(orthanc.pacs, "get")
    push(node, outgoing([ct]))
    path = sorted(ct.iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path)
    with pytest.raises(PeerError, match="holds other content than"):
        push(node, outgoing([path]))


def test_the_commands_query_fetch_and_send(
    orthanc: Orthanc, ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = ["--pacs", str(orthanc.settings)]
    assert run(["pacs", "push", "web", str(ct), *place]) == 0
    assert "7 instances sent, 0 were there; 7 read back and equal." in capfd.readouterr().out
    assert run(["pacs", "query", "get", "--patient-name", "Test*", *place]) == 0
    assert study_of(ct) in capfd.readouterr().out
    assert run(["pacs", "query", "web", "--study", study_of(ct), *place]) == 0
    assert "Series of a test" in capfd.readouterr().out
    assert run(["pacs", "pull", "web", "--study", study_of(ct), "--out", str(tmp_path / "o"), *place]) == 0
    assert run(["inspect", str(tmp_path / "o")]) == 0
    capfd.readouterr()
    assert run(["pacs", "pull", "web", "--study", "1.2.3", "--out", str(tmp_path / "p"), *place]) == 2
    assert "the PACS has none of" in capfd.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_refusal_has_the_words_of_the_peer(orthanc: Orthanc, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="web answered 404 Not Found"):
        connect(orthanc.pacs, "web").fetch([Instance("1.2", "1.3", "1.4")], lambda one, content: None)


def test_a_file_that_a_peer_does_not_take_ends_with_2(
    orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "readme.txt").write_text("no DICOM")
    assert run(["pacs", "push", "web", str(tmp_path), "--pacs", str(orthanc.settings)]) == 2
    assert "Expected DICOM files to send, found none" in capfd.readouterr().err
