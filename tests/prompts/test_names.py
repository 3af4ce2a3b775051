"""A structure's name can name a file on any disk, and no two structures share one."""

from __future__ import annotations

import pytest

from prompts import PromptError, PromptFile, PromptLog
from prompts.names import require_different, require_free, require_name


@pytest.mark.parametrize(
    "name", ["left kidney", "Leber (Segment 4)", "肝臓", "état", "v1.2", "-x", "console", "com", "Mask"]
)
def test_ordinary_names_are_taken(name):
    assert require_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "prompts.json",
        "Prompts.JSON",
        "meshes",
        "mask.nii.gz",
        "plan.dcm",
        "uncertainty_liver.DCM",
        "files.json",
    ],
)
def test_names_of_a_runs_own_files_are_refused_in_any_capitals(name):
    with pytest.raises(PromptError, match="a run has a file of that name"):
        PromptLog(name)


@pytest.mark.parametrize("name", ["CON", "nul", "aux.organ", "COM1", "lpt9.x", "com¹", "NUL .x"])
def test_names_that_windows_keeps_for_devices_are_refused(name):
    with pytest.raises(PromptError, match="device"):
        PromptLog(name)


@pytest.mark.parametrize(
    "name", ["", " a", "a ", ".", "..", ".a", "a.", "a/b", "a\\b", "a:b", "a\nb", "a\u200bb", "x" * 65]
)
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(PromptError, match="can also name a file"):
        PromptLog(name)


@pytest.mark.parametrize("name", ["skin", "Skin", "unsegmented_bone", "UNSEGMENTED_BONE"])
def test_names_of_what_a_plan_finds_by_itself_are_not_free(name):
    with pytest.raises(PromptError, match="finds in the image"):
        require_free(name)
    assert require_free(f"{name} 2") == f"{name} 2"


def test_a_name_too_long_in_bytes_is_refused():
    with pytest.raises(PromptError, match="bytes in UTF-8"):
        PromptLog("𠮷" * 64)


@pytest.mark.parametrize("pair", [("Organ", "organ"), ("\u00e9tat", "e\u0301tat"), ("STRASSE", "straße")])
def test_names_that_a_disk_takes_for_one_are_refused_together(pair):
    with pytest.raises(PromptError, match="capitals"):
        PromptFile(tuple(PromptLog(name) for name in pair))
    require_different([pair[0], pair[0], "another"])
