"""``medsam-planner landmarks``: set and refine named points, angles from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["app"]

app = typer.Typer(help="Named points of a study, and angles from them.", no_args_is_help=True)


@app.command("set")
def set_landmark(
    file: Annotated[Path, typer.Argument(help="Landmark file; created when absent.")],
    name: Annotated[str, typer.Argument(help="Name, such as 'ASIS left' or AC.")],
    position: Annotated[str, typer.Argument(help="X,Y,Z in LPS mm.")],
    study: Annotated[Path, typer.Option(help="The study that the points are of.")],
    mask: Annotated[Path | None, typer.Option(help="Mask to refine on.")] = None,
    towards: Annotated[
        str | None,
        typer.Option(
            help="Refine: left, right, anterior, posterior, superior or inferior of the mask; or brightest, darkest."
        ),
    ] = None,
    within: Annotated[float, typer.Option(help="Radius of the refinement in mm.")] = 5.0,
) -> None:
    """Set a landmark, refined to the nearest extremum where asked."""
    from medsam_planner.cli.console import say
    from medsam_planner.workflow.landmarks import set_landmark as place

    point = place(file, name, numbers(position, "the position"), study, mask=mask, towards=towards, within_mm=within)
    x, y, z = point.position_lps_mm
    say(f"{name}: {x:.1f}, {y:.1f}, {z:.1f} mm LPS{'' if point.refined is None else f' ({point.refined})'}")


@app.command()
def angles(
    file: Annotated[Path, typer.Argument(help="Landmark file with the pelvis' landmarks.")],
    side: Annotated[str, typer.Option(help="left or right hip.")],
    axis: Annotated[
        str | None, typer.Option(help="X,Y,Z out of the cup's opening, LPS; without it, the acetabular rim's axis.")
    ] = None,
) -> None:
    """Inclination and anteversion against the anterior pelvic plane. Exit code 1 outside Lewinnek's zone."""
    from medsam_planner.cli.console import say
    from medsam_planner.landmarks.frames import LEWINNEK, Definition, acetabular_rim, cup_angles, pelvic_frame
    from medsam_planner.landmarks.landmark_file import read_landmarks

    positions = read_landmarks(file).positions_lps_mm
    frame = pelvic_frame(positions)
    direction: ArrayLike
    if axis is None:
        rim = [place for name, place in positions.items() if name.startswith(f"acetabular rim {side} ")]
        direction, off_mm = acetabular_rim(rim, frame.origin_lps_mm)
        say(f"Axis of the rim from {len(rim)} points, {off_mm:.1f} mm off their plane (root mean square).")
    else:
        direction = numbers(axis, "the axis")
    is_inside = False
    for definition in Definition:
        found = cup_angles(direction, frame, side, definition)
        say(f"{definition.value}: inclination {found.inclination_deg:.1f}°, anteversion {found.anteversion_deg:.1f}°")
        is_inside = LEWINNEK.holds(found) if definition is LEWINNEK.definition else is_inside
    say(f"{'Inside' if is_inside else 'Outside'} Lewinnek's zone (a convention, no guarantee).")
    raise typer.Exit(0 if is_inside else 1)


def numbers(text: str, what: str) -> tuple[float, float, float]:
    """Three numbers of an option.

    Raises
    ------
    ConfigError
    """
    from medsam_planner.errors import ConfigError

    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"Expected {what} as X,Y,Z (three numbers with commas), got '{text}'.") from error
    return x, y, z
