"""``medsam-planner replay LOG``: the same mask, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["replay"]


def replay(
    log: Annotated[Path, typer.Argument(help="prompts.json of a run.")],
    study: Annotated[Path | None, typer.Option(help="The study, when it has moved since.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the masks to this folder.")] = None,
) -> None:
    """Rebuild the masks of a run from its log and the study, and compare them with what was recorded."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.io import save_nifti
    from medsam_planner.pipeline import replay_log
    from medsam_planner.run_folder import open_run_folder, structure_folder

    with watched() as progress:
        _, segmented, same = replay_log(log, study_path=study, progress=progress)
    if out is not None:
        folder = open_run_folder(out)
        for structure, result in segmented.results.items():
            save_nifti(result.mask, structure_folder(folder, structure, segmented.results) / "mask.nii.gz")
    for structure, is_same in same.items():
        say(f"{structure}: {'the same mask, byte for byte' if is_same else 'ANOTHER MASK than the one recorded'}")
    raise typer.Exit(0 if all(same.values()) else 1)
