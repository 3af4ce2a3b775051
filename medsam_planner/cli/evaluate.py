"""``medsam-planner evaluate CASES --protocol box|click|cvpr25|survey|slices --out DIR``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Engine, Model, Out, Triplanar

__all__ = ["evaluate"]


class ProtocolName(StrEnum):
    """The protocols, repeated here so that ``--help`` does not import the evaluation."""

    BOX = "box"
    CLICK = "click"
    CVPR25 = "cvpr25"
    SURVEY = "survey"
    SLICES = "slices"


def evaluate(
    cases: Annotated[
        Path,
        typer.Argument(
            help="Folder of cases: in each image.nii.gz (or a DICOM folder image), labels.nii.gz (or "
            "labels.dcm) and meta.json."
        ),
    ],
    protocol: Annotated[ProtocolName, typer.Option(help="How each structure is prompted and corrected.")],
    out: Out,
    model: Model = "compact",
    engine: Engine = "auto",
    against: Annotated[
        str | None, typer.Option(help="Other weights to compare with: a name or a path, as --model.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Pattern of case names; may be repeated.")] = None,
    most: Annotated[int | None, typer.Option(help="At most so many structures of a case.", min=1)] = None,
    per_group: Annotated[
        int | None,
        typer.Option(help="At most so many structures of each modality and anatomy, spread over its cases.", min=1),
    ] = None,
    corrections: Annotated[int, typer.Option(help="Clicks after the first prompt.", min=0)] = 5,
    triplanar: Triplanar = False,
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", help="Evaluate cases the weights were trained on too, in a row of their own."),
    ] = False,
    worst: Annotated[int, typer.Option(help="How many of the worst structures to picture.", min=0)] = 6,
    seed: Annotated[int, typer.Option(help="Seed of boxes and clicks.", min=0)] = 0,
) -> None:
    """Measure weights on cases with reference masks that they were not trained on; a repeated call resumes."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.io.output_folder import open_run_folder, require_apart
    from medsam_planner.lab.evaluation.case_choice import EvaluationOptions
    from medsam_planner.lab.evaluation.protocols import Protocol
    from medsam_planner.lab.evaluation.run import evaluate as evaluate_volumes
    from medsam_planner.lab.evaluation.slice_run import evaluate_slices
    from medsam_planner.lab.evaluation.summary import summary_text

    require_apart(out, [cases])
    open_run_folder(out)
    options = EvaluationOptions(
        protocol=Protocol(protocol.value),
        model=model,
        engine=engine,
        against=against,
        corrections=corrections,
        triplanar=triplanar,
        include_trained_on=include_seen,
        only=tuple(only or ()),
        most=most,
        per_group=per_group,
        seed=seed,
        worst=worst,
    )
    if options.protocol is Protocol.SLICES:
        with watched() as progress:
            table, cautions = evaluate_slices(cases, out, options, progress=progress)
        for line in (*cautions, table, f"Scores: {out / 'evaluation.json'}"):
            say(line)
        return
    with watched() as progress:
        evaluated = evaluate_volumes(cases, out, options, progress=progress)
    for line in (*evaluated.cautions, summary_text(evaluated.rows, options.protocol, against=evaluated.against)):
        say(line)
    say(f"Page: {evaluated.page}")
