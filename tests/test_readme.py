"""The Python of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.engine.registry import load_model
from medsam_planner.errors import WeightsError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io.dicom_writer import write_ct_series

README = Path(__file__).parent.parent / "README.md"
ORGAN_LPS_MM = np.array([29.0, -24.0, 52.0])
RADII_MM = np.array([18.0, 15.0, 7.0])
"""Just inside the box that the README draws at S 52; its negative click lies at the organ's upper end, at S 60."""


def organ_on(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """An ellipsoid on a grid to LPS mm."""
    places = lps_from_index(affine, np.moveaxis(np.indices(shape), 0, -1))
    inside: NDArray[np.bool_] = (((places - ORGAN_LPS_MM) / RADII_MM) ** 2).sum(-1) < 1
    return inside


def test_the_lines_of_the_readme_segment_a_study_and_plan_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        load_model("compact")
    except WeightsError as error:
        pytest.skip(f"needs weights: {error}")
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1]
    affine[:3, 0] *= 2.0
    affine[:3, 3] = (-12.0, -66.0, 32.0)
    shape = (20, 84, 84)
    organ = organ_on(affine, shape)
    places = lps_from_index(affine, np.moveaxis(np.indices(shape), 0, -1))
    is_body = np.hypot(places[..., 0] - 30, places[..., 1] + 24) < 39
    noise = np.random.default_rng(0).normal(0, 8, shape)
    hu = np.where(organ, 130.0, np.where(is_body, 10.0, -950.0)) + noise
    write_ct_series(highdicom.Volume(hu, affine, "PATIENT"), tmp_path / "ct")

    segment, plan = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(segment.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(segment, str(README), "exec"), names)
    image = nibabel.load(tmp_path / "mask.nii.gz")
    found, organ = np.asarray(image.dataobj) > 0, organ_on(np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine, image.shape)
    assert 2 * (found & organ).sum() / (found.sum() + organ.sum()) > 0.7

    exec(compile(plan, str(README), "exec"), names)
    made = names["plan"]
    assert made.feasible and "organ" in made.assessment.verdict.headline
    best = made.alternatives[0]
    entry, target = np.array(best.entry_lps_mm), np.array(best.target_lps_mm)
    assert np.hypot(entry[0] - 30, entry[1] + 24) == pytest.approx(39, abs=1.5)
    assert np.linalg.norm(target - (30, -50, 52)) <= 2.0
