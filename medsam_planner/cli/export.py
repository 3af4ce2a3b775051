"""``medsam-planner export RUN``: results of a run as one zip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Folder that `segment` or `run` has written.")],
    out: Annotated[Path, typer.Option("--out", help="The zip.")],
    content: Annotated[
        list[str],
        typer.Option(help="results, label-map, dicom-seg, meshes, prompts, nnunet or monai; may be repeated."),
    ],
    study: Annotated[Path | None, typer.Option(help="The study, where the run does not say or it has moved.")] = None,
    ignore_unreviewed: Annotated[
        bool, typer.Option(help="Labels for nnU-Net say `ignore` on slices without a prompt or an edit.")
    ] = False,
) -> None:
    """Write one zip of what is chosen, as the Export tab and REST do: for other programs, or to train on."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.errors import ConfigError, OutputError
    from medsam_planner.workflow.export_archive import Content, ExportSource, write_archive
    from medsam_planner.workflow.read_run import read_run

    known = [one.value for one in Content]
    unknown = [one for one in content if one not in known]
    if unknown:
        raise ConfigError(f"Expected --content {', '.join(known)}, got {', '.join(unknown)}.")
    if out.suffix != ".zip":
        raise ConfigError(f"Expected --out FILE.zip, got {out}.")
    if out.exists():
        raise OutputError(f"{out} is there already. Name another file, or move it.")
    with watched() as progress:
        found = read_run(run, study_path=study, progress=progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        source = ExportSource(
            study=found.study,
            results=found.results,
            logs=found.logs,
            plan_folder=run if (run / "plan.json").is_file() else None,
            ignores_unreviewed=ignore_unreviewed,
        )
        notes = write_archive(out, [Content(one) for one in content], source, progress=progress)
    for note in notes:
        say(note)
    say(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
