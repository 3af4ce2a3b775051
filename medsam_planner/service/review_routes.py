"""HTTP routes of a review: measures of a line while it is moved, and slices along and across it."""

from __future__ import annotations

import json
import math

import numpy as np
from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from medsam_planner.drawing.reformat import Plane, sample_plane, tool_frame
from medsam_planner.errors import GeometryError, MedsamPlannerError, PlanningError, StaleError, StudyError
from medsam_planner.planning.lengths import FARTHEST_MM
from medsam_planner.service.page_requests import find_workbench, refusal
from medsam_planner.service.pages import Pages
from medsam_planner.service.placed_lines import LineAsked
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.reviewing import read
from medsam_planner.service.short_body import short_body
from medsam_planner.service.workbench import Workbench

__all__ = ["add_review_routes", "reslice"]

_MOST_BYTES = 4096
_PIXEL_MM = 0.5
_ALONG_MM, _ACROSS_MM = 60.0, 60.0
"""Width of a slice along the tool, and side of a slice across it."""
_BEYOND_MM = 15.0
"""How much of the way before the entry and behind the target a slice along the tool shows."""


def add_review_routes(app: FastAPI, pages: Pages) -> None:
    """Add the routes; a request names its workbench by its token.

    Parameters
    ----------
    app : FastAPI
    pages : Pages
    """

    @app.post("/review/{token}/line", include_in_schema=False)
    async def line(token: str, request: Request) -> JSONResponse:
        """Measures of one line; the answer carries the number that the page gave to the question."""
        workbench = find_workbench(pages, token, request)
        body = await short_body(request, _MOST_BYTES)
        try:
            payload = json.loads(body or b"")
            number = payload["number"]
            if type(number) is not int:
                raise TypeError("the number of the question")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HTTPException(400, "Expected a line as short JSON with the number of the question.") from error
        try:
            found = await run_in_threadpool(read, workbench, LineAsked.from_browser(payload))
        except StaleError as error:
            return JSONResponse({"number": number, "detail": str(error), "is_stale": True})
        except MedsamPlannerError as error:
            detail = without_folders(str(error), pages.service.settings)
            return JSONResponse({"number": number, "detail": detail, "is_stale": False})
        return JSONResponse({"number": number, **found})

    @app.get("/review/{token}/slice", include_in_schema=False)
    def slice_of_line(
        token: str, line: str, request: Request, depth: float = 0.0, turn: float = 0.0, kind: str = "along"
    ) -> Response:
        """Stored values of a slice along the tool, or across it at a depth; the browser applies the window."""
        workbench = find_workbench(pages, token, request)
        try:
            values, plane = reslice(workbench, _line(line), kind, depth, turn)
        except MedsamPlannerError as error:
            raise refusal(error, pages) from error
        about = {
            "size": list(plane.size),
            "pixel_mm": plane.pixel_mm,
            "letters": [plane.letters.left, plane.letters.right, plane.letters.top, plane.letters.bottom],
            "line": [plane.pixels_from_lps(end)[:2].tolist() for end in _line(line)],
        }
        headers = {"X-Value-Type": "float32", "X-Slice": json.dumps(about)}
        return Response(values.tobytes(), media_type="application/octet-stream", headers=headers)


def reslice(
    workbench: Workbench, line_lps_mm: np.ndarray, kind: str, depth_mm: float, turn_deg: float
) -> tuple[np.ndarray, Plane]:
    """A slice of the study along a tool or across it.

    Parameters
    ----------
    workbench : Workbench
        With an open study.
    line_lps_mm : (2, 3) float
        Entry, then target.
    kind : {"along", "across"}
        Along the tool, entry at the top; or across it as seen from the entry, the probe's-eye view.
    depth_mm : float
        Distance of a slice across from the entry.
    turn_deg : float
        By how much a slice along the tool is turned about it.

    Returns
    -------
    values : (rows, columns) float32
        Beyond the images: the smallest value of the study's first window, less one.
    plane : Plane

    Raises
    ------
    GeometryError
        If the ends are one point, or a number is not finite.
    """
    study = workbench.snapshot.study
    if study is None:
        raise StudyError("Open a study first.")
    if kind not in ("along", "across") or not all(map(math.isfinite, (depth_mm, turn_deg))):
        raise GeometryError("Expected a slice along or across a tool, at a depth and a turn that are numbers.")
    entry, target = line_lps_mm
    along, across, athwart = tool_frame(entry, target)
    if kind == "across":
        depth_mm = min(max(depth_mm, -_BEYOND_MM), float(np.linalg.norm(target - entry)) + _BEYOND_MM)
        count = int(_ACROSS_MM / _PIXEL_MM)
        plane = Plane(entry + depth_mm * along, across, athwart, (_ACROSS_MM, _ACROSS_MM), (count, count))
    else:
        angle = math.radians(turn_deg)
        right = math.cos(angle) * across + math.sin(angle) * athwart
        rows = min(int((float(np.linalg.norm(target - entry)) + 2 * _BEYOND_MM) / _PIXEL_MM), 1200)
        columns = int(_ALONG_MM / _PIXEL_MM)
        middle = entry + (rows * _PIXEL_MM / 2 - _BEYOND_MM) * along
        plane = Plane(middle, right, along, (columns * _PIXEL_MM, rows * _PIXEL_MM), (columns, rows))
    values = sample_plane(study, plane)
    window = next(iter(workbench.snapshot.windows.values()))
    values[np.isnan(values)] = window["centre"] - window["width"] / 2 - 1
    return values, plane


def _line(text: str) -> np.ndarray:
    try:
        numbers = np.array([float(part) for part in text.split(",")])
        if numbers.shape != (6,) or not (np.abs(numbers) <= FARTHEST_MM).all():
            raise ValueError("six numbers are needed")
    except (ValueError, OverflowError) as error:
        raise PlanningError(f"Expected a line as six finite numbers, LPS mm ({error}).") from error
    return numbers.reshape(2, 3)
