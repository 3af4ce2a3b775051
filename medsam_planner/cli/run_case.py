"""``medsam-planner run STUDY PROMPTS.json CASE.toml --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import (
    ClipOutliers,
    CorrectBiasField,
    Modality,
    Model,
    Out,
    ResampleTilt,
    Samples,
    Seed,
    Series,
    Uncertainty,
    Window,
)

__all__ = ["run_case"]


def run_case(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    prompts: Annotated[Path, typer.Argument(help="Prompt file (JSON).")],
    case: Annotated[Path, typer.Argument(help="Case file (TOML); structures without a mask come from the prompts.")],
    out: Out,
    model: Model = "compact",
    samples: Samples = 16,
    uncertainty: Uncertainty = "dropout",
    window: Window = None,
    seed: Seed = 0,
    series: Series = None,
    resample_tilt: ResampleTilt = False,
    modality: Modality = None,
    clip_outliers: ClipOutliers = False,
    correct_bias_field: CorrectBiasField = False,
    why_here: Annotated[
        bool, typer.Option("--why-here", help="Explain the surface at the tightest place (Grad-CAM, KernelSHAP); slow.")
    ] = False,
) -> None:
    """From a study to a reviewed plan: segment the prompted structures, plan past them, write the report."""
    from medsam_planner.cli.console import tell_notes, tell_plan, watched
    from medsam_planner.pipeline import ReadingOptions, SegmentationOptions, segment_prompt_file
    from medsam_planner.plan_review import check_case, review_segmented_case
    from prompts import read_prompt_file

    options = SegmentationOptions(model=model, samples=samples, uncertainty=uncertainty, window=window, seed=seed)
    reading = ReadingOptions(
        series=series,
        resample_tilt=resample_tilt,
        modality=modality,
        clip_outliers=clip_outliers,
        correct_bias_field=correct_bias_field,
    )
    check_case(case, [log.structure for log in read_prompt_file(prompts).logs])
    with watched() as progress:
        segmented = segment_prompt_file(study, prompts, out, options, reading=reading, progress=progress)
        reviewed = review_segmented_case(case, segmented, out, why_here=why_here, progress=progress)
    tell_notes(segmented.study)
    raise typer.Exit(tell_plan(reviewed))
