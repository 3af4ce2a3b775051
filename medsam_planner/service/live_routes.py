"""HTTP routes of a page for what follows a prompt: the 3D mask, its strip, the next best click, the other answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.requests import Request

from medsam_planner.errors import MedsamPlannerError, PromptError
from medsam_planner.service import live
from medsam_planner.service.answers import answers
from medsam_planner.service.display import Plane
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.next_click import next_clicks
from medsam_planner.service.page_requests import find_workbench, refusal
from medsam_planner.service.pages import Pages
from medsam_planner.service.plan_writing import plan_writing
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.strip import strip
from medsam_planner.service.workbench import Workbench

__all__ = ["add_live_routes"]

_NO_RESULT = "The 3D mask of these prompts is not there yet. Wait until it is, then press again."


def add_live_routes(app: FastAPI, pages: Pages) -> None:
    """Add the routes; a request names its workbench by its token.

    Parameters
    ----------
    app : FastAPI
    pages : Pages
    """

    def answer(token: str, request: Request, act: Callable[[Workbench], Any]) -> JSONResponse:
        workbench = find_workbench(pages, token, request)
        try:
            return JSONResponse(act(workbench))
        except ElsewhereError as error:
            raise refusal(error, pages) from error
        except MedsamPlannerError as error:  # of the prompts, and not of the page: an answer, as of a line in review
            return JSONResponse({"detail": without_folders(str(error), pages.service.settings)})

    def told(workbench: Workbench) -> dict[str, Any]:
        known = asdict(live.following(workbench)) | {"version": workbench.version, "writing": plan_writing(workbench)}
        return {**known, "problem": without_folders(known["problem"], pages.service.settings)}

    @app.get("/live/{token}", include_in_schema=False)
    def following(token: str, request: Request) -> JSONResponse:
        """How far the 3D masks are behind the prompts."""
        return answer(token, request, told)

    @app.post("/live/{token}", include_in_schema=False)
    def follow(token: str, request: Request) -> JSONResponse:
        """Begin what is due."""

        def act(workbench: Workbench) -> dict[str, Any]:
            live.follow(workbench)
            return told(workbench)

        return answer(token, request, act)

    @app.put("/live/{token}", include_in_schema=False)
    def switch(token: str, request: Request, is_on: bool) -> JSONResponse:
        """Whether 3D masks follow the prompts of this session."""

        def act(workbench: Workbench) -> dict[str, Any]:
            live.change(workbench, is_on=is_on)
            return told(workbench)

        return answer(token, request, act)

    @app.delete("/live/{token}", include_in_schema=False)
    def stop(token: str, request: Request) -> JSONResponse:
        """Stop what is computed, until prompts change."""

        def act(workbench: Workbench) -> dict[str, Any]:
            live.stop(workbench)
            return told(workbench)

        return answer(token, request, act)

    @app.get("/live/{token}/strip", include_in_schema=False)
    def strip_of(token: str, plane: Plane, request: Request) -> JSONResponse:
        """What is known of the active structure on every slice of a plane."""
        return answer(token, request, lambda workbench: strip(workbench, plane))

    @app.get("/live/{token}/next-clicks", include_in_schema=False)
    def next_clicks_of(token: str, request: Request) -> JSONResponse:
        """Where the next click would help most, the best first."""

        def act(workbench: Workbench) -> list[dict[str, Any]]:
            structure = workbench.structure
            result = structure.result
            if result is None or structure.is_stale:
                raise PromptError(_NO_RESULT)
            planes = {display.axis: plane.value for plane, display in workbench.snapshot.displays.items()}
            return [
                {"index": one.index, "plane": planes[one.axis], "why": one.why, "words": one.words}
                for one in next_clicks(result)
            ]

        return answer(token, request, act)

    @app.get("/live/{token}/answers", include_in_schema=False)
    def answers_of(token: str, request: Request) -> JSONResponse:
        """The model's other answers to the last prompt."""
        return answer(token, request, answers)
