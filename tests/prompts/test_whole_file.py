"""Files are written whole or not at all, and never over what is no ordinary file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from prompts import OutputError
from prompts.whole_file import is_partial, whole_file, write_whole


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "answer.txt"
    with whole_file(path) as stream:
        stream.write(b"half")
        assert not path.exists()
        assert [is_partial(entry.name) for entry in path.parent.iterdir()] == [True]
    assert path.read_bytes() == b"half"
    assert [entry.name for entry in path.parent.iterdir()] == ["answer.txt"]


def test_what_was_there_stays_when_the_writer_fails(tmp_path):
    path = write_whole(tmp_path / "answer.txt", "before")
    with pytest.raises(KeyError), whole_file(path) as stream:
        stream.write(b"after")
        raise KeyError("the writer")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["answer.txt"]


def test_a_full_disk_is_told_with_the_file_and_a_remedy_and_leaves_nothing(tmp_path):
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); from prompts.whole_file import *; "
        "from prompts import OutputError\n"
        f"try: write_whole({str(tmp_path / 'large.bin')!r}, bytes(10000))\n"
        "except OutputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "large.bin" in done.stdout and "Free some space" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_place_that_may_not_be_written_is_told_as_such(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OutputError, match="Name a folder of your own"):
        write_whole(tmp_path / "answer.txt", "after")
    assert os.listdir(tmp_path) == []


def test_a_folder_a_device_and_a_protected_file_are_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    protected = write_whole(tmp_path / "protected.txt", "mine")
    protected.chmod(0o444)
    for name, told in (("folder", "is a folder"), ("pipe", "no ordinary file"), ("protected.txt", "write-protected")):
        with pytest.raises(OutputError, match=told):
            write_whole(tmp_path / name, "after")
    assert protected.read_text() == "mine"


def test_a_link_is_replaced_and_what_it_points_at_is_not(tmp_path):
    original = write_whole(tmp_path / "original.txt", "mine")
    (tmp_path / "link.txt").symlink_to(original)
    write_whole(tmp_path / "link.txt", "after")
    assert original.read_text() == "mine"


def test_a_name_as_long_as_a_disk_allows_can_be_written(tmp_path):
    assert write_whole(tmp_path / ("n" * 255), "x").read_text() == "x"
