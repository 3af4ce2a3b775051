"""Other people's programs that check or read DICOM objects; a test is skipped with the reason where one is absent."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pydicom
import pytest
from highdicom._standard_utils import (
    check_required_attributes,
    get_iod_module_map,
    get_sop_class_iod_map,
)
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

__all__ = ["NEEDS_DCIODVFY", "NEEDS_DCMQI", "dciodvfy_errors", "dcmqi", "missing_attributes"]

NEEDS_DCIODVFY = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian package dicom3tools)"
)
NEEDS_DCMQI = pytest.mark.skipif(find_spec("dcmqi") is None, reason="dcmqi is not installed (pip install dcmqi)")

_ALTERNATIVES = ("functional-groups", "sr-document-content")
"""Modules whose attributes stand in one of several places, which highdicom's tables do not say."""


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors that dciodvfy finds. It reads no deflated files, so it gets the same dataset inflated."""
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = path.with_name(f"{path.name}.inflated")
        dataset.save_as(path, enforce_file_format=True)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def missing_attributes(path: Path) -> list[str]:
    """Attributes that the standard demands, by the module tables that highdicom carries, and that an object lacks."""
    dataset = pydicom.dcmread(path)
    found = []
    for module in get_iod_module_map()[get_sop_class_iod_map()[dataset.SOPClassUID]]:
        if module["usage"] == "M" and not module["key"].endswith(_ALTERNATIVES):
            try:
                check_required_attributes(dataset, module["key"], check_optional_sequences=False)
            except AttributeError as error:
                found.append(f"{module['key']}: {error}")
    return found


def dcmqi(program: str, *arguments: str) -> str:
    """Run one of dcmqi's converters, which must succeed; what it prints."""
    place = Path(str(find_spec("dcmqi").origin)).parent / "bin" / program
    place.chmod(place.stat().st_mode | 0o111)
    done = subprocess.run([str(place), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
