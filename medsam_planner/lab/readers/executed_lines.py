"""How far executed lines lie from planned ones: entry and target error, angle, grade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError, PlanningError
from medsam_planner.lab.readers.crossed_bootstrap import CrossedMean, crossed_mean
from medsam_planner.lab.readers.table_file import read_table
from medsam_planner.planning.clearance import trajectory_array
from medsam_planner.planning.screw import grade_screws
from medsam_planner.planning.structures import StayInside
from medsam_planner.planning.tool import Tool
from medsam_planner.reading.planned_paths import planned_paths

if TYPE_CHECKING:
    import highdicom

__all__ = ["ERRORS", "ExecutedLine", "LineError", "error_means", "line_error", "read_executed_lines"]

_PLACES = tuple(f"{end}_{axis}" for end in ("entry", "target") for axis in "xyz")
_COLUMNS = ("patient", "tool", "plan", *(f"executed_{place}" for place in _PLACES))
_OPTIONAL = ("alternative", "bone", "radius_mm", "free_entry_mm")
ERRORS = {
    "entry_mm": "Entry error, mm",
    "entry_lateral_mm": "… across the planned line",
    "target_mm": "Target error, mm",
    "target_lateral_mm": "… across the planned line",
    "target_depth_mm": "… along it (positive: too deep)",
    "angle_deg": "Angle between the lines, °",
}


@dataclass(frozen=True, slots=True)
class LineError:
    """Deviation of an executed line from the planned one."""

    entry_mm: float
    """Distance of the entries. Along the line it says little: where a tool is called entered differs between scans."""
    entry_lateral_mm: float
    """Of the executed entry from the planned line."""
    target_mm: float
    target_lateral_mm: float
    target_depth_mm: float
    """Of the executed target beyond the planned one, along the planned line."""
    angle_deg: float


@dataclass(frozen=True, slots=True)
class ExecutedLine:
    """One tool of one patient."""

    patient: str
    tool: str
    error: LineError
    planned_grade: str | None
    """Gertzbein–Robbins, of the planned line in the bone of the planning image; None without a bone."""
    executed_grade: str | None
    breach_mm: float | None
    """Of the executed line."""


def line_error(planned_lps_mm: ArrayLike, executed_lps_mm: ArrayLike) -> LineError:
    """Compare two lines, each (2, 3) LPS mm, entry then target, in one frame of reference.

    Parameters
    ----------
    planned_lps_mm, executed_lps_mm : (2, 3) float

    Raises
    ------
    PlanningError
        If a line is not (2, 3) finite numbers, or has no length.
    """
    planned, executed = trajectory_array(np.stack([np.asarray(planned_lps_mm), np.asarray(executed_lps_mm)]))
    lengths = np.linalg.norm([planned[1] - planned[0], executed[1] - executed[0]], axis=1)
    if lengths.min() < 1e-6:
        raise PlanningError("Expected an entry and a target apart from each other, got one point for both.")
    along = (planned[1] - planned[0]) / lengths[0]
    direction = (executed[1] - executed[0]) / lengths[1]
    entry, target = executed - planned
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(along, direction)), along @ direction))
    return LineError(
        entry_mm=float(np.linalg.norm(entry)),
        entry_lateral_mm=_across(entry, along),
        target_mm=float(np.linalg.norm(target)),
        target_lateral_mm=_across(target, along),
        target_depth_mm=float(target @ along),
        angle_deg=float(angle),
    )


def error_means(lines: Sequence[ExecutedLine], *, seed: int = 0) -> dict[str, CrossedMean]:
    """Means of the errors over patients with BCa intervals; tools of a patient are averaged first.

    Parameters
    ----------
    lines : sequence of ExecutedLine
    seed : int
        Of the bootstrap.
    """
    patients = sorted({line.patient for line in lines})
    found = {}
    for name in ERRORS:
        table = [[np.mean([getattr(one.error, name) for one in lines if one.patient == who])] for who in patients]
        found[name] = crossed_mean(table, seed=seed)
    return found


def read_executed_lines(path: Path) -> list[ExecutedLine]:
    """Read a CSV of executed lines and compare each with its plan.

    Parameters
    ----------
    path : Path
        Columns ``patient, tool, plan`` and ``executed_entry_x`` … ``executed_target_z`` (LPS mm in the frame of the
        plan); `plan` is the folder with ``plan.json``, relative to the file. ``alternative`` says which path was chosen
        (1 without). With ``bone`` (a mask) and ``radius_mm`` both lines are graded, after ``free_entry_mm``.

    Raises
    ------
    ConfigError
        If something is missing, no number, or a tool of a patient comes twice.
    PlanningError, StudyError
        If a plan or bone cannot be read.
    """
    lines: list[ExecutedLine] = []
    bone_of = lru_cache(maxsize=1)(_bone)  # the lines of a patient stand together and share a bone
    seen: set[tuple[str, str]] = set()
    for number, row in read_table(path, _COLUMNS, optional=_OPTIONAL):
        where = f"{path}, line {number}"
        key = row["patient"], row["tool"]
        if key in seen:
            raise ConfigError(f"{where}: the tool {key[1]} of {key[0]} comes twice. Keep one line for each.")
        seen.add(key)
        executed = np.array([_number(row, f"executed_{place}", where) for place in _PLACES]).reshape(2, 3)
        planned = _planned(path.parent / row["plan"], row["tool"], row.get("alternative") or "1", where)
        first, second, breach_mm = _grades(row, planned, executed, lambda name: bone_of(path.parent / name), where)
        lines.append(ExecutedLine(*key, line_error(planned, executed), first, second, breach_mm))
    return lines


def _planned(folder: Path, tool: str, alternative: str, where: str) -> NDArray[np.float64]:
    paths = planned_paths(folder / "plan.json")
    if tool not in paths and len(paths) > 1:
        raise ConfigError(f"{where}: the plan has no tool {tool}. Its tools are {', '.join(paths)}.")
    listed = paths.get(tool, next(iter(paths.values()), []))
    if not alternative.isdecimal() or not 1 <= int(alternative) <= len(listed):
        raise ConfigError(f"{where}: expected a path from 1 to {len(listed)} as alternative, got {alternative}.")
    return listed[int(alternative) - 1]


def _grades(
    row: dict[str, str],
    planned: NDArray[np.float64],
    executed: NDArray[np.float64],
    bone_of: Callable[[str], highdicom.Volume],
    where: str,
) -> tuple[str | None, str | None, float | None]:
    if not row.get("bone"):
        return None, None, None
    if not row.get("radius_mm"):
        raise ConfigError(f"{where}: a grade needs radius_mm beside bone.")
    bone = bone_of(row["bone"])
    free = _number(row, "free_entry_mm", where) if row.get("free_entry_mm") else 0.0
    corridor = StayInside("bone", bone, free_entry_mm=free)
    tool = Tool(_number(row, "radius_mm", where), 0.0, 0.0)
    first, second = grade_screws([planned, executed], corridor, tool, draws=1)
    return first.planned, second.planned, second.breach_mm


def _bone(path: Path) -> highdicom.Volume:
    from medsam_planner.io.loading import load_map
    from medsam_planner.volumes import volume_like

    mask = load_map(path)
    return volume_like(mask, np.asarray(mask.array) > 0)


def _number(row: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except ValueError as error:
        raise ConfigError(f"{where}: expected a number as {name}, got {row[name]!r}.") from error
    if not np.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number as {name}, got {row[name]!r}.")
    return value


def _across(offset: NDArray[np.float64], along: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(offset - (offset @ along) * along))
