"""Routes of the annotation project: its list, a session on a study, its masks, its states."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.lab.project.ordering import Order
from medsam_planner.lab.project.records import State
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.core.on_behalf_project import ListedStudy, ProjectOnBehalf
from medsam_planner.service.core.project_order import OrderCondition
from medsam_planner.service.http.models import ClaimRequest, HeldAnswer, Model, StrictRequest
from medsam_planner.service.http.shared import LeaseHeader

__all__ = ["router"]

router = APIRouter(tags=["project"])


class ProjectStudyAnswer(Model):
    """A study of the project."""

    name: str
    patient: str
    modality: str
    state: State
    held_by: str | None
    reason: str | None
    uncertainty_bits: float | None


class ProjectAnswer(Model):
    """The project."""

    name: str
    structures: list[str]
    condition: OrderCondition
    failure: str
    studies: list[ProjectStudyAnswer]


class ProjectEventAnswer(Model):
    """Something that somebody did to a study."""

    at: str
    who: str
    kind: str
    structure: str | None
    reason: str | None


class SaveRequest(StrictRequest):
    """What is to be recorded of a session."""

    reviewed: bool = False
    slices: Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1, max_length=100_000)] | None = (
        None
    )
    seconds: Annotated[float, Field(ge=0, le=1e7)] | None = None


class SavedAnswer(Model):
    """What was recorded."""

    study: str
    state: State
    recorded: list[str]


class ExcludeRequest(StrictRequest):
    """Why a study is excluded."""

    reason: Annotated[str, Field(min_length=1, max_length=1000)]


def _project(request: Request) -> ProjectOnBehalf:
    return ProjectOnBehalf(request.app.state.service, actor_of(request.scope))


TheProject = Annotated[ProjectOnBehalf, Depends(_project)]


@router.get("/project")
def get_project(project: TheProject, order: Literal["name", "random", "worth"] = "name") -> ProjectAnswer:
    """The studies of the project: those to be annotated in an order, then the others; who has which open."""
    listed, condition = project.listed(Order(order))
    settings = project.served.records.settings
    return ProjectAnswer(
        name=settings.name,
        structures=settings.names,
        condition=condition,
        failure=project.served.order.failure if condition == "failed" else "",
        studies=[_study_answer(one) for one in listed],
    )


@router.post("/project/order", status_code=202)
def begin_order(project: TheProject) -> None:
    """Have the order `worth` computed anew; the list says how far it is."""
    project.begin_order()


@router.get("/project/studies/{entry}")
def history(entry: str, project: TheProject) -> list[ProjectEventAnswer]:
    """What was done to a study, by whom and when."""
    return [
        ProjectEventAnswer(
            at=one.at, who=one.who, kind=one.kind, structure=one.structure, reason=one.content.get("reason")
        )
        for one in project.history(entry)
    ]


@router.post("/project/studies/{entry}/session", status_code=201)
def open_project_study(entry: str, asked: ClaimRequest, response: Response, project: TheProject) -> HeldAnswer:
    """Hold a session on a study: your own, or a new one that begins from the project's masks."""
    work, lease = project.begin_on(*project.read(entry), take_over=asked.take_over)
    response.headers["Location"] = f"/api/v1/sessions/{work.identifier}"
    return HeldAnswer(id=work.identifier, lease=lease)


@router.post("/project/studies/{entry}/exclude")
def exclude(entry: str, asked: ExcludeRequest, project: TheProject) -> SavedAnswer:
    """Exclude a study, with a reason; its masks stay."""
    return SavedAnswer(study=entry, state=project.exclude(entry, asked.reason).state, recorded=[])


@router.post("/project/studies/{entry}/reopen")
def reopen(entry: str, project: TheProject) -> SavedAnswer:
    """Take back a review or an exclusion."""
    return SavedAnswer(study=entry, state=project.reopen(entry).state, recorded=[])


@router.post("/sessions/{session}/project", status_code=201)
def save(session: str, asked: SaveRequest, project: TheProject, lease: LeaseHeader = None) -> SavedAnswer:
    """Record the 3D masks of a session in the project, and perhaps accept them."""
    work = project.acting(session, lease)
    study, recorded = project.save(work, is_reviewed=asked.reviewed, slices=asked.slices, seconds=asked.seconds)
    return SavedAnswer(study=study.name, state=study.state, recorded=list(recorded))


def _study_answer(one: ListedStudy) -> ProjectStudyAnswer:
    return ProjectStudyAnswer(
        name=one.study.name,
        patient=one.study.patient,
        modality=one.study.modality,
        state=one.study.state,
        held_by=one.held_by,
        reason=one.reason,
        uncertainty_bits=one.uncertainty_bits,
    )
