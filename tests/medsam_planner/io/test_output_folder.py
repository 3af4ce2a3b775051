"""A folder of results holds what one command wrote, and never costs anybody a file of theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from medsam_planner.errors import OutputError
from medsam_planner.io.files import NotFiniteError, write_json, write_whole
from medsam_planner.io.output_folder import RECORD, OutputFolder, open_run_folder

NAMES = ("mask.nii.gz", "meshes/organ.stl", "result.json")


def run_into(folder, text="first", names=NAMES, written=None, **options):
    with OutputFolder(folder, names, **options) as out:
        for name in names if written is None else written:
            write_whole(out / name, text)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_an_earlier_run_left_goes_when_the_first_result_comes(tmp_path):
    run_into(tmp_path)
    run_into(tmp_path, "second", ("mask.nii.gz", "saliency.nii.gz"), ["mask.nii.gz"])
    assert files(tmp_path) == [RECORD, "mask.nii.gz"]
    assert not (tmp_path / "meshes").exists()


def test_a_run_that_writes_nothing_takes_nothing_away(tmp_path):
    run_into(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError), OutputFolder(tmp_path, NAMES):
        raise ValueError("wrong prompts")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_that_was_made_for_a_refused_run_does_not_stay(tmp_path):
    with pytest.raises(ValueError), OutputFolder(tmp_path / "a" / "b", NAMES):
        raise ValueError("wrong prompts")
    assert os.listdir(tmp_path) == []


def test_a_run_of_another_kind_keeps_the_results_beside_its_own(tmp_path):
    run_into(tmp_path)
    run_into(tmp_path, "plan", ("plan.json",), replaces_all=False)
    run_into(tmp_path, "plan again", ("plan.json",), replaces_all=False)
    assert files(tmp_path) == sorted([RECORD, *NAMES, "plan.json"])
    assert (tmp_path / "plan.json").read_text() == "plan again"
    run_into(tmp_path, "second")
    assert files(tmp_path) == sorted([RECORD, *NAMES])


@pytest.mark.parametrize("name", ["mask.nii.gz", "MASK.nii.gz", "meshes", "Meshes/Organ.stl", RECORD])
def test_files_of_another_origin_are_never_replaced(tmp_path, name):
    write_whole(tmp_path / name, "mine")
    with pytest.raises(OutputError, match=r"Name another folder"):
        run_into(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert files(tmp_path) == [name]


def test_a_result_that_was_changed_by_hand_since_is_not_replaced(tmp_path):
    run_into(tmp_path)
    write_whole(tmp_path / "mask.nii.gz", "corrected by hand")
    with pytest.raises(
        OutputError, match=r"mask\.nii\.gz\) that this program did not write, or that were changed since"
    ):
        run_into(tmp_path)
    assert (tmp_path / "mask.nii.gz").read_text() == "corrected by hand"


def test_other_files_beside_the_results_do_not_matter(tmp_path):
    write_whole(tmp_path / "notes.txt", "mine")
    run_into(tmp_path)
    run_into(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_link_is_of_another_origin_whatever_it_points_at(tmp_path):
    original = write_whole(tmp_path / "original" / "organ.stl", "mine")
    for number, (name, target) in enumerate(
        (("mask.nii.gz", original), ("meshes", original.parent), ("result.json", "gone"))
    ):
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        (folder / name).symlink_to(target)
        with pytest.raises(OutputError, match=name):
            run_into(folder)
    assert original.read_text() == "mine"


def test_an_input_is_never_replaced_or_taken_away(tmp_path):
    run_into(tmp_path / "run", names=(*NAMES, "study/slice.dcm", "prompts.json"))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "run")
    for path in ("run/mask.nii.gz", "run/prompts.json", "run/study", "link/mask.nii.gz"):
        with pytest.raises(OutputError, match="would replace inputs"):
            run_into(tmp_path / "run", inputs=[tmp_path / path])
    assert (tmp_path / "run" / "prompts.json").read_text() == "first"


def test_results_do_not_go_into_the_study(tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ct")
    for place in ("ct", "ct/deep/out", "link/out", "link"):
        with pytest.raises(OutputError, match="outside"):
            run_into(tmp_path / place, inputs=[tmp_path / "ct"])
    assert os.listdir(tmp_path / "ct") == []


def test_a_run_killed_in_the_middle_can_be_repeated_into_the_same_folder(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from medsam_planner.io.output_folder import OutputFolder\n"
        "from prompts.whole_file import whole_file, write_whole\n"
        f"out = OutputFolder(Path({str(tmp_path)!r}), {NAMES!r})\n"
        "write_whole(out / 'mask.nii.gz', 'half a run')\n"
        "with whole_file(out / 'result.json') as stream:\n"
        "    stream.write(b'{'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -9
    assert not (tmp_path / "result.json").exists()
    run_into(tmp_path)
    assert files(tmp_path) == sorted([RECORD, *NAMES])


def test_two_runs_at_once_do_not_mix(tmp_path):
    with OutputFolder(tmp_path, NAMES) as out:
        write_whole(out / "mask.nii.gz", "first")
        with pytest.raises(OutputError, match="Another run is writing"):
            run_into(tmp_path, "second")
    run_into(tmp_path, "third")


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    write_whole(tmp_path / "file", "mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/dev/full", "/dev/null", "/proc/nothing"):
        with pytest.raises(OutputError, match="Results cannot be written to"):
            open_run_folder(type(tmp_path)(place))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"kind": "medsam-planner files", "files": {"../victim": null}}']
)
def test_a_list_of_results_that_is_none_of_ours_is_not_believed(tmp_path, content):
    write_whole(tmp_path / "victim", "mine")
    write_whole(tmp_path / "out" / RECORD, content)
    with pytest.raises(OutputError, match="Name another folder"):
        run_into(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "mine"


def test_the_list_of_results_has_their_checksums(tmp_path):
    run_into(tmp_path, written=["result.json"])
    assert json.loads((tmp_path / RECORD).read_text())["files"] == {
        "result.json": "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"  # sha256sum of "first"
    }


def test_numbers_that_json_cannot_hold_are_named_and_nothing_is_written(tmp_path):
    write_json(tmp_path / "plan.json", {"clearance_mm": 1.5})
    for value in (float("nan"), float("inf")):
        with pytest.raises(NotFiniteError, match=r"plan\.json: alternatives\[1\]\.clearance_mm is (nan|inf)"):
            write_json(tmp_path / "plan.json", {"alternatives": [{}, {"clearance_mm": value}]})
    assert json.loads((tmp_path / "plan.json").read_text()) == {"clearance_mm": 1.5}
