"""``medsam-planner register FIXED MOVING --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import CorrectBiasField, Out

__all__ = ["register"]


def register(
    fixed: Annotated[
        Path, typer.Argument(help="The series that keeps its place: DICOM folder, zip or file, or NIfTI.")
    ],
    moving: Annotated[Path, typer.Argument(help="The series that is brought onto it.")],
    out: Out,
    fixed_series: Annotated[str | None, typer.Option(help="Series of FIXED, as --series elsewhere.")] = None,
    moving_series: Annotated[str | None, typer.Option(help="Series of MOVING.")] = None,
    fixed_landmarks: Annotated[Path | None, typer.Option(help="Landmark file of FIXED.")] = None,
    moving_landmarks: Annotated[Path | None, typer.Option(help="Landmark file of MOVING.")] = None,
    by_landmarks: Annotated[
        bool, typer.Option("--by-landmarks", help="Register by the landmarks instead of the images.")
    ] = False,
    ignore_frame: Annotated[
        bool, typer.Option("--ignore-frame", help="Search although both state one frame of reference.")
    ] = False,
    different_patients: Annotated[
        bool, typer.Option("--different-patients", help="Register series of different patients.")
    ] = False,
    max_rotation_deg: Annotated[float, typer.Option(help="Refuse a larger rotation.", min=0, max=180)] = 60.0,
    max_translation_mm: Annotated[float, typer.Option(help="Refuse a larger translation.", min=0)] = 300.0,
    correct_bias_field: CorrectBiasField = False,
) -> None:
    """Register two series of one patient rigidly, and write transform.json and checkerboard.png.

    A result that is not plausible is refused with exit code 2, and nothing is written. Look at the checkerboard before
    anything is moved.
    """
    from medsam_planner.cli.console import say, tell_notes, watched
    from medsam_planner.registration.gate import GateLimits
    from medsam_planner.workflow.register import RegisterRequest, write_registration
    from medsam_planner.workflow.study_reading import ReadingOptions

    request = RegisterRequest(
        fixed,
        moving,
        ReadingOptions(series=fixed_series),
        ReadingOptions(series=moving_series),
        fixed_landmarks,
        moving_landmarks,
        by_landmarks=by_landmarks,
        ignore_frame=ignore_frame,
        different_patients=different_patients,
        corrects_bias_field=correct_bias_field,
        limits=GateLimits(max_rotation_deg=max_rotation_deg, max_translation_mm=max_translation_mm),
    )
    with watched() as progress:
        written = write_registration(request, out, progress=progress)
    found = written.found
    say(f"Registered by {found.method}: rotation {found.transform.rotation_deg:.2f}°.")
    if found.error is not None:
        at = found.error.rms_mm(found.error.centre_lps_mm)
        say(f"Estimated error {float(at):.2f} mm (root mean square) at the centre; it grows outwards.")
    if found.evidence is not None:
        told = found.evidence
        say(
            f"Overlap {told.overlap:.0%}; {told.agreeing_starts} of {told.starts} starts agree, within "
            f"{told.spread_mm:.2f} mm."
        )
    for name, error_mm in written.landmark_error_mm.items():
        say(f"Landmark {name}: {error_mm:.1f} mm off.")
    tell_notes((*found.notes, *written.notes))
    say(f"Transform: {written.path}")
