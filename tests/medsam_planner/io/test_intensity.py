"""Windows, percentiles, and who decides which."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io.intensity import CT_WINDOWS, Normalisation, Window, normalisation_for
from medsam_planner.volumes import StudySource, StudyVolume


def _study(array: NDArray[np.float32], modality: str) -> StudyVolume:
    volume = highdicom.Volume(array, np.eye(4), "PATIENT")
    return StudyVolume.from_volume(volume, StudySource(Path("x"), "dicom", modality))


_CT = _study(np.linspace(-1000, 1000, 60, dtype=np.float32).reshape(3, 4, 5), "CT")
_MR = _study(np.arange(1001, dtype=np.float32).reshape(7, 11, 13), "MR")


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("soft-tissue", -160, 240),
        ("lung", -1350, 150),
        ("brain", 0, 80),
        ("bone", -770, 1730),
        ("full", -1024, 3071),
    ],
)
def test_presets_are_the_radiologists_ones(name: str, low: float, high: float) -> None:
    assert (CT_WINDOWS[name].low, CT_WINDOWS[name].high) == (low, high)
    normalisation = normalisation_for(_CT, None, name)
    assert (normalisation.low, normalisation.high, normalisation.rule) == (low, high, f"window {name}")


def test_window_spreads_its_values_over_zero_to_one() -> None:
    values = np.array([-2000, -160, -60, 40, 240, 3000], dtype=np.int16)
    mapped = normalisation_for(_CT, "soft-tissue", "bone").apply(values)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, [0, 0, 0.25, 0.5, 1, 1])
    assert values[0] == -2000  # the input is left alone


def test_mr_is_scaled_by_its_positive_voxels_whatever_the_default_window() -> None:
    normalisation = normalisation_for(_MR, None, "lung")  # voxels > 0 are 1 … 1000
    assert normalisation.low == pytest.approx(1 + 0.005 * 999)
    assert normalisation.high == pytest.approx(1 + 0.995 * 999)
    assert "percentiles 0.5, 99.5" in normalisation.rule


@pytest.mark.parametrize("window", [(100.0, 50.0), "100, 50", "(100.0, 50.0)"])
@pytest.mark.parametrize("study", [_CT, _MR], ids=["CT", "MR"])
def test_a_window_given_as_numbers_wins(window: str | tuple[float, float], study: StudyVolume) -> None:
    assert normalisation_for(study, window, "lung") == Normalisation(75.0, 125.0, "window 100, 50")


def test_a_volume_without_a_source_is_judged_by_its_values() -> None:
    plain = highdicom.Volume(_CT.array, np.eye(4), "PATIENT")
    assert normalisation_for(plain, None, "brain").rule == "window brain"


def test_recorded_form_rebuilds_the_same_normalisation() -> None:
    normalisation = normalisation_for(_MR, None, "brain")
    assert Normalisation(**dataclasses.asdict(normalisation)) == normalisation
    assert normalisation.key() != dataclasses.replace(normalisation, high=normalisation.high + 1e-9).key()


@pytest.mark.parametrize(
    ("study", "window", "words"),
    [
        (_CT, "softtissue", "soft-tissue, lung, brain, bone, full"),
        (_CT, "40, wide", "got '40, wide'"),
        (_CT, (40.0, 0.0), "positive width"),
        (_CT, (np.nan, 100.0), "finite centre"),
        (_MR, "soft-tissue", "this study is MR"),
        (_study(np.zeros((3, 3, 3), np.float32), "MR"), None, "found none"),
        (_study(np.full((3, 3, 3), 5, np.float32), "MR"), None, "no contrast"),
    ],
)
def test_windows_that_cannot_be_meant_are_refused(
    study: StudyVolume, window: str | tuple[float, float] | None, words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        normalisation_for(study, window, "soft-tissue")


def test_width_must_be_positive_wherever_a_window_is_made() -> None:
    with pytest.raises(StudyError):
        Window(40.0, -1.0)
