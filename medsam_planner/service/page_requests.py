"""Which workbench a request of a page names, and how a request is refused."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.requests import Request

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.pages import Pages
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.workbench import Workbench

__all__ = ["find_workbench", "refusal"]


def find_workbench(pages: Pages, token: str, request: Request) -> Workbench:
    """The workbench of a page, for the person that it belongs to.

    Parameters
    ----------
    pages : Pages
    token : str
        Of the page.
    request : Request

    Raises
    ------
    HTTPException
        404 where there is none, or it is somebody else's; 409 where another client has its session.
    """
    if pages.is_of_another(token, actor_of(request.scope)):
        raise HTTPException(404, "This page belongs to somebody else. Reload it.")
    try:
        return pages.find(token)
    except MedsamPlannerError as error:
        raise refusal(error, pages) from error


def refusal(error: MedsamPlannerError, pages: Pages) -> HTTPException:
    """The answer to a request that failed with an error of this software."""
    status = 409 if isinstance(error, ElsewhereError) else 404
    return HTTPException(status, without_folders(str(error), pages.service.settings))
