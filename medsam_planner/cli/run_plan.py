"""``medsam-planner run STUDY PROMPTS.json PLAN.toml --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from medsam_planner.planning.evidence import StructureEvidence
    from medsam_planner.volumes import StudyVolume

__all__ = ["run_plan"]


def run_plan(
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    prompts: Annotated[Path, typer.Argument(help="Prompt file (JSON).")],
    plan_file: Annotated[
        Path, typer.Argument(help="Plan file (TOML); structures without a mask come from the prompts.")
    ],
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
    from medsam_planner.errors import ConfigError, MedsamPlannerError
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.mesh.open3d_mesh import require_open3d
    from medsam_planner.planning.plan_file import read_plan_file
    from medsam_planner.workflow.mask_files import named_files, plan_file_evidence
    from medsam_planner.workflow.plan_request import check_names, check_request
    from medsam_planner.workflow.review import review_segmented_plan_file
    from medsam_planner.workflow.run_folder import PLAN_NAMES, segmentation_names
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
    read = read_plan_file(plan_file)
    request = read.request()
    if taken := sorted(read.end_names() & set(structures)):
        raise ConfigError(
            f"{plan_file}: expected prompted structures with other names than {taken}, which are the names of the "
            "masks of entry and target. Rename them in the prompt file."
        )
    check_names(request, {*structures, *(table.name for table in read.structures if table.mask), *read.end_masks()})
    evidence: dict[str, StructureEvidence] = {}

    def check(volume: StudyVolume) -> None:
        evidence.update(plan_file_evidence(read, volume))
        check_request(request, volume, evidence)

    inputs = [study, prompts, Path(model), *named_files(plan_file, read)]
    names = [*segmentation_names(structures), *PLAN_NAMES]
    with watched() as progress, OutputFolder(out, names, inputs=inputs) as folder:
        segmented = segment_prompt_file(
            study, prompts, folder, options, reading=reading, check=check, progress=progress
        )
        try:
            reviewed = review_segmented_plan_file(
                read, segmented, evidence, folder, why_here=why_here, progress=progress
            )
        except MedsamPlannerError:  # the masks are there all the same
            write_segmented_objects(folder, segmented)
            raise
        notes = write_segmented_objects(folder, segmented)
    tell_reading(segmented.study)
    tell_notes(notes)
    raise typer.Exit(tell_plan(reviewed))
