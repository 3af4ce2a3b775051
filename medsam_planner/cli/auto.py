"""``medsam-planner auto STUDY --model FILE.safetensors --out MASK.nii.gz``: a mask to begin from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Modality, ResampleTilt, Series, Volume

__all__ = ["auto"]


def auto(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    model: Annotated[Path, typer.Option(help="FILE.safetensors of `medsam-planner train-auto`.")],
    out: Annotated[Path, typer.Option("--out", help="MASK.nii.gz, on the study's voxels.")],
    series: Series = None,
    volume: Volume = None,
    resample_tilt: ResampleTilt = False,
    modality: Modality = None,
) -> None:
    """Segment a study without prompts: a mask to begin from, on the page or with --begin-from."""
    from medsam_planner.cli.console import say, tell_reading, watched
    from medsam_planner.workflow.automatic import write_automatic_mask
    from medsam_planner.workflow.study_reading import ReadingOptions

    reading = ReadingOptions(series=series, volume=volume, resample_tilt=resample_tilt, modality=modality)
    with watched() as progress:
        found = write_automatic_mask(study, model, out, reading, progress=progress)
    tell_reading(found.study)
    for caution in found.cautions:
        say(f"Caution: {caution}")
    say(f"{found.label}: {found.volume_ml:.2f} ml, by a network alone. Nobody has looked at it: check every slice.")
    say(f"Mask: {out} (correct it with `medsam-planner segment {study} PROMPTS.json --begin-from {out} --out DIR`)")
