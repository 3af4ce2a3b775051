"""Register two studies of one patient, and write ``transform.json`` and the checkerboard."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import highdicom

from medsam_planner.errors import RegistrationError, StudyError
from medsam_planner.io.corrections import correct_bias_field
from medsam_planner.io.files import write_whole
from medsam_planner.io.intensity import volume_modality
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.patient_identity import same_patient
from medsam_planner.landmarks.landmark_file import read_landmarks
from medsam_planner.progress import Progress
from medsam_planner.registration.by_points import landmark_errors_mm, register_points, with_landmark_error
from medsam_planner.registration.checkerboard import checkerboard_png
from medsam_planner.registration.gate import GateLimits
from medsam_planner.registration.register import Registration, register, same_frame
from medsam_planner.registration.transform_file import transform_document, write_transform
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.study_reading import PLAIN_READING, ReadingOptions, read_study
from prompts.shapes import PositionLpsMm

__all__ = ["NAMES", "RegisterRequest", "WrittenRegistration", "searched_series", "write_registration"]

NAMES = ("transform.json", "checkerboard.png")
_UNKNOWN_PATIENT = "The files do not say whether both series are of one patient. Make sure that they are."
_OTHER_PATIENTS = "The series are of different patients, as was said. Nothing moved between them is anybody's anatomy."


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """What to register, and how."""

    fixed: Path
    moving: Path
    fixed_reading: ReadingOptions = PLAIN_READING
    moving_reading: ReadingOptions = PLAIN_READING
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None
    """Files of landmarks in both series: they measure the error, or register (`by_landmarks`)."""
    by_landmarks: bool = False
    ignore_frame: bool = False
    """Search although both series state one frame of reference: the patient may have moved."""
    different_patients: bool = False
    corrects_bias_field: bool = False
    """Even out the coil shading of what is MR for the search; landmarks and hashes are those of the files."""
    limits: GateLimits = field(default_factory=GateLimits)


@dataclass(frozen=True, slots=True, eq=False)
class WrittenRegistration:
    """What was found, and where it was written."""

    found: Registration
    landmark_error_mm: dict[str, float]
    notes: tuple[str, ...]
    path: Path
    fixed: StudyVolume
    moving: StudyVolume


def write_registration(request: RegisterRequest, out: Path, *, progress: Progress | None = None) -> WrittenRegistration:
    """Register, and write ``transform.json`` and ``checkerboard.png``; nothing is written of a refused registration.

    Raises
    ------
    RegistrationError
        If the series are of different patients, or the gate refuses the result.
    ConfigError, StudyError, OutputError
        If a file is wrong, or the results cannot be written.
    """
    if (request.fixed_landmarks is None) != (request.moving_landmarks is None):
        raise RegistrationError("Expected landmarks of both series, or of neither.")
    if request.by_landmarks and request.fixed_landmarks is None:
        raise RegistrationError("Expected landmark files of both series to register by landmarks.")
    files = (request.fixed_landmarks, request.moving_landmarks)
    inputs = [request.fixed, request.moving, *(path for path in files if path is not None)]
    with OutputFolder(out, NAMES, inputs=inputs) as folder:
        fixed = read_study(request.fixed, request.fixed_reading, progress=progress)
        moving = read_study(request.moving, request.moving_reading, progress=progress)
        notes = _patient_notes(fixed, moving, allowed=request.different_patients)
        points = _positions(request.fixed_landmarks, fixed), _positions(request.moving_landmarks, moving)
        found = _found(request, fixed, moving, points, progress)
        errors = {} if request.by_landmarks else landmark_errors_mm(found.transform, *points)
        found = with_landmark_error(found, errors, points[0])
        document = transform_document(found, fixed, moving, landmark_error_mm=errors, notes=notes)
        write_transform(folder / NAMES[0], document)
        write_whole(folder / NAMES[1], checkerboard_png(fixed, moving, found.transform))
        return WrittenRegistration(found, errors, notes, out / NAMES[0], fixed, moving)


def _found(
    request: RegisterRequest,
    fixed: StudyVolume,
    moving: StudyVolume,
    points: tuple[dict[str, PositionLpsMm], dict[str, PositionLpsMm]],
    progress: Progress | None,
) -> Registration:
    if request.by_landmarks:
        return register_points(*points, limits=request.limits)
    same = None if request.ignore_frame else same_frame(fixed, moving)
    found = same or register(
        *searched_series(request, fixed, moving, progress), limits=request.limits, progress=progress
    )
    if found.error is not None:
        told = (
            "The stated error is the spread of the starts and the grid's. What misleads all starts alike, such as the "
            "distortion of an MR, is not in it; landmarks in both series measure it."
        )
        return found if request.fixed_landmarks else replace(found, notes=(*found.notes, told))
    return found


def searched_series(
    request: RegisterRequest, fixed: StudyVolume, moving: StudyVolume, progress: Progress | None
) -> tuple[highdicom.Volume, highdicom.Volume]:
    """Both series as the search sees them.

    Raises
    ------
    StudyError
        If a bias field is to be corrected, and neither is an MR, or one has negative values.
    """
    if not request.corrects_bias_field:
        return fixed, moving
    is_mr = [volume_modality(one) == "MR" for one in (fixed, moving)]
    if not any(is_mr):
        raise StudyError("Expected an MR to correct the bias field of, got two series without one. Leave it out.")
    first, second = (
        correct_bias_field(one, progress=progress) if known else one
        for one, known in zip((fixed, moving), is_mr, strict=True)
    )
    return first, second


def _positions(path: Path | None, study: StudyVolume) -> dict[str, PositionLpsMm]:
    """Landmarks of a study by name; none without a file."""
    if path is None:
        return {}
    landmarks = read_landmarks(path)
    landmarks.require_of(study, str(path))
    return landmarks.positions_lps_mm


def _patient_notes(fixed: StudyVolume, moving: StudyVolume, *, allowed: bool) -> tuple[str, ...]:
    same = same_patient(fixed, moving)
    if same is None:
        return (_UNKNOWN_PATIENT,)
    if same:
        return ()
    if not allowed:
        raise RegistrationError(
            "Expected two series of one patient, got different patient IDs or names. Check the studies; if it is "
            "meant, say --different-patients."
        )
    return (_OTHER_PATIENTS,)
