"""From HU or arbitrary MR units to [0, 1], by a rule that is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io.nifti import infer_modality
from medsam_planner.volumes import source_of

__all__ = ["CT_WINDOWS", "MR_PERCENTILES", "Normalisation", "Window", "normalisation_for", "volume_modality"]


@dataclass(frozen=True, slots=True)
class Window:
    """The values a display spreads from black to white, as radiologists name them."""

    centre: float
    """Also called level."""
    width: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.centre) and np.isfinite(self.width) and self.width > 0):
            raise StudyError(f"Expected a window of finite centre and positive width, got {self.centre}, {self.width}.")

    @property
    def low(self) -> float:
        """The value shown black."""
        return self.centre - self.width / 2

    @property
    def high(self) -> float:
        """The value shown white."""
        return self.centre + self.width / 2


CT_WINDOWS = {
    "soft-tissue": Window(40.0, 400.0),
    "lung": Window(-600.0, 1500.0),
    "brain": Window(40.0, 80.0),
    "bone": Window(480.0, 2500.0),
    "full": Window(1023.5, 4095.0),
}
"""In HU. ``full`` is the 12-bit range −1024 to 3071."""

MR_PERCENTILES = (0.5, 99.5)
"""Of the voxels above 0: MedSAM's own preparation of MR (doi:10.1038/s41467-024-44824-z, Methods)."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A linear map of [low, high] to [0, 1]; part of the provenance of every mask."""

    low: float
    high: float
    rule: str
    """``"window soft-tissue"``, ``"window 40, 400"`` or ``"percentiles 0.5, 99.5 of voxels > 0"``."""

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map `array` (any shape, HU or MR units) to [0, 1]; what lies outside is clipped."""
        scaled = array.astype(np.float32)  # a copy
        scaled -= np.float32(self.low)
        scaled /= np.float32(self.high - self.low)
        return np.clip(scaled, 0.0, 1.0, out=scaled)

    def key(self) -> str:
        """Text that differs whenever `apply` does, for cache keys."""
        return f"{self.low!r}:{self.high!r}"


def volume_modality(volume: highdicom.Volume) -> str:
    """``"CT"`` or ``"MR"``, from the source where there is one, else from the values."""
    source = source_of(volume)
    return infer_modality(volume.array) if source is None else source.modality


def normalisation_for(
    volume: highdicom.Volume, window: str | tuple[float, float] | None, default_window: str
) -> Normalisation:
    """The normalisation a model sees `volume` through.

    Parameters
    ----------
    window
        What the person asked for: a name of :data:`CT_WINDOWS`, (centre, width), the same as text ``"40, 400"``, or
        None for the rule of the modality.
    default_window
        Window a CT gets when none was asked for; MR gets its percentiles.

    Raises
    ------
    StudyError
        If the window is unknown, is a CT window for an MR, or the volume has no voxel above 0.
    """
    modality = volume_modality(volume)
    if window is None and modality == "CT":
        return _from_window(_named(default_window), default_window)
    if window is None:
        return _from_percentiles(volume.array)
    if isinstance(window, str) and window in CT_WINDOWS:
        if modality != "CT":
            raise StudyError(
                f"The window '{window}' is in Hounsfield units and this study is {modality}, whose values have no "
                "fixed unit. Leave the window out, or give it as centre, width in the study's own values."
            )
        return _from_window(CT_WINDOWS[window], window)
    chosen = _parsed(window) if isinstance(window, str) else Window(float(window[0]), float(window[1]))
    return _from_window(chosen, f"{chosen.centre:g}, {chosen.width:g}")


def _named(name: str) -> Window:
    if name not in CT_WINDOWS:
        raise StudyError(f"Expected a window of {', '.join(CT_WINDOWS)}, or centre, width; got '{name}'.")
    return CT_WINDOWS[name]


def _parsed(text: str) -> Window:
    try:
        centre, width = (float(part) for part in text.strip("() ").split(","))
    except ValueError:
        return _named(text)
    return Window(centre, width)


def _from_window(window: Window, name: str) -> Normalisation:
    return Normalisation(window.low, window.high, f"window {name}")


def _from_percentiles(array: NDArray[np.floating[Any]]) -> Normalisation:
    positive = array[array > 0]
    if not positive.size:
        raise StudyError("Expected voxels above 0 to scale an MR by, found none. Give a window as centre, width.")
    low, high = (float(value) for value in np.percentile(positive, MR_PERCENTILES, overwrite_input=True))
    if not low < high:
        raise StudyError(f"All voxels above 0 have the value {low:g}; there is no contrast to scale by.")
    return Normalisation(low, high, "percentiles {:g}, {:g} of voxels > 0".format(*MR_PERCENTILES))
