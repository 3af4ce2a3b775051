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
    Saliency,
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
    saliency: Saliency = False,
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
    from medsam_planner.cli.console import tell_notes, tell_plan, tell_reading, watched
    from medsam_planner.errors import MedsamPlannerError
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.mesh.open3d_mesh import require_open3d
    from medsam_planner.pipeline import (
        ReadingOptions,
        SegmentationOptions,
        check_options,
        prompted_logs,
        segment_prompt_file,
        write_segmented_objects,
    )
    from medsam_planner.plan_inputs import case_files, check_case, check_case_in
    from medsam_planner.plan_review import review_segmented_case
    from medsam_planner.planning.case import read_case
    from medsam_planner.run_folder import PLAN_NAMES, segmentation_names
    from prompts import read_prompt_file

    options = SegmentationOptions(
        model=model, samples=samples, uncertainty=uncertainty, saliency=saliency, window=window, seed=seed
    )
    reading = ReadingOptions(
        series=series,
        resample_tilt=resample_tilt,
        modality=modality,
        clip_outliers=clip_outliers,
        correct_bias_field=correct_bias_field,
    )
    check_options(options)
    require_open3d()
    structures = [log.structure for log in prompted_logs(read_prompt_file(prompts), prompts)[0]]
    check_case(case, structures)
    asked = read_case(case)
    inputs = [study, prompts, Path(model), *case_files(case, asked)]
    names = [*segmentation_names(structures), *PLAN_NAMES]
    with watched() as progress, OutputFolder(out, names, inputs=inputs) as folder:
        segmented = segment_prompt_file(
            study,
            prompts,
            folder,
            options,
            reading=reading,
            check=lambda volume: check_case_in(volume, asked, structures),
            progress=progress,
        )
        try:
            reviewed = review_segmented_case(case, segmented, folder, why_here=why_here, progress=progress)
        except MedsamPlannerError:  # the masks are there all the same
            write_segmented_objects(folder, segmented)
            raise
        notes = write_segmented_objects(folder, segmented)
    tell_reading(segmented.study)
    tell_notes(notes)
    raise typer.Exit(tell_plan(reviewed))
