"""``medsam-planner replay PROMPTS.json``: the same mask, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["replay"]


def replay(
    log: Annotated[Path, typer.Argument(metavar="PROMPTS", help="Prompt file (prompts.json) that a run wrote.")],
    study: Annotated[Path | None, typer.Option(help="The study, where the file does not say or it has moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the masks to this folder.")] = None,
) -> None:
    """Rebuild the masks of a run from its prompt file and the study, and compare them with the recorded ones."""
    from contextlib import nullcontext

    from medsam_planner.cli.console import say, watched
    from medsam_planner.io import save_nifti
    from medsam_planner.io.output_folder import OutputFolder
    from medsam_planner.workflow.replay import recorded_study, replay_log
    from medsam_planner.workflow.run_folder import mask_names
    from prompts import read_prompt_file

    recorded = read_prompt_file(log)
    names = mask_names(recorded.structures)
    place = study or recorded_study(recorded, log)
    inputs = [log, *([] if place is None else [place])]
    claimed = nullcontext() if out is None else OutputFolder(out, names.values(), inputs=inputs, replaces_all=False)
    with watched() as progress, claimed as folder:
        _, segmented, same = replay_log(log, study_path=study, progress=progress)
        if folder is not None:
            for structure, result in segmented.results.items():
                save_nifti(result.mask, folder / names[structure])
    for structure, is_same in same.items():
        say(f"{structure}: {'the same mask, byte for byte' if is_same else 'ANOTHER MASK than the one recorded'}")
    raise typer.Exit(0 if all(same.values()) else 1)
