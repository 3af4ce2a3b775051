"""``medsam-planner calibrate CASES --out FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medsam_planner.cli.options import Engine, Model, Samples, Seed, Triplanar, Uncertainty, Window

__all__ = ["calibrate"]


def calibrate(
    cases: Annotated[Path, typer.Argument(help="Folder of cases: image.nii.gz, labels.nii.gz and meta.json each.")],
    out: Annotated[Path, typer.Option("--out", help="Calibration file to write (JSON).")],
    only: Annotated[list[str] | None, typer.Option(help="Pattern of case names; may be given again.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Pattern of structure names; may be given again.")] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="What makes margins wider: nothing (uniform), spread, entropy, combined (spread and entropy), or size "
            "(the segmented volume is below the population median; the default)."
        ),
    ] = None,
    set_aside: Annotated[
        list[str] | None,
        typer.Option(
            help="Pattern of cases used only for the population median volumes, not for calibration; may be given "
            "again. Patients the weights were trained on are always used for them."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps finished structures, so that a stopped call can resume; by default next to the "
            "output file."
        ),
    ] = None,
    model: Model = "compact",
    engine: Engine = "auto",
    samples: Samples = 16,
    uncertainty: Uncertainty = "dropout",
    triplanar: Triplanar = False,
    window: Window = None,
    seed: Seed = 0,
) -> None:
    """Measure on patients with reference masks how wide margins must be, and how well calibrated the
    predicted probabilities are."""
    from medsam_planner.calibration import read_calibration, write_calibration
    from medsam_planner.cli.console import say, watched
    from medsam_planner.io.output_folder import open_run_folder
    from medsam_planner.lab.calibration import calibrate as run_calibration
    from medsam_planner.lab.calibration.segment_cases import SegmentationSettings
    from xai.margin_scale import DEFAULT_SCALE, scale_named

    if out.exists():
        read_calibration(out)  # refuses other files: only a calibration is replaced
    open_run_folder(out.parent)
    chosen = scale_named(scale or DEFAULT_SCALE)
    with watched() as progress:
        made = run_calibration(
            cases,
            chosen,
            model=model,
            engine=engine,
            settings=SegmentationSettings(
                samples=samples, uncertainty=uncertainty, triplanar=triplanar, window=window, seed=seed
            ),
            only=only or ("*",),
            labels=label or ("*",),
            set_aside=set_aside or (),
            keep=keep or out.with_name(out.stem + ".parts"),
            progress=progress,
        )
    write_calibration(out, made)
    say(f"Calibrated on {made.in_words()}.")
    if made.left_out:
        say(f"Left out: {len(made.left_out)} patients ({'; '.join(sorted(set(made.left_out.values())))}).")
    for sentence in made.median_volumes_in_words():
        say(sentence)
    for modality, found in made.reliability.items():
        temperature = "none" if found.temperature is None else f"{found.temperature:.2f}"
        say(
            f"{modality}, within {found.band_mm:g} mm of the surface: ECE {found.ece:.3f}, ACE {found.ace:.3f}, "
            f"Brier {found.brier:.3f}, temperature {temperature}."
        )
    for alpha in (0.2, 0.1, 0.05):
        if alpha >= made.smallest_alpha:
            outer, inner = made.quantile(alpha), made.quantile(alpha, inner=True)
            say(
                f"Margin at {100 * (1 - alpha):.0f} % confidence, per mm of the margin scale: {outer:.2f} mm for "
                f"structures to avoid, {inner:.2f} mm for structures to stay inside."
            )
    say(f"Calibration: {out}")
