"""Readings as a table, and as input of iMRMC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.reading.records import Reading
from medsam_planner.reading.study_file import ReadingTable

__all__ = ["imrmc_text", "reading_rows"]


def reading_rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """One row per reading, with the names of cases and modes.

    ``entry_moved_mm`` and ``target_moved_mm`` are None where the end was not moved.
    """
    return [
        {
            "reader": one.reader,
            "occasion": one.slot.occasion + 1,
            "number": one.slot.number,
            "case": one.slot.case.name,
            "mode": one.slot.mode,
            "positive": None if one.slot.case.positive is None else int(one.slot.case.positive),
            "rating": one.answer.rating,
            "accepted": int(one.answer.is_accepted),
            "confidence": one.answer.confidence,
            "seconds": round(one.seconds, 1),
            "active_seconds": round(one.answer.active_s, 1),
            "interruptions": one.interruptions,
            "changes": len(one.changes),
            "entry_moved_mm": _moved(one, "entry"),
            "target_moved_mm": _moved(one, "target"),
            "places_marked": sum(change["kind"] == "mark" for change in one.changes),
            "comment": one.answer.comment,
            "at": one.at,
        }
        for one in readings
    ]


def imrmc_text(table: ReadingTable, readings: Sequence[Reading], *, title: str = "study") -> str:
    """The input file of iMRMC (the FDA's program for multi-reader multi-case studies): truth, then scores.

    The score is the confidence where the study asks for it, else the rating.

    Parameters
    ----------
    table : ReadingTable
    readings : sequence of Reading
    title : str
        First line of the file.

    Raises
    ------
    ConfigError
        If a case has no known truth, not both kinds of cases are there, or there is no reading.
    """
    unknown = [case.name for case in table.cases if case.positive is None]
    if unknown:
        raise ConfigError(
            f"iMRMC needs the truth of every case; {', '.join(unknown[:8])} have none. State positive = true or false "
            "for each case, or use the CSV."
        )
    if not readings:
        raise ConfigError("Expected readings to export, got none.")
    positives = sum(bool(case.positive) for case in table.cases)
    if positives in (0, len(table.cases)):
        raise ConfigError("iMRMC needs positive and negative cases; all of this study are of one kind.")
    lines = [
        title.replace(",", " ").replace("\n", " "),
        f"NR: {len({one.reader for one in readings})}",
        f"N0: {len(table.cases) - positives}",
        f"N1: {positives}",
        f"NM: {len({one.slot.mode for one in readings})}",
        "BEGIN DATA:",
    ]
    lines += [f"-1,{case.name},0,{int(bool(case.positive))}" for case in table.cases]
    lines += [f"{one.reader},{one.slot.case.name},{one.slot.mode},{one.answer.score}" for one in readings]
    return "\n".join(lines) + "\n"


def _moved(reading: Reading, kind: str) -> float | None:
    """By how much an end of the plan was moved, mm."""
    moves = [change for change in reading.changes if change["kind"] == kind]
    if not moves:
        return None
    return round(float(np.linalg.norm(np.subtract(moves[-1]["to_lps_mm"], moves[-1]["from_lps_mm"]))), 2)
