"""``medsam-planner deidentify IN --out OUT --key-file K``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Workers

__all__ = ["deidentify"]

_MOST_NAMED = 20


class ProfileName(StrEnum):
    """Profiles of PS3.15 that there are."""

    BASIC = "basic"


def deidentify(
    place: Annotated[Path, typer.Argument(metavar="IN", help="Folder of DICOM files, or one file; it is not changed.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results, outside IN.")],
    key_file: Annotated[
        Path,
        typer.Option("--key-file", help="File with the secret key of all pseudonyms; made when absent. Keep it apart."),
    ],
    profile: Annotated[ProfileName, typer.Option(help="Profile of PS3.15.")] = ProfileName.BASIC,
    keep_dates: Annotated[bool, typer.Option("--keep-dates", help="Keep dates and times.")] = False,
    shift_dates: Annotated[
        bool, typer.Option("--shift-dates", help="Move all dates of a patient back by the same secret number of days.")
    ] = False,
    keep_descriptors: Annotated[
        bool,
        typer.Option("--keep-descriptors", help="Keep descriptions, cut down to words of DICOM's own vocabulary."),
    ] = False,
    mask_region: Annotated[
        list[str] | None,
        typer.Option(
            help="LEFT,TOP,WIDTH,HEIGHT in pixels: black this out in images with text in their pixels, which are "
            "refused without; may be repeated."
        ),
    ] = None,
    workers: Workers = 1,
) -> None:
    """De-identify DICOM files after PS3.15; a repeated call resumes. Exit code 2 if a file had to be refused."""
    from medsam_planner.cli.console import say, tell_notes, watched
    from medsam_planner.deidentification import Dates, Profile, Pseudonyms, Region
    from medsam_planner.deidentification import deidentify as deidentify_folder
    from medsam_planner.errors import ConfigError, OutputError, StudyError, require_extra

    require_extra("deid", "`medsam-planner deidentify`")
    if keep_dates and shift_dates:
        raise ConfigError("Expected --keep-dates or --shift-dates, got both. Leave one out.")
    if out.resolve() in key_file.resolve().parents:
        raise OutputError(f"Expected a key file outside the results, got {key_file}: it would be passed on with them.")
    if place.resolve() in key_file.resolve().parents:
        raise OutputError(
            f"Expected a key file outside {place}, got {key_file}: nothing is written there. Keep it apart."
        )
    if not place.exists():
        raise StudyError(f"Expected a folder or a DICOM file to de-identify; {place} does not exist.")
    dates = Dates.KEEP if keep_dates else Dates.SHIFT if shift_dates else Dates.REMOVE
    asked = Profile(dates, keep_descriptors, tuple(Region.from_text(text) for text in mask_region or ()))
    pseudonyms = Pseudonyms.from_file(key_file)
    with watched() as progress:
        done = deidentify_folder(place, out, asked, pseudonyms, workers=workers, progress=progress)
    for name, reason in done.refused[:_MOST_NAMED]:
        say(f"Refused: {name}: {reason}.".encode("utf-8", "backslashreplace").decode())
    if len(done.refused) > _MOST_NAMED:
        say(f"Refused: {len(done.refused) - _MOST_NAMED} more.")
    tell_notes(done.warnings)
    say(", ".join(f"{count} {state}" for state, count in done.counts.items()) + f": {out}")
    if done.refused:
        raise StudyError(
            f"{len(done.refused)} files were refused and not written; all others are complete. Black out text in "
            "pixels with --mask-region LEFT,TOP,WIDTH,HEIGHT (into a new folder), or leave these files out."
        )
