"""``medsam-planner weights list|fetch|verify|convert|optimise|path``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="List, fetch and check model weights.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name in `weights list`.")]


@app.command("list")
def list_all() -> None:
    """Show every known set of weights and its state."""
    from rich.table import Table

    from medsam_planner.cli.console import output
    from medsam_planner.engine.registry import list_weights

    table = Table("name", "state", "licence", "size", "input", "path", box=None)
    for row in list_weights():
        size = "" if row.size_bytes is None else f"{row.size_bytes / 1e6:.1f} MB"
        table.add_row(row.name, row.state.value, row.licence, size, f"{row.input_size}²", str(row.path))
    output.print(table)


@app.command()
def fetch(name: Name) -> None:
    """Download weights from their hub, resumably, and check them."""
    from medsam_planner.cli.console import say, watched
    from medsam_planner.engine.hub import fetch as fetch_weights

    with watched() as progress:
        say(str(fetch_weights(name, progress=progress)))


@app.command()
def verify(name: Name) -> None:
    """Compare the file with the recorded checksum; exit code 1 when it is absent or damaged."""
    from medsam_planner.cli.console import say
    from medsam_planner.engine.registry import verify as verify_weights

    outcome = verify_weights(name)
    say(f"{outcome.name}: {outcome.state.value}" + (f". {outcome.advice}" if outcome.advice else ""))
    raise typer.Exit(0 if outcome.is_intact else 1)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Official .pth, or a Hugging Face directory.")],
    target: Annotated[Path, typer.Argument(help="Hugging Face directory to write.")],
) -> None:
    """Turn MedSAM's official checkpoint into the Hugging Face layout."""
    from medsam_planner.cli.console import say
    from medsam_planner.engine.medsam_weights import convert as convert_weights

    say(str(convert_weights(source, target)))


@app.command()
def optimise(
    name: Annotated[str, typer.Argument(help="medsam-vit-b, or a path to weights of MedSAM.")],
    calibrate: Annotated[
        list[Path], typer.Option(help="Study to take slices from, like those to be segmented; may be repeated.")
    ],
    engine: Annotated[str, typer.Option(help="openvino or onnx.")] = "openvino",
    precision: Annotated[str, typer.Option(help="int8, bf16 (openvino) or fp32.")] = "int8",
    slices: Annotated[int, typer.Option(help="Slices to take from the studies.", min=2, max=200)] = 8,
) -> None:
    """Export MedSAM's image encoder for a faster engine, and keep it if it gives torch's masks on slices of studies.

    Half of the slices give the ranges for 8 bits, the other half are compared. An export that is too far off is
    refused. What is kept is found by itself (`--engine auto`).
    """
    from medsam_planner.cli.console import say, watched
    from medsam_planner.lab.optimise import BOUNDS, require_exportable
    from medsam_planner.lab.optimise import optimise as optimise_weights
    from medsam_planner.workflow.study_reading import ReadingOptions, read_study

    require_exportable(engine, precision)
    with watched() as progress:
        studies = [read_study(study, ReadingOptions(), progress=progress) for study in calibrate]
        made = optimise_weights(
            name, engine=engine, precision=precision, studies=studies, slices=slices, progress=progress
        )
    parity, bounds = made.parity, BOUNDS[made.precision]
    say(f"{made.name}: {made.times_faster:.1f} times faster than torch:fp32 on this machine ({made.file})")
    say(
        f"On {parity.slices} other slices with {parity.prompts} boxes: Dice {parity.dice:.4f} (bound {bounds.dice}), "
        f"lowest {parity.lowest_dice:.4f}; IoU {parity.iou:.4f} (bound {bounds.iou}); relative error of the embedding "
        f"{parity.embedding_error:.4f} (bound {bounds.embedding_error})."
    )


@app.command()
def path(name: Name) -> None:
    """Print the path of the file."""
    from medsam_planner.cli.console import say
    from medsam_planner.engine.registry import weights_path

    say(str(weights_path(name)))
