"""Set landmarks of a study in a file."""

from __future__ import annotations

from pathlib import Path

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import index_from_lps, within_grid
from medsam_planner.io import load_volume
from medsam_planner.io.mask_reading import load_mask, object_notes
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, read_landmarks, write_landmarks
from medsam_planner.landmarks.refine import refined_on_image, refined_on_mask
from medsam_planner.volumes import volume_sha256

__all__ = ["set_landmark"]

_BRIGHTNESS = ("brightest", "darkest")


def set_landmark(
    file: Path,
    name: str,
    position_lps_mm: tuple[float, float, float],
    study_path: Path,
    *,
    mask: Path | None = None,
    towards: str | None = None,
    within_mm: float = 5.0,
) -> Landmark:
    """Set one landmark in a file, which is created when absent.

    Parameters
    ----------
    file, name, position_lps_mm
        Where the landmark stands, what it is called, and where it was clicked.
    study_path : Path
    mask : Path, optional
        As :func:`medsam_planner.io.mask_reading.load_mask` reads it.
    towards : str, optional
        Direction of the extremum of the mask, or ``"brightest"`` or ``"darkest"``; None leaves the click.
    within_mm : float
        Radius of the refinement.

    Raises
    ------
    ConfigError
        If the file is of another study, the click lies outside it, or there is no extremum.
    """
    if not name.strip():
        raise ConfigError("Expected a name of the landmark, got an empty one.")
    if (mask is not None) != (towards is not None and towards not in _BRIGHTNESS):
        raise ConfigError(
            "Expected a mask together with a direction of it, or neither (brightest and darkest need none)."
        )
    study = load_volume(study_path)
    if not within_grid(index_from_lps(study.affine, position_lps_mm), study.spatial_shape):
        raise ConfigError(f"Expected '{name}' inside the study, got {position_lps_mm} LPS mm. Check the signs (LPS).")
    known = read_landmarks(file) if file.exists() else Landmarks(image_sha256=volume_sha256(study))
    known.require_of(study, str(file))
    if towards is None:
        point = Landmark(position_lps_mm)
    elif mask is None:
        point = refined_on_image(position_lps_mm, study, within_mm, brightest=towards == _BRIGHTNESS[0])
    else:
        given = load_mask(mask, study)
        if notes := object_notes(given):
            raise ConfigError(f"Expected a mask of which everything is known, got {mask} with this note: {notes[0]}")
        point = refined_on_mask(position_lps_mm, given, towards, within_mm)
    write_landmarks(file, Landmarks({**known.points, name: point}, known.image_sha256))
    return point
