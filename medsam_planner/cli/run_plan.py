"""``medsam-planner run STUDY PROMPTS.json PLAN.toml --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import (
    BeginFrom,
    ClipOutliers,
    CorrectBiasField,
    Engine,
    Identified,
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

__all__ = ["run_plan"]


def run_plan(
    context: typer.Context,
    study: Annotated[Path, typer.Argument(help="DICOM folder, zip or file, or NIfTI.")],
    prompts: Annotated[Path, typer.Argument(help="Prompt file (JSON).")],
    plan_file: Annotated[
        Path, typer.Argument(help="Plan file (TOML); structures without a mask come from the prompts.")
    ],
    out: Out,
    model: Model = "compact",
    engine: Engine = "auto",
    samples: Samples = 16,
    uncertainty: Uncertainty = "dropout",
    window: Window = None,
    saliency: Saliency = False,
    triplanar: Triplanar = False,
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
    identified: Identified = None,
    begin_from: BeginFrom = None,
    why_here: Annotated[
        bool, typer.Option("--why-here", help="Explain the surface at the tightest place (Grad-CAM, KernelSHAP); slow.")
    ] = False,
) -> None:
    """Segment the prompted structures, plan trajectories, and write plan.json and the report."""
    from medsam_planner.cli.console import tell_notes, tell_plan, tell_reading, watched
    from medsam_planner.cli.segmentation_options import output_options, segmentation_job
    from medsam_planner.errors import ConfigError, MedsamPlannerError
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.io.patient_identity import with_identity
    from medsam_planner.mesh.open3d_mesh import require_open3d
    from medsam_planner.planning.plan_file import read_plan_file
    from medsam_planner.workflow.mask_files import named_files, plan_file_evidence
    from medsam_planner.workflow.plan_request import check_names, check_request
    from medsam_planner.workflow.run_folder import PLAN_NAMES, segmentation_names
    from medsam_planner.workflow.segment import write_segmented_objects
    from medsam_planner.workflow.written_plan import write_plan_from_segmentation, write_plan_objects

    job, options = segmentation_job(context.params), output_options(seg_encoding, rtstruct=rtstruct, paths=paths)
    require_open3d()
    tables = read_plan_file(plan_file)
    request = tables.request()
    if taken := sorted(tables.end_names() & set(job.structures)):
        raise ConfigError(
            f"{plan_file}: expected prompted structures with other names than {taken}, which are the names of the "
            "masks of entry and target. Rename them in the prompt file."
        )
    masks = {table.name for table in tables.structures if table.mask}
    check_names(request, {*job.structures, *masks, *tables.end_masks()})
    names = [*segmentation_names(job.structures), *PLAN_NAMES]
    inputs = [*job.inputs, *named_files(plan_file, tables)]
    with watched() as progress, OutputFolder(out, names, inputs=inputs) as folder:
        study_volume = with_identity(job.read_study(progress), identified)
        evidence = plan_file_evidence(tables, study_volume)
        checked = check_request(request, study_volume, evidence)
        segmented = job.segment(study_volume, folder, progress, options)
        try:
            written = write_plan_from_segmentation(
                tables,
                segmented,
                evidence,
                folder,
                checked=checked,
                why_here=why_here,
                with_paths=paths,
                progress=progress,
            )
        except MedsamPlannerError:  # the masks are there all the same
            write_segmented_objects(folder, segmented, options)
            raise
        notes = write_segmented_objects(folder, segmented, options)
        written = write_plan_objects(written, folder)
    tell_reading(segmented.study)
    tell_notes(notes)
    raise typer.Exit(tell_plan(written))
