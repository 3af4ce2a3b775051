"""Which paths a person may open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medsam_planner.errors import StudyError
from medsam_planner.service.settings import Settings


@pytest.mark.parametrize("text", ["abdomen.nii.gz", "./abdomen.nii.gz"])
def test_a_path_is_looked_for_in_the_named_folders(settings: Settings, study_path: Path, text: str) -> None:
    assert settings.allowed(text) == study_path


def test_the_study_of_the_command_line_is_found_by_name_and_nothing_beside_it(study_path: Path, tmp_path: Path) -> None:
    alone = Settings(out=tmp_path, study=study_path)
    assert alone.allowed(study_path.name) == study_path
    (study_path.parent / "neighbour.nii").write_bytes(b"")
    with pytest.raises(StudyError, match="is outside"):
        alone.allowed(str(study_path.parent / "neighbour.nii"))
    with pytest.raises(StudyError, match="no folder was allowed"):
        replace(alone, study=None).allowed(str(study_path))


@pytest.mark.parametrize(
    "text",
    ["a\0b", "x" * 5000, "~nobody-at-all/x", "/proc/self/root/etc/passwd", "../../etc/passwd", "\\\\host\\share"],
)
def test_no_odd_text_ends_in_a_traceback(settings: Settings, text: str) -> None:
    with pytest.raises(StudyError):
        settings.allowed(text)
