"""Bring the files of a plan in line with a decision that was made, or that no longer holds, after they were written."""

from __future__ import annotations

import json
from pathlib import Path

from medsam_planner.errors import OutputError
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.report.decision import Decision, with_decision
from medsam_planner.workflow.plan_objects import PDF, REPORT

__all__ = ["restate"]

_REMOVED = "{} told another decision than the one that holds, and was removed. Write the report again for a new one."


def restate(folder: Path, decision: Decision) -> None:
    """Let ``plan.json`` and ``report.html`` in a folder tell a decision; DICOM objects that tell another are removed.

    Parameters
    ----------
    folder : Path
        Of the plan.
    decision : Decision

    Raises
    ------
    OutputError
        If the files cannot be read or written.
    """
    path, report = folder / "plan.json", folder / "report.html"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entry = decision.as_entry()
        if document.get("decision") == entry:
            return
        if report.exists():
            write_whole(report, with_decision(report.read_text(encoding="utf-8"), decision))
        gone = [name for name in (REPORT, PDF) if (folder / name).exists()]
        for name in gone:
            (folder / name).unlink()
        notes = [*document.get("notes", ()), *map(_REMOVED.format, gone)]
        write_json(path, document | {"decision": entry, "notes": list(dict.fromkeys(notes))})
    except (OSError, ValueError) as error:
        raise OutputError(f"The decision could not be written beside the plan: {error}. Find paths again.") from error
