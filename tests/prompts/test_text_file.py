"""Text files from any editor; what is no file of text is refused at once."""

from __future__ import annotations

import os
import socket

import pytest

from prompts.errors import PromptError
from prompts.text_file import read_text_file

TEXT = 'title = "Gefäß 肝"\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_an_encoding_with_its_mark_is_read(encoding, ending, tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(TEXT.replace("\n", ending).encode(encoding))
    assert read_text_file(path, "a case file", PromptError) == TEXT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("x\ny = Gefäß".encode("latin-1"), "line 2"),
        ("title".encode("utf-16-le"), "UTF-16 without a mark"),
        (b"\xff\xfea", "UTF-8"),
    ],
)
def test_another_encoding_is_refused_with_its_place(content, told, tmp_path):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(PromptError, match=told):
        read_text_file(tmp_path / "a.toml", "a case file", PromptError)


def test_pipes_sockets_devices_folders_and_nothing_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("pipe", "link")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("pipe", "link", "socket", "/dev/zero", "/dev/null"):
            with pytest.raises(PromptError, match="pipe, socket or device"):
                read_text_file(name, "a case file", PromptError)
    for name, told in ((".", "a folder"), ("absent", "no such file")):
        with pytest.raises(PromptError, match=told):
            read_text_file(name, "a case file", PromptError)
