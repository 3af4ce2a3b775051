"""What the reader of a study is shown of a case: only what the mode allows, and nothing that names case or patient."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.outlines import outline_path
from medsam_planner.drawing.palette import colour_of
from medsam_planner.drawing.pictures import ColourScale, grey_uri, overlay_uri
from medsam_planner.errors import ConfigError
from medsam_planner.reading.design import Slot
from medsam_planner.reading.planned_paths import planned_paths
from medsam_planner.reading.study_file import ReadingCase
from medsam_planner.service.display import Plane, SliceDisplay, display_for, display_windows
from medsam_planner.volumes import StudyVolume

__all__ = ["OpenedCase", "OpenedCases", "require_shown", "shown_case", "shown_slice"]

_KEPT = 2
_UNCERTAINTY = ColourScale("magma", 0.0, 1.0, "")


@dataclass(frozen=True, slots=True, eq=False)
class OpenedCase:
    """A case in memory."""

    image: highdicom.Volume
    displays: Mapping[Plane, SliceDisplay]
    windows: Mapping[str, Mapping[str, float]]
    masks: Mapping[str, NDArray[np.bool_]]
    uncertainty: NDArray[np.float32] | None
    line_lps_mm: NDArray[np.float64] | None
    """(2, 3) entry and target of the plan's first path."""


class OpenedCases:
    """The last cases, each read once; threads may ask for them at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, OpenedCase] = OrderedDict()

    def of(self, case: ReadingCase) -> OpenedCase:
        """A case, read if it is not there.

        Raises
        ------
        StudyError, PlanningError
            If a file cannot be read.
        ConfigError
            If a mask or map does not lie on the grid of the image.
        """
        with self._lock:
            found = self._opened.get(case.name) or _open(case)
            self._opened[case.name] = found
            self._opened.move_to_end(case.name)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
            return found


def require_shown(cases: tuple[ReadingCase, ...]) -> None:
    """Read every case once before readers come, and refuse the study if one cannot be shown.

    Raises
    ------
    StudyError, PlanningError, ConfigError
        As :meth:`OpenedCases.of`.
    """
    for case in cases:
        _open(case)


def shown_case(slot: Slot, case: OpenedCase, changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page needs to show a slot, as plain JSON values."""
    document: dict[str, Any] = {
        "number": slot.number,
        "windows": case.windows,
        "planes": {plane.value: display.document for plane, display in case.displays.items()},
        "structures": [],
        "has_uncertainty": slot.mode == "uncertainty",
        "line": None,
        "changes": list(changes),
    }
    if slot.mode != "unaided":
        document["structures"] = [{"name": name, "colour": colour_of(number)} for number, name in enumerate(case.masks)]
        if case.line_lps_mm is not None:
            line = _changed_line(case.line_lps_mm, changes)
            document["line"] = {
                plane.value: display.screen_from_lps(line).round(2).tolist() for plane, display in case.displays.items()
            }
    return document


def shown_slice(slot: Slot, case: OpenedCase, plane: Plane, index: int, window: tuple[float, float]) -> dict[str, Any]:
    """One slice as pictures: grey values, and what the mode shows over them.

    Parameters
    ----------
    slot : Slot
    case : OpenedCase
    plane : Plane
    index : int
        The nearest slice is shown where there is none of that number.
    window : (2,) float
        Lowest and highest grey value.
    """
    display = case.displays[plane]
    index = display.within(index)
    grey = display.picture(np.asarray(case.image.array), index).astype(np.float32)
    document: dict[str, Any] = {"index": index, "grey": grey_uri(grey, window), "outlines": [], "uncertainty": None}
    if slot.mode == "unaided":
        return document
    for number, mask in enumerate(case.masks.values()):
        path = outline_path(np.pad(display.picture(mask, index).astype(np.float32), 1), 0.5)
        if path:
            document["outlines"].append({"path": path, "colour": colour_of(number)})
    if slot.mode == "uncertainty" and case.uncertainty is not None:
        document["uncertainty"] = overlay_uri(display.picture(case.uncertainty, index), _UNCERTAINTY)
    return document


def _changed_line(line_lps_mm: NDArray[np.float64], changes: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """The plan's line (2, 3) after the changes of a reader."""
    line = line_lps_mm.copy()
    for change in changes:
        if change["kind"] in ("entry", "target"):
            line[0 if change["kind"] == "entry" else 1] = change["to_lps_mm"]
    return line


def _open(case: ReadingCase) -> OpenedCase:
    from medsam_planner.io import load_volume
    from medsam_planner.io.intensity import normalisation_for
    from medsam_planner.io.loading import load_map

    image = load_volume(case.image)
    masks = {name: _known_mask(case, name, path, image) for name, path in case.masks.items()}
    uncertainty = None
    if case.uncertainty is not None:
        uncertainty = np.asarray(_on_grid(case, "uncertainty", load_map(case.uncertainty), image), dtype=np.float32)
        if not (np.isfinite(uncertainty).all() and uncertainty.min() >= 0 and uncertainty.max() <= 1):
            raise ConfigError(f"Case {case.name}: expected an uncertainty from 0 to 1. Scale the map.")
    line = None
    if case.plan is not None:
        line = next(lines[0] for lines in planned_paths(case.plan / "plan.json").values() if lines)
    return OpenedCase(
        image=image,
        displays={plane: display_for(image, plane) for plane in Plane},
        windows=display_windows(image, normalisation_for(image, None, "full")),
        masks={name: np.asarray(mask) > 0 for name, mask in masks.items()},
        uncertainty=uncertainty,
        line_lps_mm=line,
    )


def _known_mask(case: ReadingCase, name: str, path: Path, image: StudyVolume) -> NDArray[Any]:
    from medsam_planner.io.mask_reading import load_mask, object_notes

    mask = load_mask(path, image, name=name)
    if notes := object_notes(mask):
        raise ConfigError(
            f"Case {case.name}: expected a mask of {name} of which everything is known: {notes[0]} Mend it, or save it "
            "as NIfTI."
        )
    return _on_grid(case, name, mask, image)


def _on_grid(case: ReadingCase, name: str, volume: highdicom.Volume, image: highdicom.Volume) -> NDArray[Any]:
    from medsam_planner.io.conservative_resampling import is_on_grid

    if not is_on_grid(volume, image):
        raise ConfigError(
            f"Case {case.name}: expected {name} on the grid of the image, {image.spatial_shape}, got "
            f"{volume.spatial_shape} or another affine. Resample it."
        )
    return np.asarray(volume.array)
