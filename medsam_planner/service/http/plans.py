"""Routes of plans: clearance of given lines, planning, and what is planned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import FileResponse, Response

from medsam_planner.errors import ConfigError, NotThereError
from medsam_planner.planning.plan_file_tables import PlanFile, Position, StructureTable, ToolTable
from medsam_planner.planning.tool import Tool
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core.options import MOST_LINES
from medsam_planner.service.headers import REPORT_POLICY
from medsam_planner.service.http.answers import redacted
from medsam_planner.service.http.models import EventId, JobBegun, Model
from medsam_planner.service.http.shared import LeaseHeader, TheService, begun
from medsam_planner.workflow.mask_files import named_files

__all__ = ["router"]

router = APIRouter(prefix="/sessions/{session}", tags=["plans"])
Line = Annotated[list[Position], Field(min_length=2, max_length=2)]


class ClearanceRequest(Model):
    """Given lines, entry then target, past segmented structures; tables as in a plan file, without paths."""

    tool: ToolTable
    structures: Annotated[list[StructureTable], Field(min_length=1)]
    lines_lps_mm: Annotated[list[Line], Field(min_length=1, max_length=MOST_LINES)]


class ClearanceAnswer(Model):
    """By line, in their order."""

    certified_mm: list[float | None]
    """Null where no structure is near: JSON has no infinity."""
    sampled_mm: list[float | None]
    limiting_structure: list[str]
    limiting_point_lps_mm: list[list[float]]


@router.post("/clearance")
def clearance(session: str, asked: ClearanceRequest, service: TheService) -> ClearanceAnswer:
    """Certified clearance of given lines from segmented structures. It changes nothing, so it needs no lease."""
    for table in asked.structures:
        if table.mask is not None or table.calibration is not None:
            raise ConfigError(_NO_PATHS)
    tool = Tool(asked.tool.radius_mm, asked.tool.entry_error_mm, asked.tool.target_error_mm)
    wanted = tuple(table.request() for table in asked.structures)
    found = service.service.clearance(service.session(session), wanted, tool, asked.lines_lps_mm)
    return ClearanceAnswer(
        certified_mm=[_finite(value) for value in found.certified_mm.tolist()],
        sampled_mm=[_finite(value) for value in found.sampled_mm.tolist()],
        limiting_structure=found.limiting_structure.tolist(),
        limiting_point_lps_mm=found.limiting_point_lps_mm.tolist(),
    )


@router.post("/plans", status_code=202)
def plan(
    session: str,
    asked: PlanFile,
    response: Response,
    service: TheService,
    lease: LeaseHeader = None,
    event_id: EventId | None = None,
) -> JobBegun:
    """Plan trajectories past segmented structures: a plan file as JSON, without a study and without any path."""
    if len(named_files(Path("plan"), asked)) > 1:
        raise ConfigError(_NO_PATHS)
    origin = PlanOrigin(plan_file=asked.model_dump(mode="json"))
    return begun(response, service.plan(service.acting(session, lease), asked.request(), origin, event=event_id))


@router.get("/plans/{plan}")
def plan_document(session: str, plan: str, service: TheService) -> dict[str, Any]:
    """``plan.json`` of a finished plan."""
    path = service.plan_folder(service.session(session), plan) / "plan.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotThereError("The document of that plan is gone. Plan again.") from error
    document: dict[str, Any] = redacted(json.loads(text), service.service)
    return document


@router.get("/plans/{plan}/report.html", response_class=FileResponse)
def report(session: str, plan: str, service: TheService) -> FileResponse:
    """The report of a finished plan, one file without scripts; it is written after the plan."""
    work = service.session(session)
    path = service.plan_folder(work, plan) / "report.html"
    if not path.exists():
        writing = service.service.jobs.document_of(work, plan)
        if writing is not None and not writing.state.is_final:
            raise NotThereError(f"That report is being written. Ask again when job {writing.identifier} has ended.")
        raise NotThereError("The report of that plan is gone. Plan again.")
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_NO_PATHS = (
    "Expected a plan whose structures were segmented in this session, got one that names files of the server. Leave "
    "study, mask, spread, calibration, landmarks and registration out."
)
