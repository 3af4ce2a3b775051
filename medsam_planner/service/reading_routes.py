"""The page of a reader study: a reader's next case, slices of it, changes, and the answer.

Who the reader is comes from the login alone. A request names a number of a slot, and only the reader's present one is
answered; names of cases, modes, patients and other readers never leave the server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.errors import ConfigError, ForbiddenError
from medsam_planner.planning.lengths import FARTHEST_MM
from medsam_planner.reading.design import Slot
from medsam_planner.reading.records import MOST_CHANGES, Answer, ReadingRecords
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.display import Plane
from medsam_planner.service.guard import NO_EVENTS, PageEvents
from medsam_planner.service.reading import OpenedCase, OpenedCases, shown_case, shown_slice
from medsam_planner.service.short_body import short_body

__all__ = ["add_reading_page"]

_MOST_BYTES = 64 << 10
_WIDEST = 1e6
Body = TypeVar("Body", bound=BaseModel)


class _Change(BaseModel):
    """A place on a slice: where an end of the plan belongs, or where something is wrong."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["entry", "target", "mark"]
    plane: Plane
    index: int = Field(ge=0, le=100_000)
    column: float = Field(ge=-1, le=100_000)
    row: float = Field(ge=-1, le=100_000)


class _Changes(BaseModel):
    """All changes, as they stand."""

    model_config = ConfigDict(extra="forbid")
    changes: list[_Change] = Field(max_length=MOST_CHANGES)


class _Given(BaseModel):
    """The answer to a case."""

    model_config = ConfigDict(extra="forbid")
    rating: int = Field(ge=1, le=10)
    is_accepted: bool
    confidence: int | None = Field(default=None, ge=0, le=100)
    comment: str = Field(default="", max_length=2000)
    active_s: float = Field(ge=0, le=86_400)


def add_reading_page(app: FastAPI, records: ReadingRecords) -> PageEvents:
    """Add the page and its routes to the application.

    Parameters
    ----------
    app : FastAPI
    records : ReadingRecords

    Returns
    -------
    PageEvents
        None: the page is without Gradio.
    """
    opened = OpenedCases()
    table = records.table
    page = Path(__file__).with_name("reading.html").read_text(encoding="utf-8").replace("NOTICE", RESEARCH_USE_NOTICE)

    def current(request: Request, number: int) -> tuple[str, Slot]:
        reader = _reader(request)
        return reader, records.current(reader, number)

    @app.get("/", include_in_schema=False)
    def reading_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/reading/state", include_in_schema=False)
    def state(request: Request) -> JSONResponse:
        """How far the reader is, and what is asked."""
        reader = _reader(request)
        progress = records.progress(reader)
        return JSONResponse(
            {
                "reader": reader,
                "done": progress.done,
                "total": progress.total,
                "number": None if progress.current is None else progress.current.number,
                "opens_at": progress.opens_at,
                "question": table.question,
                "scale": table.scale,
                "confidence": table.confidence,
            }
        )

    @app.post("/reading/{number}/shown", include_in_schema=False)
    def shown(number: int, request: Request) -> JSONResponse:
        """The case; its time runs from now."""
        reader, slot = current(request, number)
        case = opened.of(slot.case)
        records.show(reader, number)
        return JSONResponse(shown_case(slot, case, records.changes(reader, number)))

    @app.get("/reading/{number}/slice", include_in_schema=False)
    def slice_of(number: int, plane: Plane, index: int, low: float, high: float, request: Request) -> JSONResponse:
        """One slice through a display window."""
        _, slot = current(request, number)
        if not -_WIDEST <= low < high <= _WIDEST:
            raise ConfigError("Expected a display window whose lowest value is below the highest.")
        return JSONResponse(shown_slice(slot, opened.of(slot.case), plane, index, (low, high)))

    @app.post("/reading/{number}/changes", include_in_schema=False)
    async def changes(number: int, request: Request) -> JSONResponse:
        """Replace the changes of the case."""
        given = _read(_Changes, await short_body(request, _MOST_BYTES))
        return JSONResponse(await run_in_threadpool(keep_changes, number, request, given))

    def keep_changes(number: int, request: Request, given: _Changes) -> dict[str, Any]:
        reader, slot = current(request, number)
        case = opened.of(slot.case)
        told = [_change(one, case, slot) for one in given.changes]
        records.change(reader, number, told)
        return shown_case(slot, case, told)

    @app.post("/reading/{number}/answer", include_in_schema=False)
    async def answer(number: int, request: Request) -> JSONResponse:
        """Keep the answer for good."""
        given = _read(_Given, await short_body(request, _MOST_BYTES))
        await run_in_threadpool(records.answer, _reader(request), number, Answer(**given.model_dump()))
        return JSONResponse({})

    return NO_EVENTS


def _reader(request: Request) -> str:
    actor = actor_of(request.scope)
    if not actor.has_account:
        raise ForbiddenError("A reader study needs to know who reads. Log in by your own name, not by the token.")
    return actor.name


def _read(kind: type[Body], body: bytes | None) -> Body:
    try:
        if body is None:
            raise ConfigError(f"Expected at most {_MOST_BYTES} bytes.")
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise ConfigError(f"The request does not follow the schema: {place}: {first['msg']}.") from error


def _change(one: _Change, case: OpenedCase, slot: Slot) -> dict[str, Any]:
    """With its place in the patient, LPS mm, as the server computes it."""
    place = case.displays[one.plane].lps_at(one.index, one.column, one.row)
    if abs(place).max() > FARTHEST_MM:
        raise ConfigError("That place is too far from the patient.")
    told: dict[str, Any] = {**one.model_dump(mode="json"), "to_lps_mm": [round(float(value), 3) for value in place]}
    if one.kind != "mark":
        if slot.mode == "unaided" or case.line_lps_mm is None:
            raise ConfigError("This case shows no plan whose ends could be moved.")
        end = 0 if one.kind == "entry" else 1
        told["from_lps_mm"] = [round(float(value), 3) for value in case.line_lps_mm[end]]
    return told
