"""``medsam-planner segment STUDY PROMPTS.json --out DIR``."""

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

__all__ = ["segment"]


def segment(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    prompts: Annotated[Path, typer.Argument(help="Prompt file (JSON).")],
    out: Out,
    model: Model = "compact",
    samples: Samples = 16,
    uncertainty: Uncertainty = "dropout",
    saliency: Saliency = False,
    triplanar: Annotated[bool, typer.Option(help="Add passes across the other two planes.")] = False,
    window: Window = None,
    seed: Seed = 0,
    series: Series = None,
    resample_tilt: ResampleTilt = False,
    modality: Modality = None,
    clip_outliers: ClipOutliers = False,
    correct_bias_field: CorrectBiasField = False,
) -> None:
    """Segment the structures of a prompt file and write masks, maps, meshes and the log."""
    from medsam_planner.cli.console import say, tell_notes, tell_reading, watched
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.workflow.run_folder import segmentation_names
    from medsam_planner.workflow.segment import (
        SegmentationOptions,
        check_options,
        prompted_logs,
        segment_prompt_file,
        write_segmented_objects,
    )
    from medsam_planner.workflow.study_reading import ReadingOptions
    from prompts import read_prompt_file

    options = SegmentationOptions(
        model=model,
        samples=samples,
        uncertainty=uncertainty,
        saliency=saliency,
        triplanar=triplanar,
        window=window,
        seed=seed,
    )
    reading = ReadingOptions(
        series=series,
        resample_tilt=resample_tilt,
        modality=modality,
        clip_outliers=clip_outliers,
        correct_bias_field=correct_bias_field,
    )
    check_options(options)
    logs, _ = prompted_logs(read_prompt_file(prompts), prompts)
    names = segmentation_names([log.structure for log in logs])
    with watched() as progress, OutputFolder(out, names, inputs=[study, prompts, Path(model)]) as folder:
        segmented = segment_prompt_file(study, prompts, folder, options, reading=reading, progress=progress)
        notes = write_segmented_objects(folder, segmented)
    tell_reading(segmented.study)
    for structure, result in segmented.results.items():
        volume_ml = float(result.mask.array.sum()) * segmented.study.voxel_volume / 1000.0
        say(f"{structure}: {volume_ml:.2f} ml")
        if not result.mask.array.any():
            say(f"  The model found nothing where '{structure}' was prompted. Add a box on its middle slice.")
    tell_notes(notes)
    say(f"Results: {out}")
