"""``medsam-planner study``: studies with readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Out

__all__ = ["app"]

app = typer.Typer(help="Studies with readers: their masks, their readings, their plans.", no_args_is_help=True)

Study = Annotated[Path, typer.Argument(help="Study file, STUDY.toml.")]


@app.command()
def analyse(
    study: Annotated[
        Path, typer.Argument(help="Study file with the table [masks], or a folder of cases with labels_READER.nii.gz.")
    ],
    out: Out,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)] = 0,
) -> None:
    """Compare the masks of readers, and of a model: scores, agreement, non-inferiority, figures, check-list."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab.readers.mask_report import analyse_masks
    from medsam_planner.reading.study_file import read_study_file

    read = read_study_file(study)
    with watched() as progress:
        analysed = analyse_masks(read, out, source=study, seed=seed, progress=progress)
    for caution in analysed.cautions:
        say(f"Caution: {caution}")
    say(analysed.headline)
    say(f"Page: {analysed.page}")
