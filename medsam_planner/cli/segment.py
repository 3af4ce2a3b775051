"""``medsam-planner segment STUDY PROMPTS.json --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import (
    BeginFrom,
    ClipOutliers,
    CorrectBiasField,
    Engine,
    Modality,
    Model,
    Out,
    Paths,
    ResampleTilt,
    RtStruct,
    Saliency,
    Samples,
    Seed,
    SegEncoding,
    Series,
    Triplanar,
    Uncertainty,
    Volume,
    Window,
)

__all__ = ["segment"]


def segment(
    context: typer.Context,
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    prompts: Annotated[Path, typer.Argument(help="Prompt file (JSON).")],
    out: Out,
    model: Model = "compact",
    engine: Engine = "auto",
    samples: Samples = 16,
    uncertainty: Uncertainty = "dropout",
    saliency: Saliency = False,
    triplanar: Triplanar = False,
    window: Window = None,
    seed: Seed = 0,
    series: Series = None,
    volume: Volume = None,
    resample_tilt: ResampleTilt = False,
    modality: Modality = None,
    clip_outliers: ClipOutliers = False,
    correct_bias_field: CorrectBiasField = False,
    seg_encoding: SegEncoding = "auto",
    rtstruct: RtStruct = False,
    paths: Paths = False,
    begin_from: BeginFrom = None,
) -> None:
    """Segment the structures of a prompt file and write masks, maps, meshes and the prompt file."""
    from medsam_planner.cli.console import say, tell_notes, tell_reading, watched
    from medsam_planner.cli.segmentation_options import output_options, segmentation_job
    from medsam_planner.geometry import volume_ml
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.workflow.run_folder import segmentation_names
    from medsam_planner.workflow.segment import write_segmented_objects

    job, options = segmentation_job(context.params), output_options(seg_encoding, rtstruct=rtstruct, paths=paths)
    with watched() as progress, OutputFolder(out, segmentation_names(job.structures), inputs=job.inputs) as folder:
        segmented = job.segment(job.read_study(progress), folder, progress, options)
        notes = write_segmented_objects(folder, segmented, options)
    tell_reading(segmented.study)
    for structure, result in segmented.results.items():
        say(f"{structure}: {volume_ml(result.mask.array, result.mask.affine):.2f} ml")
        if not result.mask.array.any():
            say(f"  The model found nothing where '{structure}' was prompted. Add a box on its middle slice.")
    tell_notes(notes)
    say(f"Results: {out}")
